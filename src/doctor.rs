//! `causeway doctor`: looks at the machine as the daemon would, and says what to change.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::process::ExitCode;

use causeway_bridge::control::api::CandidateKind;
use causeway_bridge::net::{Offloads, interfaces, offloads};
use causeway_bridge::transport::ice::{is_private, local_candidates};

use crate::EXIT_CONFIG;
use crate::addresses::{self, Seen};
use crate::config::{DaemonConfig, HttpServer, Loaded, Sources};

/// Open files that a bridge with some thousand websockets needs.
const WANTED_FILES: u64 = 65_000;
/// Packets that the kernel may queue for one core, as the package of the bridge sets it.
const WANTED_BACKLOG: u64 = 100_000;

/// How a finding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Good,
    Advice,
    Problem,
}

/// What was found, under headings.
#[derive(Default)]
struct Report {
    text: String,
    worst: Option<Level>,
}

impl Report {
    fn heading(&mut self, text: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{gap}{text}");
    }

    fn add(&mut self, level: Level, finding: impl AsRef<str>) {
        let mark = match level {
            Level::Good => "  ok     ",
            Level::Advice => "  advice ",
            Level::Problem => "  PROBLEM",
        };
        let _ = writeln!(self.text, "{mark}  {}", finding.as_ref());
        self.worst = self.worst.max(Some(level));
    }
}

/// Prints what was found; the exit code is 0 unless something keeps the daemon from working, then 1, or 78 if it is the
/// configuration.
pub async fn run(sources: &Sources) -> ExitCode {
    let loaded = match Loaded::load(sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("causeway: the configuration can not be used\n{error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let mut report = Report::default();
    report.heading("Configuration");
    match sources.file() {
        Some(path) => report.add(Level::Good, format!("{} can be used", path.display())),
        None => report.add(
            Level::Good,
            "no file given: these are the defaults of the daemon (--config FILE)",
        ),
    }
    for warning in &loaded.warnings {
        report.add(Level::Advice, warning.to_string());
    }
    let mut config = loaded.config;
    network(&mut report, &mut config).await;
    servers(&mut report, &config);
    kernel(&mut report, &config);
    processor(&mut report, &config);
    print!("{}", report.text);
    match report.worst {
        Some(Level::Problem) => {
            println!("\nThe daemon will not work as it is: see PROBLEM above.");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

async fn network(report: &mut Report, config: &mut DaemonConfig) {
    report.heading("Addresses for media");
    let port = config.bridge.net.port;
    let all = match interfaces() {
        Ok(all) => all,
        Err(error) => return report.add(Level::Problem, error.to_string()),
    };
    let (used, left): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|interface| config.addresses.admits(&interface.name, interface.address));
    for interface in &left {
        report.add(
            Level::Good,
            format!(
                "{} of {} is left out by ice4j.harvest",
                interface.address, interface.name
            ),
        );
    }
    if used.is_empty() {
        return report.add(
            Level::Problem,
            "no local address is left: connect an interface, or allow one with ice4j.harvest.allowed-addresses or \
             ice4j.harvest.allowed-interfaces",
        );
    }
    for interface in &used {
        let address = SocketAddr::new(interface.address, port);
        match UdpSocket::bind(address) {
            Ok(_) => report.add(Level::Good, format!("UDP {address} of {} is free", interface.name)),
            Err(error) => report.add(
                Level::Problem,
                format!(
                    "UDP {address} of {} can not be bound: {error}. Is a bridge running? Else set another \
                     videobridge.ice.udp.port",
                    interface.name
                ),
            ),
        }
    }
    let locals: Vec<IpAddr> = used.iter().map(|interface| interface.address).collect();
    let seen = addresses::discover(&config.discovery, &locals).await;
    for Seen { local, by, public } in &seen {
        match public {
            Ok(public) if public == local => {
                report.add(Level::Good, format!("{by} sees {local} as it is: no NAT"))
            }
            Ok(public) => report.add(Level::Good, format!("{by} sees {local} as {public}")),
            Err(error) => report.add(
                Level::Advice,
                format!("{by} did not tell how it sees {local}: {error}"),
            ),
        }
    }
    addresses::advertise(&mut config.bridge.ice, &seen);
    advertised(report, config, &locals);
}

fn advertised(report: &mut Report, config: &DaemonConfig, locals: &[IpAddr]) {
    let sockets: Vec<SocketAddr> = locals
        .iter()
        .map(|local| SocketAddr::new(*local, config.bridge.net.port))
        .collect();
    let candidates = local_candidates(&config.bridge.ice, &sockets, false);
    for candidate in &candidates {
        let kind = match candidate.kind {
            CandidateKind::Host => "host",
            _ => "server-reflexive",
        };
        report.add(
            Level::Good,
            format!("clients are told {} ({kind})", candidate.address),
        );
    }
    let public = candidates
        .iter()
        .any(|candidate| !is_private(candidate.address.ip()));
    if !public {
        let level = if config.health.require_valid_address {
            Level::Problem
        } else {
            Level::Advice
        };
        report.add(
            level,
            "no public address is known, so only clients of this network reach the bridge: set \
             ice4j.harvest.mapping.static-mappings or ice4j.harvest.mapping.stun.addresses. For use inside one network \
             set videobridge.health.require-valid-address = false",
        );
    }
}

fn servers(report: &mut Report, config: &DaemonConfig) {
    report.heading("HTTP");
    let servers = [
        ("private", &config.private_http),
        ("public", &config.public_http),
    ];
    for (name, server) in servers {
        let Some(server) = server else {
            report.add(Level::Good, format!("the {name} server is off"));
            continue;
        };
        let HttpServer { host, port, .. } = server;
        let host = match host.as_deref() {
            None => "0.0.0.0",
            Some("localhost") => "127.0.0.1",
            Some(host) => host,
        };
        match TcpListener::bind((host, *port)) {
            Ok(_) => report.add(Level::Good, format!("{name}: TCP {host}:{port} is free")),
            Err(error) => report.add(
                Level::Problem,
                format!(
                    "{name}: TCP {host}:{port} can not be bound: {error}. Set another {}",
                    server.port_key(name)
                ),
            ),
        }
    }
    if config.websockets.enabled && config.public_http.is_none() {
        report.add(
            Level::Advice,
            "videobridge.websockets.enabled has no effect without videobridge.http-servers.public.port",
        );
    }
    if config.websockets.enabled && config.websockets.domains.is_empty() {
        report.add(
            Level::Advice,
            "videobridge.websockets.domain is not set: clients are told no websocket URL",
        );
    }
}

fn kernel(report: &mut Report, config: &DaemonConfig) {
    report.heading("Kernel");
    let wanted = config.bridge.net.receive_buffer as u64;
    limit(
        report,
        "net.core.rmem_max",
        wanted,
        "bursts of packets are lost at a smaller receive buffer",
    );
    limit(
        report,
        "net.core.netdev_max_backlog",
        WANTED_BACKLOG,
        "packets are lost before they reach the bridge when a core is busy",
    );
    match open_files() {
        Some(limit) if limit < WANTED_FILES => report.add(
            Level::Advice,
            format!("{limit} open files are allowed here: the service should have LimitNOFILE={WANTED_FILES}"),
        ),
        Some(limit) => report.add(Level::Good, format!("{limit} open files are allowed")),
        None => report.add(Level::Advice, "the limit of open files can not be read"),
    }
    let Offloads { gso, gro } = offloads();
    for (name, has, cost) in [
        (
            "UDP segmentation offload (GSO)",
            gso,
            "sending costs two to four times the CPU time without it",
        ),
        (
            "UDP receive offload (GRO)",
            gro,
            "receiving bursts costs more CPU time without it",
        ),
    ] {
        match has {
            true => report.add(Level::Good, format!("{name} is there")),
            false => report.add(
                Level::Advice,
                format!("no {name}: {cost}; use Linux 5.0 or later"),
            ),
        }
    }
}

/// Compares the kernel parameter `name` with what is `wanted`.
fn limit(report: &mut Report, name: &str, wanted: u64, reason: &str) {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    let value = std::fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    match value {
        Some(value) if value >= wanted => report.add(Level::Good, format!("{name} = {value}")),
        Some(value) => report.add(
            Level::Advice,
            format!("{name} = {value}: {reason}; run `sysctl -w {name}={wanted}` and put it into /etc/sysctl.d"),
        ),
        None => report.add(Level::Advice, format!("{name} can not be read here (a container?); the host should have {wanted}")),
    }
}

/// Soft limit of open files of this process.
fn open_files() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    match line.split_whitespace().nth(3)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn processor(report: &mut Report, config: &DaemonConfig) {
    report.heading("Processor");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = config.bridge.net.workers.unwrap_or(cores);
    report.add(
        Level::Good,
        format!("{cores} cores may be used; {workers} workers"),
    );
    if cfg!(target_arch = "x86_64") {
        let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if flags.split_whitespace().any(|flag| flag == "aes") {
            report.add(Level::Good, "AES instructions are there");
        } else {
            report.add(
                Level::Advice,
                "no AES instructions: encryption costs many times as much; let the hypervisor pass the host's CPU through",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_behind_nat_is_told_what_to_set() {
        let config = DaemonConfig::default();
        let mut report = Report::default();
        advertised(&mut report, &config, &[IpAddr::from([10, 0, 0, 5])]);
        assert_eq!(report.worst, Some(Level::Problem));
        assert!(report.text.contains("static-mappings"), "{}", report.text);

        let mut config = DaemonConfig::default();
        let public = IpAddr::from([203, 0, 113, 5]);
        config
            .bridge
            .ice
            .mappings
            .push((IpAddr::from([10, 0, 0, 5]), public, None));
        let mut report = Report::default();
        advertised(&mut report, &config, &[IpAddr::from([10, 0, 0, 5])]);
        assert_eq!(report.worst, Some(Level::Good));
        assert!(report.text.contains("203.0.113.5:10000"), "{}", report.text);
    }

    #[test]
    fn a_port_that_is_taken_is_a_problem() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = taken.local_addr().expect("bound").port();
        let config = DaemonConfig {
            private_http: Some(HttpServer {
                host: None,
                port,
                tls: None,
                trusted_proxies: Vec::new(),
            }),
            ..DaemonConfig::default()
        };
        let mut report = Report::default();
        servers(&mut report, &config);
        assert_eq!(report.worst, Some(Level::Problem));
        assert!(
            report.text.contains("http-servers.private.port"),
            "{}",
            report.text
        );
    }
}
