//! How the daemon ends when it is asked to over REST (rest-and-stats spec §7).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config;

/// Time between two looks at the number of endpoints during a graceful shutdown.
const LOOK: Duration = Duration::from_millis(500);

/// From running over waiting for the last endpoints to the end. There is no way back.
#[derive(Debug)]
pub struct Shutdown {
    options: config::Shutdown,
    graceful: AtomicBool,
    shutting_down: AtomicBool,
    asked: Notify,
}

impl Shutdown {
    /// Running.
    pub fn new(options: config::Shutdown) -> Shutdown {
        Shutdown {
            options,
            graceful: AtomicBool::new(false),
            shutting_down: AtomicBool::new(false),
            asked: Notify::new(),
        }
    }

    /// Asks for the end: when few enough endpoints are left (`graceful`), or at once. Either way the process lives on
    /// for the configured delay, in which foci move everybody away.
    pub fn ask(&self, graceful: bool) {
        tracing::info!(graceful, "shutdown asked for");
        let flag = if graceful && !self.is_shutting_down() {
            &self.graceful
        } else {
            &self.shutting_down
        };
        flag.store(true, Ordering::Relaxed);
        self.asked.notify_one();
    }

    /// A graceful shutdown was asked for.
    pub fn is_graceful(&self) -> bool {
        self.graceful.load(Ordering::Relaxed)
    }

    /// The process is about to end.
    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }

    /// Resolves when the process shall end. `endpoints` counts those that are left.
    pub async fn finished(&self, endpoints: impl Fn() -> usize) {
        while !self.is_graceful() && !self.is_shutting_down() {
            self.asked.notified().await;
        }
        let deadline = Instant::now() + self.options.graceful_max_duration;
        while !self.is_shutting_down() {
            let left = endpoints();
            if left <= self.options.graceful_min_participants || Instant::now() >= deadline {
                tracing::info!(endpoints = left, "graceful shutdown: the process ends soon");
                self.shutting_down.store(true, Ordering::Relaxed);
                break;
            }
            tokio::select! {
                () = self.asked.notified() => {}
                () = sleep(LOOK) => {}
                () = sleep_until(deadline) => {}
            }
        }
        sleep(self.options.delay).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    struct World {
        shutdown: Arc<Shutdown>,
        endpoints: Arc<AtomicUsize>,
        ended: tokio::task::JoinHandle<Duration>,
    }

    /// A process with two endpoints, asked to end.
    fn world(options: config::Shutdown, graceful: bool) -> World {
        let shutdown = Arc::new(Shutdown::new(options));
        let endpoints = Arc::new(AtomicUsize::new(2));
        shutdown.ask(graceful);
        let (watched, count) = (Arc::clone(&shutdown), Arc::clone(&endpoints));
        let start = Instant::now();
        let ended = tokio::spawn(async move {
            watched.finished(|| count.load(Ordering::Relaxed)).await;
            start.elapsed()
        });
        World {
            shutdown,
            endpoints,
            ended,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rest_and_stats_case_28_graceful_waits_for_the_last_endpoint() {
        let world = world(config::Shutdown::default(), true);
        sleep(Duration::from_secs(3600)).await;
        assert!(world.shutdown.is_graceful() && !world.shutdown.is_shutting_down());
        world.endpoints.store(0, Ordering::Relaxed);
        sleep(Duration::from_secs(1)).await;
        assert!(world.shutdown.is_shutting_down(), "within a second");
        assert!(world.shutdown.is_graceful(), "stays as it was");
        let after = world.ended.await.unwrap();
        assert!(after >= Duration::from_secs(3600 + 60), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn rest_and_stats_case_29_few_endpoints_or_a_long_time_are_enough() {
        let few = config::Shutdown {
            graceful_min_participants: 2,
            ..config::Shutdown::default()
        };
        let after = world(few, true).ended.await.unwrap();
        assert_eq!(after.as_secs(), 60);
        let short = config::Shutdown {
            graceful_max_duration: Duration::from_secs(10),
            ..config::Shutdown::default()
        };
        let after = world(short, true).ended.await.unwrap();
        assert_eq!(after.as_secs(), 70);
    }

    #[tokio::test(start_paused = true)]
    async fn rest_and_stats_case_30_a_forced_one_waits_for_nobody() {
        let forced = world(config::Shutdown::default(), false);
        assert!(forced.shutdown.is_shutting_down() && !forced.shutdown.is_graceful());
        assert_eq!(forced.ended.await.unwrap().as_secs(), 60);

        let overtaken = world(config::Shutdown::default(), true);
        sleep(Duration::from_secs(100)).await;
        overtaken.shutdown.ask(true);
        sleep(Duration::from_secs(100)).await;
        assert!(!overtaken.shutdown.is_shutting_down());
        overtaken.shutdown.ask(false);
        let after = overtaken.ended.await.unwrap();
        assert_eq!(after.as_secs(), 260);
    }
}
