//! Spreads what one receiver is sent, where more comes at once than its path takes (libwebrtc: `PacingController`).
//!
//! Nothing waits as long as the burst lasts, which fills again at the pacing rate. What comes beyond waits here, is let go of in order at
//! that rate, and in small groups, so that it still leaves in trains. Nothing is ever dropped, as in libwebrtc: a hole would cost a NACK or
//! a keyframe, more than it saves, and it is allocation that sends less. What waits too long raises the rate, what is too much is sent
//! at once. The order is libwebrtc's (`PrioritizedPacketQueue`): audio, which does not ask, as RTCP does not; retransmissions; video;
//! padding, which is left out as long as something waits.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits;
use crate::time::Time;
use crate::units::Bitrate;

/// A burst is never less than this many bytes, so that an ordinary frame does not wait on a slow path …
const LEAST_BURST: u64 = 3 * 1_200;
/// … nor more than these, so that it fits into the buffers on its way (libwebrtc: `kMaxBurstSize`).
const MOST_BURST: u64 = 63_000;
/// What waits leaves in groups that the pacing rate sends in this time (libwebrtc: 5 ms were the interval of `PacedSender`).
const GROUP: Duration = Duration::from_millis(5);
/// Memory of a queue in which nothing waited for this long is given back.
const REST: Duration = Duration::from_secs(10);

/// What waits, and how long it has.
#[derive(Debug)]
struct Waiting<T> {
    item: T,
    bytes: u32,
    since: Time,
}

#[derive(Debug)]
struct Queue<T> {
    repairs: VecDeque<Waiting<T>>,
    media: VecDeque<Waiting<T>>,
    bytes: u64,
    /// When something was put in.
    used: Time,
}

impl<T> Queue<T> {
    fn len(&self) -> usize {
        self.repairs.len() + self.media.len()
    }

    fn oldest(&self) -> Option<Time> {
        let fronts = [self.repairs.front(), self.media.front()];
        fronts.into_iter().flatten().map(|it| it.since).min()
    }
}

/// The pacer of one receiver, with items of type `T` that wait.
#[derive(Debug)]
pub struct Pacer<T> {
    /// When the pacing rate is done with what was sent, in ns of the clock.
    busy_until: u64,
    /// ns that the pacing rate takes for a byte; zero: it is not paced.
    per_byte: u32,
    /// ns that `busy_until` may lie ahead of now before something waits.
    burst: u32,
    /// Only where something waited lately.
    queue: Option<Box<Queue<T>>>,
}

impl<T> Default for Pacer<T> {
    fn default() -> Self {
        Pacer {
            busy_until: 0,
            per_byte: 0,
            burst: 0,
            queue: None,
        }
    }
}

fn nanos(time: Time) -> u64 {
    time.as_micros().saturating_mul(1_000)
}

impl<T> Pacer<T> {
    /// Sets the pacing rate, and the time in which it sends what may leave at once. `None`: nothing waits.
    pub fn set_rate(&mut self, now: Time, rate: Option<Bitrate>, burst: Duration) {
        let per_byte = rate.map_or(0, |rate| {
            let per_byte = 8_000_000_000 / rate.as_bps().max(1);
            u32::try_from(per_byte).unwrap_or(u32::MAX)
        });
        if per_byte == self.per_byte {
            return;
        }
        // The bytes that are ahead take another time now.
        let ahead = self.busy_until.saturating_sub(nanos(now));
        let scaled = u128::from(ahead) * u128::from(per_byte) / u128::from(self.per_byte.max(1));
        self.busy_until = nanos(now).saturating_add(u64::try_from(scaled).unwrap_or(u64::MAX));
        self.per_byte = per_byte;
        let [least, most] = [LEAST_BURST, MOST_BURST].map(|bytes| bytes * u64::from(per_byte));
        let burst = u64::try_from(burst.as_nanos()).unwrap_or(u64::MAX);
        self.burst = u32::try_from(burst.min(most).max(least)).unwrap_or(u32::MAX);
    }

    /// Whether a packet of `bytes` may be sent now; it is taken for sent if so.
    #[inline]
    pub fn admit(&mut self, now: Time, bytes: usize) -> bool {
        if self.is_backlogged() || self.busy_until > nanos(now) + u64::from(self.burst) {
            return self.per_byte == 0 && !self.is_backlogged();
        }
        let time = bytes as u64 * u64::from(self.per_byte);
        self.busy_until = self.busy_until.max(nanos(now)).saturating_add(time);
        true
    }

    /// A packet of a probe or of padding is sent, which does not ask. It takes from the burst, but makes no debt: video does not wait
    /// for it.
    pub fn charge(&mut self, now: Time, bytes: usize) {
        let time = bytes as u64 * u64::from(self.per_byte);
        let most = nanos(now).saturating_add(self.burst.into());
        let busy_until = self.busy_until.max(nanos(now));
        self.busy_until = busy_until.max(most.min(busy_until.saturating_add(time)));
    }

    /// Keeps a packet that was not admitted. Retransmissions leave before new media.
    pub fn push(&mut self, now: Time, bytes: usize, item: T, is_repair: bool) {
        let queue = self.queue.get_or_insert_with(|| {
            Box::new(Queue {
                repairs: VecDeque::new(),
                media: VecDeque::new(),
                bytes: 0,
                used: now,
            })
        });
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        queue.bytes += u64::from(bytes);
        queue.used = now;
        let list = match is_repair {
            true => &mut queue.repairs,
            false => &mut queue.media,
        };
        list.push_back(Waiting {
            item,
            bytes,
            since: now,
        });
    }

    /// How many packets wait.
    pub fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    /// Whether something waits.
    #[inline]
    pub fn is_backlogged(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.len() > 0)
    }

    /// More waits than may; the next has to be sent whatever the rate, see [`Pacer::take`].
    pub fn is_overfull(&self) -> bool {
        self.waiting() > limits::PACED_PACKETS
    }

    /// The next packet that the rate allows to send now.
    pub fn poll(&mut self, now: Time) -> Option<T> {
        let allowed = self.per_byte == 0 || self.busy_until <= nanos(now) + u64::from(self.burst);
        let late = || {
            let oldest = self.queue.as_ref()?.oldest()?;
            Some(now - oldest >= limits::PACED_TIME)
        };
        (allowed || late() == Some(true)).then(|| self.take(now))?
    }

    /// The next packet, whatever the rate.
    pub fn take(&mut self, now: Time) -> Option<T> {
        let queue = self.queue.as_mut()?;
        let (left, bytes) = match queue.oldest() {
            Some(oldest) => (limits::PACED_TIME.saturating_sub(now - oldest), queue.bytes),
            None => return None,
        };
        let next = queue
            .repairs
            .pop_front()
            .or_else(|| queue.media.pop_front());
        let next = next?;
        queue.bytes = queue.bytes.saturating_sub(u64::from(next.bytes));
        // Everything leaves in time, if it takes a higher rate (libwebrtc does the same with its 2 s).
        let in_time = left.as_nanos() as u64 / bytes.max(1);
        let time = u64::from(next.bytes) * u64::from(self.per_byte).min(in_time);
        self.busy_until = self.busy_until.max(nanos(now)).saturating_add(time);
        Some(next.item)
    }

    /// When [`Pacer::poll`] has a group of packets.
    #[inline]
    pub fn poll_timeout(&self) -> Option<Time> {
        let oldest = self.queue.as_ref()?.oldest()?;
        if self.per_byte == 0 {
            return Some(oldest);
        }
        let group = GROUP.as_nanos() as u64;
        let at = self
            .busy_until
            .saturating_add(group)
            .saturating_sub(self.burst.into());
        let at = Time::from_micros(at.div_ceil(1_000));
        Some(at.min(oldest + limits::PACED_TIME))
    }

    /// Gives memory back if nothing waited for long. To be called now and then.
    pub fn rest(&mut self, now: Time) {
        let rested = |queue: &Queue<T>| queue.len() == 0 && now - queue.used >= REST;
        if self.queue.as_deref().is_some_and(rested) {
            self.queue = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const RATE: Bitrate = Bitrate::kbps(8_000); // 1 byte in a µs
    const BURST: Duration = Duration::from_millis(20);

    fn pacer<T>() -> Pacer<T> {
        let mut pacer = Pacer::default();
        pacer.set_rate(Time::ZERO, Some(RATE), BURST);
        pacer
    }

    #[test]
    fn what_the_burst_carries_does_not_wait_and_takes_no_memory() {
        let mut pacer = pacer::<u32>();
        let begin = Time::from_millis(1_000);
        let burst = BURST.as_micros() as usize / 1_000;
        let admitted = (0..100).filter(|_| pacer.admit(begin, 1_000)).count();
        assert_eq!(admitted, burst + 1, "the last one may overshoot");
        assert!(pacer.queue.is_none() && pacer.poll_timeout().is_none());
        // Frames below the rate never wait.
        for frame in 1..100 {
            let now = begin + Duration::from_millis(33 * frame);
            assert!((0..8).all(|_| pacer.admit(now, 1_000)), "{frame}");
        }
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut pacer = pacer::<u32>();
        while pacer.admit(Time::ZERO, 1_000) {}
        pacer.push(Time::ZERO, 1_000, 1, false);
        pacer.set_rate(Time::ZERO, None, BURST);
        assert!(!pacer.admit(Time::ZERO, 10), "not in front of what waits");
        assert!(pacer.poll_timeout().is_some_and(|at| at == Time::ZERO));
        assert_eq!(pacer.poll(Time::ZERO), Some(1));
        assert!((0..10_000).all(|_| pacer.admit(Time::ZERO, 1_000)));
        pacer.rest(Time::ZERO + REST - Duration::from_millis(1));
        assert!(pacer.queue.is_some(), "another burst may come");
        pacer.rest(Time::ZERO + REST);
        assert!(pacer.queue.is_none());
    }

    /// Any mixture of bursts, repairs, rates and late timers: each list keeps its order, nothing is lost or repeated, and no more leaves
    /// in any time than the rate and the burst allow, as long as nothing waits too long.
    #[test]
    fn order_is_kept_nothing_is_lost_and_the_rate_holds() {
        for seed in 0..200 {
            let mut random = Random::from_seed(seed);
            let mut pacer = pacer::<(bool, u32)>();
            let mut pushed = [0u32; 2];
            let mut sent = [0u32; 2];
            let mut now = Time::from_millis(10);
            // Bytes that a bucket of the same size has left.
            let (begin, mut bytes) = (now, 0u64);
            let mut offered = 0;
            let mut raised = false;
            let mut leave = |(repair, number): (bool, u32)| {
                assert_eq!(sent[usize::from(repair)], number, "seed {seed}");
                sent[usize::from(repair)] += 1;
            };
            while offered < 2_000 || pacer.is_backlogged() {
                now += Duration::from_micros(random.below(3_000));
                while pacer.poll_timeout().is_some_and(|at| at <= now) {
                    while let Some(item) = pacer.poll(now) {
                        bytes += 1_000;
                        leave(item);
                    }
                }
                let more = if random.below(60) == 0 {
                    random.below(80)
                } else {
                    random.below(2)
                };
                for _ in 0..more.min(2_000 - offered) {
                    offered += 1;
                    let repair = random.below(5) == 0;
                    let item = (repair, pushed[usize::from(repair)]);
                    pushed[usize::from(repair)] += 1;
                    if pacer.admit(now, 1_000) {
                        bytes += 1_000;
                        leave(item);
                    } else {
                        pacer.push(now, 1_000, item, repair);
                    }
                }
                let late = pacer.queue.as_ref().and_then(|queue| queue.oldest());
                assert!(late.is_none_or(|since| now - since <= limits::PACED_TIME + BURST));
                let since = (now - begin + BURST).as_micros() as u64;
                raised |= pacer
                    .queue
                    .as_ref()
                    .is_some_and(|queue| queue.bytes > 100_000);
                assert!(
                    raised || bytes <= since + 2_000,
                    "seed {seed}: {bytes} in {since}"
                );
            }
            assert_eq!(pushed, sent, "seed {seed}");
        }
    }

    #[test]
    fn repairs_leave_before_new_media_in_groups() {
        let mut pacer = pacer();
        let begin = Time::from_millis(1_000);
        while pacer.admit(begin, 1_000) {}
        (0..20).for_each(|number| pacer.push(begin, 1_000, number, false));
        (100..103).for_each(|number| pacer.push(begin, 1_000, number, true));
        let first = pacer.poll_timeout().expect("something waits");
        let mut group = Vec::new();
        while let Some(number) = pacer.poll(first) {
            group.push(number);
        }
        assert_eq!(group[..4], [100, 101, 102, 0]);
        assert!((4..8).contains(&group.len()), "{group:?}");
        let second = pacer.poll_timeout().expect("something waits");
        assert!((4_000..=6_000).contains(&(second - first).as_micros()));
    }

    #[test]
    fn nothing_waits_longer_than_it_may() {
        let mut pacer = Pacer::default();
        pacer.set_rate(Time::ZERO, Some(Bitrate::kbps(75)), BURST);
        let begin = Time::from_millis(1_000);
        (0..200).for_each(|number| pacer.push(begin, 1_200, number, false));
        // Woken only when it asks for it.
        let (mut now, mut count) = (begin, 0);
        while let Some(at) = pacer.poll_timeout() {
            now = now.max(at);
            let group = std::iter::from_fn(|| pacer.poll(now)).count();
            assert!(group > 0, "nothing to do at {now:?}");
            count += group;
        }
        assert_eq!(count, 200);
        assert!(now - begin <= limits::PACED_TIME, "{now:?}");
    }

    /// A rate so low that the burst alone would take longer.
    #[test]
    fn a_path_that_carries_nothing_holds_nothing_back_for_longer() {
        let mut pacer = Pacer::default();
        pacer.set_rate(Time::ZERO, Some(Bitrate::kbps(8)), BURST);
        let begin = Time::from_millis(1_000);
        while pacer.admit(begin, 1_200) {}
        pacer.push(begin, 1_200, (), false);
        assert_eq!(pacer.poll_timeout(), Some(begin + limits::PACED_TIME));
        assert_eq!(pacer.poll(begin + limits::PACED_TIME), Some(()));
    }

    #[test]
    fn probes_and_padding_take_the_burst_but_make_no_debt() {
        let mut pacer = pacer::<()>();
        let begin = Time::from_millis(1_000);
        (0..1_000).for_each(|_| pacer.charge(begin, 1_000));
        assert!(
            pacer.admit(begin, 1_000),
            "what is above the burst is no debt"
        );
        assert!(!pacer.admit(begin, 1_000));
        // Debt that media made stays.
        pacer.charge(begin, 1_000);
        assert!(!pacer.admit(begin, 1_000));
        assert!(pacer.admit(begin + Duration::from_millis(1), 1_000));
    }

    #[test]
    fn packets_that_wait_are_bounded_and_a_higher_rate_counts_at_once() {
        let mut pacer = pacer();
        for number in 0..2 * limits::PACED_PACKETS {
            pacer.push(Time::ZERO, 100, number, false);
            while pacer.is_overfull() {
                assert_eq!(pacer.take(Time::ZERO), Some(number - limits::PACED_PACKETS));
            }
        }
        let slow = pacer.poll_timeout().expect("something waits");
        pacer.set_rate(Time::ZERO, Some(Bitrate::kbps(800_000)), BURST);
        let fast = pacer.poll_timeout().expect("something waits");
        assert!(
            fast - Time::ZERO < (slow - Time::ZERO) / 2,
            "{fast:?} {slow:?}"
        );
    }
}
