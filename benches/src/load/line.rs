//! The line between a client and the network: it loses and delays datagrams, as real ones do.

use std::collections::VecDeque;
use std::time::Duration;

use causeway_bridge::ids::Path;
use causeway_bridge::random::Random;
use causeway_bridge::time::Time;

/// What all lines do, in each direction.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct LineConfig {
    /// Share of datagrams that are lost, 0–1.
    pub loss: f64,
    /// How long each takes.
    pub delay: Duration,
}

impl LineConfig {
    /// Whether it does anything.
    pub fn is_plain(&self) -> bool {
        self.loss <= 0.0 && self.delay.is_zero()
    }
}

/// Datagrams under way in one direction; more are lost.
const MOST: usize = 8_192;

/// One direction.
#[derive(Debug)]
struct Direction<T> {
    queue: VecDeque<(Time, T, Box<[u8]>)>,
}

/// One client's line; `T` comes along with what is received.
#[derive(Debug)]
pub struct Line<T> {
    config: LineConfig,
    random: Random,
    up: Direction<Path>,
    down: Direction<T>,
}

impl<T> Direction<T> {
    fn put(&mut self, config: &LineConfig, random: &mut Random, now: Time, with: T, data: &[u8]) {
        if random.unit() >= config.loss && self.queue.len() < MOST {
            self.queue
                .push_back((now + config.delay, with, data.into()));
        }
    }

    fn take(&mut self, now: Time) -> Option<(T, Box<[u8]>)> {
        self.queue.front().filter(|(at, ..)| *at <= now)?;
        self.queue.pop_front().map(|(_, with, data)| (with, data))
    }
}

impl<T> Line<T> {
    pub fn new(config: LineConfig, random: Random) -> Line<T> {
        Line {
            config,
            random,
            up: Direction {
                queue: VecDeque::new(),
            },
            down: Direction {
                queue: VecDeque::new(),
            },
        }
    }

    /// The client sends.
    pub fn send(&mut self, now: Time, path: Path, data: &[u8]) {
        self.up.put(&self.config, &mut self.random, now, path, data);
    }

    /// Something comes for the client.
    pub fn receive(&mut self, now: Time, with: T, data: &[u8]) {
        self.down
            .put(&self.config, &mut self.random, now, with, data);
    }

    /// What is through on its way to the network.
    pub fn poll_sent(&mut self, now: Time) -> Option<(Path, Box<[u8]>)> {
        self.up.take(now)
    }

    /// What is through on its way to the client.
    pub fn poll_received(&mut self, now: Time) -> Option<(T, Box<[u8]>)> {
        self.down.take(now)
    }

    /// When something will be through.
    pub fn poll_timeout(&self) -> Time {
        let up = self.up.queue.front().map(|(at, ..)| *at);
        let down = self.down.queue.front().map(|(at, ..)| *at);
        up.into_iter().chain(down).min().unwrap_or(Time::FAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_bridge::ids::SocketId;

    #[test]
    fn datagrams_take_their_time_and_some_are_lost() {
        let config = LineConfig {
            loss: 0.25,
            delay: Duration::from_millis(40),
        };
        let mut line = Line::new(config, Random::from_seed(1));
        let path = Path {
            socket: SocketId(0),
            remote: ([192, 0, 2, 1], 10_000).into(),
        };
        let begin = Time::from_millis(1_000);
        for number in 0..1_000u32 {
            let at = begin + Duration::from_millis(number.into());
            line.receive(at, number, &number.to_be_bytes());
            line.send(at, path, &number.to_be_bytes());
        }
        assert_eq!(line.poll_received(begin), None);
        let first = line.poll_timeout();
        assert!(first >= begin + config.delay);
        let mut came = 0;
        let end = begin + Duration::from_millis(2_000);
        while let Some((number, data)) = line.poll_received(end) {
            assert_eq!(*data, number.to_be_bytes());
            came += 1;
        }
        assert!((700..800).contains(&came), "{came}");
        let sent = std::iter::from_fn(|| line.poll_sent(end)).count();
        assert!((700..800).contains(&sent), "{sent}");
        assert_eq!(line.poll_timeout(), Time::FAR);
    }
}
