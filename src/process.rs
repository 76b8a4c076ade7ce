//! The daemon's process as the HTTP resources see it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use causeway_bridge::Bridge;
use causeway_bridge::control::{Control, ControlAccess};
use causeway_bridge::time::Time;
use causeway_colibri::rest::Captures;
use causeway_colibri::statistics::{ProcessFacts, WebSocketFacts};
use causeway_colibri::{Health, MucClients, Process, ServiceState};

use crate::capture::CaptureFiles;
use crate::config::DaemonConfig;
use crate::export;
use crate::health::HealthMonitor;
use crate::load::LoadMeter;
use crate::shutdown::Shutdown;
use crate::websocket::WebSockets;
use crate::xmpp::Clients;

/// The running bridge and everything that is known about its process.
pub struct DaemonProcess {
    bridge: Bridge,
    drain: AtomicBool,
    shutdown: Shutdown,
    health: HealthMonitor,
    load: LoadMeter,
    average_participant_stress: f64,
    sockets: Arc<WebSockets>,
    exports: Arc<export::Totals>,
    captures: Arc<CaptureFiles>,
    started_ms: u64,
    /// Set when they start, as they need the process themselves.
    xmpp: OnceLock<Arc<Clients<DaemonProcess>>>,
}

impl DaemonProcess {
    /// The process around a bridge that just started. `stun_failed` says that STUN servers are configured, and none told a
    /// public address.
    pub fn new(
        bridge: Bridge,
        config: &DaemonConfig,
        sockets: Arc<WebSockets>,
        stun_failed: bool,
    ) -> Arc<DaemonProcess> {
        let bound = bridge.addresses().iter().map(|address| address.ip());
        let mapped = config.bridge.ice.mappings.iter();
        let mapped = mapped.map(|(_, public, _)| *public);
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        Arc::new(DaemonProcess {
            drain: AtomicBool::new(config.initial_drain_mode),
            shutdown: Shutdown::new(config.shutdown),
            health: HealthMonitor::new(config.health, bound.chain(mapped), stun_failed),
            load: LoadMeter::new(config.load),
            average_participant_stress: config.load.average_participant_stress,
            sockets,
            exports: Arc::default(),
            captures: CaptureFiles::new(
                bridge.clone(),
                config.captures.clone(),
                config.bridge.net.redact_remote_addresses,
            ),
            started_ms: started.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(0)),
            bridge,
            xmpp: OnceLock::new(),
        })
    }

    /// Where media exports count.
    pub fn export_totals(&self) -> Arc<export::Totals> {
        Arc::clone(&self.exports)
    }

    /// Completes the files of all captures.
    pub fn finish_captures(&self) {
        self.captures.finish();
    }

    /// Takes note of the connections to XMPP servers.
    pub fn set_xmpp(&self, clients: Arc<Clients<DaemonProcess>>) {
        // There is one start.
        let _ = self.xmpp.set(clients);
    }

    /// Watches load and health, until a shutdown that was asked for is due.
    pub async fn run(&self) {
        let endpoints = || self.with_control(|control, _| control.endpoint_count_total());
        tokio::select! {
            () = self.shutdown.finished(endpoints) => {}
            () = self.load.run(self.bridge.clone()) => {}
            () = self.health.run(self.bridge.clone()) => {}
        }
    }
}

impl ControlAccess for DaemonProcess {
    fn with_control<R>(&self, work: impl FnOnce(&mut Control, Time) -> R) -> R {
        self.bridge.with_control(work)
    }
}

impl Process for DaemonProcess {
    fn service_state(&self) -> ServiceState {
        ServiceState {
            drain: self.drain.load(Ordering::Relaxed),
            graceful_shutdown: self.shutdown.is_graceful(),
            shutting_down: self.shutdown.is_shutting_down(),
        }
    }

    fn set_drain(&self, drain: bool) {
        tracing::info!(drain, "drain mode");
        self.drain.store(drain, Ordering::Relaxed);
    }

    fn shutdown(&self, graceful: bool) {
        self.shutdown.ask(graceful);
    }

    fn health(&self) -> Health {
        self.health.health()
    }

    fn muc_clients(&self) -> Option<&dyn MucClients> {
        self.xmpp.get().map(|clients| &**clients as &dyn MucClients)
    }

    fn captures(&self) -> Option<&dyn Captures> {
        Some(&*self.captures)
    }

    fn stress(&self) -> f64 {
        self.load.stress()
    }

    fn facts(&self) -> ProcessFacts {
        let sockets = self.sockets.stats();
        let websockets = WebSocketFacts {
            open: sockets.open,
            messages_received: sockets.messages_received,
            messages_sent: sockets.messages_sent,
            close_normal: sockets.close_normal,
            close_abnormal: sockets.close_abnormal,
            errors: sockets.errors,
            overflows: sockets.overflows,
        };
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let open_files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        ProcessFacts {
            stress: self.load.stress(),
            average_participant_stress: self.average_participant_stress,
            last_n_limit: self.load.last_n_limit(),
            cpu_steal: self.load.steal(),
            threads: number_of(&status, "Threads:"),
            open_files: open_files as u64,
            memory: number_of(&status, "VmRSS:") * 1024,
            started_ms: self.started_ms,
            websockets,
            exports: self.exports.facts(),
            xmpp: self
                .xmpp
                .get()
                .map(|clients| clients.facts())
                .unwrap_or_default(),
            ..ProcessFacts::default()
        }
    }
}

/// A number in the text of `/proc/self/status`; zero if it is not there.
fn number_of(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use causeway_bridge::config::BridgeConfig;
    use causeway_bridge::net::NoHost;

    use super::*;

    #[test]
    fn the_process_knows_itself() {
        let mut config = DaemonConfig {
            initial_drain_mode: true,
            ..DaemonConfig::default()
        };
        config.bridge = BridgeConfig::default();
        config.bridge.net.bind = vec![([127, 0, 0, 1], 0).into()];
        config.bridge.net.workers = Some(2);
        config.bridge.net.receive_buffer = 1 << 16;
        let bridge = Bridge::start(config.bridge.clone(), Arc::new(NoHost)).unwrap();
        assert_eq!(bridge.cpu_times().workers.len(), 2);
        let process = DaemonProcess::new(bridge.clone(), &config, WebSockets::new(), false);
        let facts = process.facts();
        // Two workers, a thread for handshakes, the control plane.
        assert!(facts.threads >= 4 && facts.open_files > 2 && facts.memory > 1 << 20);
        assert!(facts.started_ms > 1_700_000_000_000);
        assert!(process.service_state().drain);
        process.set_drain(false);
        process.shutdown(true);
        let expected = ServiceState {
            graceful_shutdown: true,
            ..ServiceState::default()
        };
        assert_eq!(process.service_state(), expected);
        bridge.stop();
        assert!(bridge.cpu_times().workers.is_empty());
    }

    #[test]
    fn numbers_of_the_process_are_read() {
        let status = "Name:\tcauseway\nVmRSS:\t   12345 kB\nThreads:\t9\n";
        assert_eq!(number_of(status, "Threads:"), 9);
        assert_eq!(number_of(status, "VmRSS:"), 12_345);
        assert_eq!(number_of("", "Threads:"), 0);
    }
}
