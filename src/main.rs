//! Causeway: a selective forwarding unit that drops in for Jitsi Videobridge.

mod access;
mod cli;
mod config;
mod daemon;
mod demo;
mod host;
mod http;
mod signals;
mod websocket;

use std::process::ExitCode;
use std::sync::Arc;

use causeway_bridge::Bridge;
use causeway_bridge::config::BridgeConfig;
use causeway_bridge::random::Random;
use clap::Parser;
use tokio::net::TcpListener;

use crate::cli::Cli;
use crate::daemon::DaemonError;
use crate::host::{BridgeAccess, DaemonHost};
use crate::signals::ended;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Exit code for a configuration that can not be used (EX_CONFIG).
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(message) = start_logging(&cli.log) {
        eprintln!("causeway: {message}");
        return ExitCode::from(EXIT_CONFIG);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("http")
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("causeway: can not start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = match &cli.config {
        Some(path) => {
            daemon::load(path).and_then(|config| runtime.block_on(daemon::run(config, cli.workers)))
        }
        None => runtime.block_on(run_demo(&cli)).map_err(DaemonError::Other),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(DaemonError::Config(error)) => {
            eprintln!("causeway: the configuration can not be used\n{error}");
            ExitCode::from(EXIT_CONFIG)
        }
        Err(DaemonError::Other(message)) => {
            eprintln!("causeway: {message}");
            ExitCode::FAILURE
        }
    }
}

fn start_logging(filter: &str) -> Result<(), String> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).map_err(|error| {
        format!("--log {filter}: {error}. Try info, debug or causeway_bridge=debug")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    Ok(())
}

/// The bridge with its demo, until a signal ends it.
async fn run_demo(cli: &Cli) -> Result<(), String> {
    let mut config = BridgeConfig::default();
    config.net.bind = if cli.udp.is_empty() {
        vec![([127, 0, 0, 1], config.net.port).into()]
    } else {
        cli.udp.clone()
    };
    // A handful of tabs: what every kernel gives without asking.
    config.net.receive_buffer = 1 << 20;
    config.net.workers = cli.workers;
    if let Some(spill_after) = cli.spill_after {
        config.net.spill_after = spill_after.max(1);
    }
    config.ice.allow_loopback_remotes = true;

    let sockets = websocket::WebSockets::new();
    let (daemon_host, mut notices) = DaemonHost::new(Arc::clone(&sockets));
    let bridge = Bridge::start(config, daemon_host).map_err(|error| error.to_string())?;
    let access = Arc::new(BridgeAccess(bridge.clone()));
    let listener = TcpListener::bind(cli.http).await.map_err(|error| {
        format!(
            "can not serve HTTP on {}: {error}. Choose another address with --http",
            cli.http
        )
    })?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let ws_options = websocket::WebSocketOptions::default();
    let options = demo::DemoOptions {
        loopback: address.ip().is_loopback(),
        hosts: cli.host.clone(),
        websocket_prefix: Some(format!("/colibri-ws/{}", ws_options.server_id)),
    };
    let demo = demo::Demo::new(
        Arc::new(demo::OnControl(Arc::clone(&access))),
        options,
        Random::from_os(),
    );
    let app = demo::router(demo.clone()).merge(websocket::router(access, sockets, ws_options));
    let informed = demo.clone();
    tokio::spawn(async move {
        while let Some(notice) = notices.recv().await {
            informed.notice(&notice);
        }
    });

    println!("Open http://{address}/ in two or more browser tabs. Ctrl-C ends the bridge.");
    tracing::info!(udp = ?bridge.addresses(), workers = bridge.workers(), "bridge ready");
    tokio::select! {
        () = http::serve(listener, app) => {}
        () = ended() => {}
    }
    tracing::info!(participants = demo.participants(), "stopping");
    tokio::task::spawn_blocking(move || bridge.stop())
        .await
        .map_err(|error| error.to_string())
}
