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
