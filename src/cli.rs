//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Causeway: a selective forwarding unit for Jitsi.
///
/// Without --config it runs a demo: it prints one URL, and browsers that open it meet through the bridge. No other server,
/// no certificate and no account is needed. Everything is bound to loopback unless told otherwise.
///
/// With --config it runs as the bridge daemon, configured by the same file as Jitsi Videobridge.
#[derive(Parser, Debug)]
#[command(name = "causeway", version, max_term_width = 100)]
pub struct Cli {
    /// What to do instead of running the bridge
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Settings that all commands share.
    #[command(flatten)]
    pub settings: Settings,

    /// Read the configuration, print each effective value with where it was set, and exit: 0 if the daemon would start
    /// with it, 78 if not
    #[arg(long)]
    pub check_config: bool,

    /// Where the demo's page is served; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8088")]
    pub http: SocketAddr,

    /// Host names under which the demo's page may be opened, besides localhost and addresses
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,

    /// Where the demo serves what is for operators, such as /debug and /metrics [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    pub private: Option<SocketAddr>,

    /// Let operators of the demo capture packets into files in this directory
    #[arg(long, value_name = "DIRECTORY", requires = "private")]
    pub captures: Option<PathBuf>,

    /// UDP addresses for media, each with its port; repeat or separate by commas
    /// [demo default: 127.0.0.1:10000]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub udp: Vec<SocketAddr>,

    /// Worker threads [default: one per core that the process may use]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,

    /// Endpoints of one conference on one worker before others take further ones
    #[arg(long, value_name = "N")]
    pub spill_after: Option<usize>,

    /// Log filter, such as info, debug or causeway_bridge=debug
    /// [default: info, or the levels of the daemon's logging.properties]
    #[arg(long, value_name = "FILTER", env = "CAUSEWAY_LOG")]
    pub log: Option<String>,

    /// Form of log lines [default: text for the demo, jvb for the daemon]
    #[arg(long, value_name = "FORM", env = "CAUSEWAY_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Options that earlier releases of Jitsi Videobridge had; service files may still pass them.
    #[command(flatten)]
    pub removed: Removed,
}

/// Settings that all commands share.
#[derive(Args, Debug, Clone)]
pub struct Settings {
    /// Run as daemon with this configuration (HOCON, such as /etc/jitsi/videobridge/jvb.conf)
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// A property as the Java bridge takes them: config.file, or any key of the configuration as a default below the
    /// file; also read from the environment variable JAVA_SYS_PROPS
    #[arg(short = 'D', value_name = "NAME=VALUE", global = true)]
    pub properties: Vec<String>,
}

/// What to do instead of running the bridge.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Look at this machine as the daemon would: addresses that clients get, ports, kernel limits; says what to change
    Doctor,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// As Jitsi Videobridge writes them, for the tools that read its log.
    Jvb,
    /// One JSON object a line.
    Json,
}

/// Options without effect.
#[derive(Args, Debug, Default)]
pub struct Removed {
    #[arg(long, hide = true, num_args = 0..=1)]
    apis: Option<Option<String>>,
    #[arg(long, hide = true)]
    domain: Option<String>,
    #[arg(long, hide = true)]
    subdomain: Option<String>,
    #[arg(long, hide = true)]
    secret: Option<String>,
    #[arg(long, hide = true)]
    port: Option<String>,
}

impl Removed {
    /// Names of those that were given.
    pub fn given(&self) -> impl Iterator<Item = &'static str> {
        [
            ("--apis", self.apis.is_some()),
            ("--domain", self.domain.is_some()),
            ("--subdomain", self.subdomain.is_some()),
            ("--secret", self.secret.is_some()),
            ("--port", self.port.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn config_spec_7_1_java_properties_and_removed_options_are_taken() {
        let cli = Cli::parse_from([
            "causeway",
            "--apis=rest,xmpp",
            "--secret",
            "x",
            "-Dconfig.file=/etc/jitsi/videobridge/jvb.conf",
        ]);
        assert_eq!(
            cli.settings.properties,
            ["config.file=/etc/jitsi/videobridge/jvb.conf"]
        );
        assert_eq!(
            cli.removed.given().collect::<Vec<_>>(),
            ["--apis", "--secret"]
        );
    }

    #[test]
    fn a_mistyped_option_is_refused() {
        assert!(Cli::try_parse_from(["causeway", "--confg", "x"]).is_err());
    }
}
