//! The settings of the daemon, read from files written for Jitsi Videobridge (`jvb.conf`).
//!
//! Everything is read and checked at start: a value that cannot be used ends the start with one line per
//! problem, a key that has no effect gives one warning. Defaults are those of Jitsi Videobridge.

mod files;
mod keys;
mod legacy;
mod load;
mod reader;
mod sources;
#[cfg(test)]
mod tests;
mod unused;
mod xmpp;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use causeway_bridge::config::BridgeConfig;
use causeway_colibri::rest::Token;
use causeway_hocon::{Config, Error, Origin};
use ipnet::IpNet;

use crate::capture::CaptureOptions;
use crate::export::ExportOptions;
use crate::tls::Tls;

pub use load::{Load, LoadMeasurement};
pub use sources::Sources;
pub use xmpp::{Xmpp, XmppClient};

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct DaemonConfig {
    /// Media.
    pub bridge: BridgeConfig,
    /// Which local addresses are bound and advertised.
    pub addresses: AddressFilter,
    /// How public addresses are found.
    pub discovery: Discovery,
    /// Server for control and statistics (`videobridge.http-servers.private`); `None` = off.
    pub private_http: Option<HttpServer>,
    /// Server for WebSockets of clients (`videobridge.http-servers.public`); `None` = off.
    pub public_http: Option<HttpServer>,
    /// Bridge channels over WebSockets.
    pub websockets: Websockets,
    /// What the private server offers.
    pub rest: Rest,
    /// Connections to XMPP servers.
    pub xmpp: Xmpp,
    /// Media exports.
    pub exports: ExportOptions,
    /// Captures of packets.
    pub captures: CaptureOptions,
    /// Self checks.
    pub health: Health,
    /// Ways to stop.
    pub shutdown: Shutdown,
    /// Start in drain mode (`videobridge.initial-drain-mode`).
    pub initial_drain_mode: bool,
    /// Periodic statistics.
    pub stats: Stats,
    /// How load is measured.
    pub load: Load,
    /// What is told to others as version (`videobridge.version.as`): Jicofo puts only bridges with equal versions into one conference.
    pub version: String,
    /// Added to the version for matching bridges of one release (`videobridge.version.release`).
    pub release: Option<String>,
}

impl Default for DaemonConfig {
    fn default() -> Self {
        DaemonConfig {
            bridge: BridgeConfig::default(),
            addresses: AddressFilter::default(),
            discovery: Discovery::default(),
            private_http: Some(HttpServer {
                host: Some("127.0.0.1".to_owned()),
                port: 8080,
                tls: None,
                trusted_proxies: Vec::new(),
            }),
            public_http: None,
            websockets: Websockets::default(),
            rest: Rest::default(),
            xmpp: Xmpp::default(),
            exports: ExportOptions::default(),
            captures: CaptureOptions::default(),
            health: Health::default(),
            shutdown: Shutdown::default(),
            initial_drain_mode: false,
            stats: Stats::default(),
            load: Load::default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            release: None,
        }
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpServer {
    /// Address or name to bind; `None` = all interfaces.
    pub host: Option<String>,
    /// TCP port.
    pub port: u16,
    /// Speak TLS, and nothing else; `None` = clear text.
    pub tls: Option<Tls>,
    /// Networks of reverse proxies, which may hold any number of sockets.
    pub trusted_proxies: Vec<IpNet>,
}

impl HttpServer {
    /// The key that sets the port.
    pub fn port_key(&self, name: &str) -> String {
        let member = self.tls.as_ref().map_or("port", |_| "tls-port");
        format!("videobridge.http-servers.{name}.{member}")
    }
}

/// Bridge channels over WebSockets (`videobridge.websockets`, bridge-channel spec §3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Websockets {
    /// Serve them on the public server.
    pub enabled: bool,
    /// First element of their path.
    pub server_id: String,
    /// `host` or `host:port`; one URL is advertised for each.
    pub domains: Vec<String>,
    /// Advertise `wss` or `ws`; `None` = as the public server is.
    pub tls: Option<bool>,
    /// Negotiate permessage-deflate.
    pub compression: bool,
    /// Ping after this much silence; `None` = never.
    pub ping_interval: Option<Duration>,
    /// Close after this much silence.
    pub idle_timeout: Duration,
}

impl Default for Websockets {
    fn default() -> Self {
        Websockets {
            enabled: false,
            server_id: "default-id".to_owned(),
            domains: Vec::new(),
            tls: None,
            compression: true,
            ping_interval: Some(Duration::from_secs(15)),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// What the private server offers (`videobridge.apis.rest`, `videobridge.rest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// `/colibri/…`.
    pub colibri: bool,
    /// `/debug`.
    pub debug: bool,
    /// `/colibri/drain`.
    pub drain: bool,
    /// `/about/health`.
    pub health: bool,
    /// `/metrics`.
    pub prometheus: bool,
    /// `/stats`.
    pub rtcstats: bool,
    /// `/colibri/shutdown`; needs `colibri` as well.
    pub shutdown: bool,
    /// `/about/version`.
    pub version: bool,
    /// What requests that control the bridge must have (`videobridge.apis.rest.token`).
    pub token: Option<Token>,
    /// If not empty, where such requests may come from (`videobridge.apis.rest.allowed-networks`).
    pub allowed_networks: Vec<IpNet>,
}

impl Default for Rest {
    fn default() -> Self {
        Rest {
            colibri: false,
            debug: true,
            drain: true,
            health: true,
            prometheus: true,
            rtcstats: true,
            shutdown: false,
            version: true,
            token: None,
            allowed_networks: Vec::new(),
        }
    }
}

/// Self checks (`videobridge.health`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Period.
    pub interval: Duration,
    /// A result older than this is a failure.
    pub timeout: Duration,
    /// A check that takes longer is a failure.
    pub max_check_duration: Duration,
    /// Fail if no public address is known.
    pub require_valid_address: bool,
    /// Fail if STUN servers are configured and none of them told a public address.
    pub require_stun: bool,
}

impl Default for Health {
    fn default() -> Self {
        Health {
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(90),
            max_check_duration: Duration::from_secs(3),
            require_valid_address: true,
            require_stun: false,
        }
    }
}

/// Ways to stop (`videobridge.shutdown`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// A graceful shutdown ends after this at the latest.
    pub graceful_max_duration: Duration,
    /// A graceful shutdown ends when so many endpoints are left.
    pub graceful_min_participants: usize,
    /// From the end of the last conference to the exit.
    pub delay: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown {
            graceful_max_duration: Duration::from_secs(24 * 3600),
            graceful_min_participants: 0,
            delay: Duration::from_secs(60),
        }
    }
}

/// Periodic statistics (`videobridge.stats`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Period.
    pub interval: Duration,
}

impl Default for Stats {
    fn default() -> Self {
        Stats {
            interval: Duration::from_secs(5),
        }
    }
}

/// How public addresses are found (`ice4j.harvest.mapping`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// STUN servers, each `host:port`.
    pub stun: Vec<String>,
    /// Ask the metadata service of EC2, if this is an instance of it.
    pub aws: bool,
    /// Ask it in any case.
    pub force_aws: bool,
}

impl Default for Discovery {
    fn default() -> Self {
        Discovery {
            stun: Vec::new(),
            aws: true,
            force_aws: false,
        }
    }
}

/// Which local addresses are bound and advertised (`ice4j.harvest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressFilter {
    /// Use IPv6.
    pub ipv6: bool,
    /// Use link-local addresses.
    pub link_local: bool,
    /// If not empty, only these.
    pub allowed_addresses: Vec<IpAddr>,
    /// None of these.
    pub blocked_addresses: Vec<IpAddr>,
    /// If not empty, only these interfaces.
    pub allowed_interfaces: Vec<String>,
    /// None of these interfaces, unless some are allowed by name.
    pub blocked_interfaces: Vec<String>,
}

impl Default for AddressFilter {
    fn default() -> Self {
        AddressFilter {
            ipv6: true,
            link_local: false,
            allowed_addresses: Vec::new(),
            blocked_addresses: Vec::new(),
            allowed_interfaces: Vec::new(),
            blocked_interfaces: Vec::new(),
        }
    }
}

impl AddressFilter {
    /// Whether `address` of `interface` may be used.
    pub fn admits(&self, interface: &str, address: IpAddr) -> bool {
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let named = |names: &[String]| names.iter().any(|name| name == interface);
        let interface_admitted = match self.allowed_interfaces.as_slice() {
            [] => !named(&self.blocked_interfaces),
            allowed => named(allowed),
        };
        (self.ipv6 || address.is_ipv4())
            && (self.link_local || !link_local)
            && (self.allowed_addresses.is_empty() || self.allowed_addresses.contains(&address))
            && !self.blocked_addresses.contains(&address)
            && interface_admitted
    }
}

/// Something in the configuration that has no effect: `file:line: key: reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(Error);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why the configuration cannot be used; displays one line per problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(Vec<Error>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<Error> for ConfigError {
    fn from(error: Error) -> Self {
        ConfigError(vec![error])
    }
}

/// What is in effect for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// As text.
    pub value: String,
    /// Where it was set; `None` = it is the default.
    pub origin: Option<String>,
}

impl Effective {
    fn new(value: String, origin: Option<&Origin>) -> Self {
        Effective {
            value,
            origin: origin.map(ToString::to_string),
        }
    }
}

/// A configuration that can be used, and what there is to say about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: DaemonConfig,
    /// What has no effect.
    pub warnings: Vec<Warning>,
    /// All keys that have an effect.
    pub effective: BTreeMap<String, Effective>,
}

impl Loaded {
    /// Reads all sources, with the environment of the process.
    ///
    /// # Errors
    /// A file cannot be read, is not what it should be, or has values that cannot be used.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        let (layers, mut warnings) = sources.layers()?;
        let mut loaded = Loaded::with_environment(&layers, &|name| std::env::var(name).ok())?;
        warnings.append(&mut loaded.warnings);
        loaded.warnings = warnings;
        Ok(loaded)
    }

    fn with_environment(
        layers: &Config,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Loaded, ConfigError> {
        keys::read(&layers.resolve(env)?)
    }
}
