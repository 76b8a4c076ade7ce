//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// Causeway: a selective forwarding unit for Jitsi.
///
/// Without --config it runs a demo: it prints one URL, and browsers that open it meet through the bridge. No other server,
/// no certificate and no account is needed. Everything is bound to loopback unless told otherwise.
///
/// With --config it runs as the bridge daemon, configured by the same file as Jitsi Videobridge.
#[derive(Parser, Debug)]
#[command(name = "causeway", version, max_term_width = 100)]
pub struct Cli {
    /// Run as daemon with this configuration (HOCON, such as /etc/jitsi/videobridge/jvb.conf)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where the demo's page is served; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8088")]
    pub http: SocketAddr,

    /// Host names under which the demo's page may be opened, besides localhost and addresses
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,

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
    #[arg(
        long,
        value_name = "FILTER",
        env = "CAUSEWAY_LOG",
        default_value = "info"
    )]
    pub log: String,
}
