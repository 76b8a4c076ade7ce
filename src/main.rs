//! Causeway: a selective forwarding unit that drops in for Jitsi Videobridge.

mod addresses;
mod capture;
mod check;
mod cli;
mod config;
mod daemon;
mod demo;
mod doctor;
mod export;
mod health;
mod host;
mod http;
mod load;
mod logging;
mod process;
mod shutdown;
mod signals;
mod tls;
mod watchdog;
mod websocket;
mod xmpp;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use causeway_bridge::Bridge;
use causeway_bridge::config::BridgeConfig;
use causeway_bridge::random::Random;
use causeway_colibri::handler::{Handler, HandlerOptions};
use causeway_colibri::rest::{self, Access, RestOptions};
use clap::Parser;
use tokio::net::TcpListener;

use crate::cli::{Cli, Command, LogFormat};
use crate::config::{DaemonConfig, Sources};
use crate::daemon::{DaemonError, Ended};
use crate::host::DaemonHost;
use crate::http::Audience;
use crate::process::DaemonProcess;
use crate::signals::Signals;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Exit code for a configuration that can not be used (EX_CONFIG).
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let java_sys_props = std::env::var("JAVA_SYS_PROPS").unwrap_or_default();
    let settings = &cli.settings;
    let sources = Sources::new(
        settings.config.clone(),
        &settings.properties,
        &java_sys_props,
    );
    if cli.check_config {
        return check::run(&sources);
    }
    let is_daemon = sources.file().is_some();
    let format = cli.log_format.unwrap_or(if is_daemon {
        LogFormat::Jvb
    } else {
        LogFormat::Text
    });
    let filter = match (&cli.log, sources.logging()) {
        (Some(filter), _) => filter.clone(),
        (None, Some(properties)) => logging::filter_of_properties(&properties),
        (None, None) => "info".to_owned(),
    };
    if let Err(message) = logging::start(&filter, format) {
        eprintln!("causeway: {message}");
        return ExitCode::from(EXIT_CONFIG);
    }
    for option in cli.removed.given() {
        tracing::warn!("{option} has no effect any more: the configuration file sets it");
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
    let outcome = if let Some(Command::Doctor) = cli.command {
        return runtime.block_on(doctor::run(&sources));
    } else if is_daemon {
        daemon::load(&sources)
            .and_then(|config| runtime.block_on(daemon::run(config, cli.workers)))
            .map(|ended| match ended {
                Ended::Asked => ExitCode::SUCCESS,
                Ended::Signal(signal) => ExitCode::from(signal.exit_code()),
            })
    } else {
        runtime
            .block_on(run_demo(&cli))
            .map(|()| ExitCode::SUCCESS)
            .map_err(DaemonError::Other)
    };
    match outcome {
        Ok(code) => code,
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

/// The bridge with its demo, until a signal ends it.
async fn run_demo(cli: &Cli) -> Result<(), String> {
    let mut signals = Signals::listen()?;
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
    // Nothing in the demo asks for media exports.
    let (exports, _) = tokio::sync::mpsc::unbounded_channel();
    let (daemon_host, mut notices) = DaemonHost::new(Arc::clone(&sockets), exports);
    let bridge =
        Bridge::start(config.clone(), daemon_host.clone()).map_err(|error| error.to_string())?;
    let access = Arc::new(bridge.clone());
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
    let operators = match cli.private {
        Some(private) => Some(serve_operators(cli, private, &bridge, config, &sockets).await?),
        None => None,
    };
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
        () = http::serve(listener, app, Audience::strangers(Vec::new()), None) => {}
        _ = signals.next() => {}
        thread = daemon_host.failure() => return Err(daemon::failure(&thread)),
    }
    tracing::info!(participants = demo.participants(), "stopping");
    tokio::task::spawn_blocking(move || {
        bridge.stop();
        if let Some(operators) = operators {
            operators.finish_captures();
        }
    })
    .await
    .map_err(|error| error.to_string())
}

/// What the daemon serves to operators, for the demo.
async fn serve_operators(
    cli: &Cli,
    address: SocketAddr,
    bridge: &Bridge,
    config: BridgeConfig,
    sockets: &Arc<websocket::WebSockets>,
) -> Result<Arc<DaemonProcess>, String> {
    let mut config = DaemonConfig {
        bridge: config,
        ..DaemonConfig::default()
    };
    // They are the participants of their own demo.
    config.bridge.net.redact_remote_addresses = false;
    if let Some(directory) = &cli.captures {
        config.captures.enabled = true;
        config.captures.directory = directory.clone();
    }
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!("can not serve HTTP on {address}: {error}. Choose another address with --private")
    })?;
    let process = DaemonProcess::new(bridge.clone(), &config, Arc::clone(sockets), false);
    let handler = Handler::new(HandlerOptions {
        sctp: true,
        websockets: None,
    });
    let options = RestOptions {
        access: Access {
            loopback: address.ip().is_loopback(),
            ..Access::default()
        },
        ..RestOptions::default()
    };
    let app = rest::router(Arc::clone(&process), handler, options);
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    tracing::info!(%address, "private HTTP server");
    tokio::spawn(http::serve(listener, app, Audience::Operators, None));
    Ok(process)
}
