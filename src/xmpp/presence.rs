//! The statistics in presence (rest-and-stats spec §4).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use causeway_colibri::xml::COLIBRI;
use causeway_colibri::{Health, Process, ServiceState, Statistics};
use causeway_xmpp::Element;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::config::Xmpp;

/// Time between two looks at what others must know at once.
const LOOK: Duration = Duration::from_millis(250);
/// A change of stress of which others must know at once.
const STRESS_STEP: f64 = 0.05;

/// What others must know at once when it changes.
#[derive(Clone, Copy, PartialEq)]
struct Urgent {
    state: ServiceState,
    healthy: bool,
    stress: f64,
}

impl Urgent {
    fn differs(self, other: Urgent) -> bool {
        self.state != other.state
            || self.healthy != other.healthy
            || (self.stress - other.stress).abs() >= STRESS_STEP
    }
}

/// Writes presence for all connections: at the interval, and at once when it matters.
pub struct Writer<P> {
    process: Arc<P>,
    interval: Duration,
    whitelist: Option<BTreeSet<String>>,
    version: String,
    release: Option<String>,
    newest: watch::Sender<Element>,
}

impl<P: Process> Writer<P> {
    pub fn new(process: Arc<P>, xmpp: &Xmpp, version: &str, release: Option<&str>) -> Writer<P> {
        let writer = Writer {
            process,
            interval: xmpp.presence_interval,
            whitelist: xmpp.whitelist.clone(),
            version: version.to_owned(),
            release: release.map(str::to_owned),
            newest: watch::Sender::new(Element::new("stats", COLIBRI)),
        };
        writer.write();
        writer
    }

    pub fn subscribe(&self) -> watch::Receiver<Element> {
        self.newest.subscribe()
    }

    /// Writes until the process ends.
    pub async fn run(self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut told = self.urgent();
        let mut due = Instant::now() + self.interval;
        loop {
            let now = looks.tick().await;
            let urgent = self.urgent();
            if now >= due || urgent.differs(told) {
                told = urgent;
                due = now + self.interval;
                self.write();
            }
        }
    }

    fn urgent(&self) -> Urgent {
        Urgent {
            state: self.process.service_state(),
            healthy: self.process.health() == Health::Healthy,
            stress: self.process.stress(),
        }
    }

    fn write(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let statistics = Statistics::collect(
            &*self.process,
            &self.version,
            self.release.as_deref(),
            now_ms,
        );
        let keys = statistics.keys();
        let listed = |name: &str| {
            let whitelist = self.whitelist.as_ref();
            whitelist.is_none_or(|whitelist| whitelist.contains(name))
        };
        let stats = keys
            .iter()
            .filter(|(name, _)| listed(name))
            .map(|(name, value)| stat(name, value));
        let element = stats.fold(Element::new("stats", COLIBRI), Element::with_child);
        self.newest.send_replace(element);
    }
}

fn stat(name: &str, value: &Value) -> Element {
    let stat = Element::new("stat", COLIBRI).with("name", name);
    match value {
        Value::String(text) => stat.with("value", text),
        value => stat.with("value", value),
    }
}

#[cfg(test)]
mod tests {
    use causeway_bridge::Bridge;
    use causeway_bridge::control::ControlAccess;
    use causeway_bridge::control::api::ConferenceOptions;
    use causeway_bridge::net::NoHost;

    use super::*;
    use crate::config::DaemonConfig;
    use crate::process::DaemonProcess;
    use crate::websocket::WebSockets;

    fn process() -> (Bridge, Arc<DaemonProcess>) {
        let mut config = DaemonConfig::default();
        config.bridge.net.bind = vec![([127, 0, 0, 1], 0).into()];
        config.bridge.net.workers = Some(1);
        config.bridge.net.receive_buffer = 1 << 16;
        let bridge = Bridge::start(config.bridge.clone(), Arc::new(NoHost)).unwrap();
        let process = DaemonProcess::new(bridge.clone(), &config, WebSockets::new(), false);
        (bridge, process)
    }

    /// Names and values in presence.
    fn told(stats: &Element) -> Vec<(String, String)> {
        let text = |stat: &Element, name| stat.attribute(name).unwrap().to_owned();
        let stats = stats.children();
        stats
            .map(|stat| (text(stat, "name"), text(stat, "value")))
            .collect()
    }

    fn value<'a>(told: &'a [(String, String)], name: &str) -> &'a str {
        let found = told.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    #[test]
    fn rest_and_stats_case_18_presence_has_what_rest_has_as_text() {
        let (bridge, process) = process();
        let writer = Writer::new(Arc::clone(&process), &Xmpp::default(), "2.3.1", Some("42"));
        let told = told(&writer.subscribe().borrow());
        // The moment differs, and what changes by itself.
        let rest = Statistics::collect(&*process, "2.3.1", Some("42"), 0);
        let rest = rest.keys();
        assert_eq!(told.len(), rest.len());
        for ((name, text), (key, value)) in told.iter().zip(&rest) {
            assert_eq!(name, key);
            let expected = match value {
                Value::String(text) => text.clone(),
                value => value.to_string(),
            };
            if !["current_timestamp", "threads"].contains(&&**key) {
                assert_eq!(*text, expected, "{key}");
            }
        }
        assert_eq!(value(&told, "version"), "2.3.1");
        assert_eq!(value(&told, "drain"), "false");
        bridge.stop();
    }

    #[test]
    fn rest_and_stats_case_18_a_filter_leaves_what_is_listed() {
        let (bridge, process) = process();
        let listed = ["drain", "stress_level", "colibri2"].map(str::to_owned);
        let filtered = Xmpp {
            whitelist: Some(listed.into()),
            ..Xmpp::default()
        };
        let writer = Writer::new(process, &filtered, "2.3.1", None);
        let told = told(&writer.subscribe().borrow());
        let names: BTreeSet<_> = told.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, BTreeSet::from(["drain", "stress_level"]));
        bridge.stop();
    }

    #[tokio::test(start_paused = true)]
    async fn colibri2_cases_57_58_foci_learn_of_drain_and_shutdown_at_once() {
        let (bridge, process) = process();
        let writer = Writer::new(Arc::clone(&process), &Xmpp::default(), "2.3.1", None);
        let mut newest = writer.subscribe();
        tokio::spawn(writer.run());
        tokio::time::sleep(LOOK).await;
        newest.mark_unchanged();
        for (name, change) in [
            ("drain", (|it| it.set_drain(true)) as fn(&DaemonProcess)),
            ("graceful_shutdown", |it| it.shutdown(true)),
            ("shutting_down", |it| it.shutdown(false)),
        ] {
            assert_eq!(value(&told(&newest.borrow()), name), "false");
            change(&process);
            let start = Instant::now();
            newest.changed().await.unwrap();
            assert!(start.elapsed() <= LOOK, "{name}");
            assert_eq!(value(&told(&newest.borrow_and_update()), name), "true");
        }
        // Conferences are still taken while it drains; the interval goes on.
        bridge.with_control(|control, now| {
            let options = ConferenceOptions {
                meeting_id: "m1".into(),
                name: None,
            };
            control.create_conference(now, options).unwrap();
        });
        let start = Instant::now();
        newest.changed().await.unwrap();
        assert_eq!(start.elapsed(), Xmpp::default().presence_interval);
        assert_eq!(value(&told(&newest.borrow()), "conferences"), "1");
        bridge.stop();
    }
}
