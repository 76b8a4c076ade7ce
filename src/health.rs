//! Self checks (rest-and-stats spec §6).

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use causeway_bridge::Bridge;
use causeway_bridge::control::ControlAccess;
use causeway_colibri::Health;
use tokio::time::{Instant, interval_at, timeout};

use crate::config;

/// Silence of a worker after which it is taken to hang.
const PATIENCE: Duration = Duration::from_secs(3);

/// Checks from time to time, and remembers the outcome.
#[derive(Debug)]
pub struct HealthMonitor {
    options: config::Health,
    /// Whether some address is bound or advertised that clients elsewhere can reach.
    reachable: bool,
    /// Whether STUN servers were asked for addresses in vain.
    stun_failed: bool,
    /// When the last check ended, or the monitor began, and what that check found wrong.
    last: Mutex<(Instant, Option<String>)>,
}

impl HealthMonitor {
    /// A monitor that found nothing so far. `addresses` are those that are bound or advertised.
    pub fn new(
        options: config::Health,
        addresses: impl IntoIterator<Item = IpAddr>,
        stun_failed: bool,
    ) -> HealthMonitor {
        HealthMonitor {
            options,
            reachable: addresses.into_iter().any(is_public),
            stun_failed,
            last: Mutex::new((Instant::now(), None)),
        }
    }

    /// How the bridge is, by the last check.
    pub fn health(&self) -> Health {
        let last = self.last();
        if last.0.elapsed() > self.options.timeout {
            let ago = last.0.elapsed().as_secs();
            return Health::Failed(format!(
                "No health checks performed recently, the last one {ago} s ago"
            ));
        }
        let wrong = last.1.clone();
        wrong.map_or(Health::Healthy, Health::Failed)
    }

    /// Checks for as long as it is polled, for the first time after one interval.
    pub async fn run(&self, bridge: Bridge) {
        let period = self.options.interval;
        let mut turns = interval_at(Instant::now() + period, period);
        loop {
            turns.tick().await;
            let wrong = self.check(&bridge).await;
            self.note(wrong);
        }
    }

    async fn check(&self, bridge: &Bridge) -> Option<String> {
        if self.options.require_valid_address && !self.reachable {
            return Some("No valid IP addresses available for harvesting.".to_owned());
        }
        if self.options.require_stun && self.stun_failed {
            return Some("Address discovery through STUN failed".to_owned());
        }
        let stalled = bridge.stalled(PATIENCE);
        if !stalled.is_empty() {
            return Some(format!("{} workers hang", stalled.len()));
        }
        let control = bridge.clone();
        let answer = tokio::task::spawn_blocking(move || {
            control.with_control(|control, _| control.conference_count())
        });
        match timeout(self.options.max_check_duration, answer).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(format!("Failed to run health check: {error}")),
            Err(_) => Some("Performing a health check took too long".to_owned()),
        }
    }

    fn note(&self, wrong: Option<String>) {
        let mut last = self.last();
        match (&last.1, &wrong) {
            (before, Some(wrong)) if before.as_ref() != Some(wrong) => {
                tracing::error!("health check failed: {wrong}");
            }
            (Some(_), None) => tracing::info!("healthy again"),
            _ => {}
        }
        *last = (Instant::now(), wrong);
    }

    fn last(&self) -> MutexGuard<'_, (Instant, Option<String>)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Neither of this host, nor of its link, nor of its site.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            !v4.is_private() && !v4.is_link_local() && !v4.is_loopback() && !v4.is_unspecified()
        }
        IpAddr::V6(v6) => {
            let site_local = v6.segments()[0] & 0xffc0 == 0xfec0;
            !site_local
                && !v6.is_unique_local()
                && !v6.is_unicast_link_local()
                && !v6.is_loopback()
                && !v6.is_unspecified()
        }
    }
}

#[cfg(test)]
mod tests {
    use causeway_bridge::config::BridgeConfig;
    use causeway_bridge::net::NoHost;
    use std::sync::Arc;
    use tokio::time::sleep;

    use super::*;

    fn bridge() -> Bridge {
        let mut config = BridgeConfig::default();
        config.net.bind = vec![([127, 0, 0, 1], 0).into()];
        config.net.workers = Some(1);
        config.net.receive_buffer = 1 << 16;
        Bridge::start(config, Arc::new(NoHost)).unwrap()
    }

    fn monitor(address: &str) -> HealthMonitor {
        HealthMonitor::new(config::Health::default(), [address.parse().unwrap()], false)
    }

    #[tokio::test]
    async fn rest_and_stats_case_6_only_private_addresses_are_a_failure() {
        let bridge = bridge();
        let private = monitor("10.0.0.1");
        assert_eq!(private.health(), Health::Healthy, "until the first check");
        private.note(private.check(&bridge).await);
        let text = "No valid IP addresses available for harvesting.".to_owned();
        assert_eq!(private.health(), Health::Failed(text));
        let public = monitor("203.0.113.5");
        public.note(public.check(&bridge).await);
        assert_eq!(public.health(), Health::Healthy);
    }

    #[tokio::test]
    async fn stun_that_failed_is_a_failure_where_it_is_required() {
        let bridge = bridge();
        for (require_stun, stun_failed, healthy) in [
            (true, true, false),
            (true, false, true),
            (false, true, true),
        ] {
            let options = config::Health {
                require_stun,
                ..config::Health::default()
            };
            let address = "203.0.113.5".parse().unwrap();
            let monitor = HealthMonitor::new(options, [address], stun_failed);
            monitor.note(monitor.check(&bridge).await);
            let text = "Address discovery through STUN failed".to_owned();
            let expected = match healthy {
                true => Health::Healthy,
                false => Health::Failed(text),
            };
            assert_eq!(monitor.health(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rest_and_stats_case_8_checks_that_stopped_are_a_failure() {
        let monitor = monitor("203.0.113.5");
        sleep(Duration::from_secs(89)).await;
        assert_eq!(monitor.health(), Health::Healthy);
        sleep(Duration::from_secs(2)).await;
        let Health::Failed(text) = monitor.health() else {
            panic!("healthy");
        };
        assert!(text.starts_with("No health checks performed recently"));
        monitor.note(None);
        assert_eq!(monitor.health(), Health::Healthy, "failures do not stick");
    }

    #[test]
    fn what_is_public() {
        for (address, public) in [
            ("203.0.113.5", true),
            ("2001:db8::1", true),
            ("192.168.1.1", false),
            ("172.31.0.1", false),
            ("169.254.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }
}
