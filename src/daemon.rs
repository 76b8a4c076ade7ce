//! The bridge as a daemon: configured by a file, controlled over HTTP.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use causeway_bridge::Bridge;
use causeway_bridge::control::api::Notice;
use causeway_colibri::Process;
use causeway_colibri::handler::{Handler, HandlerOptions, WebsocketUrls};
use causeway_colibri::rest::{self, Access, RestOptions};
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::addresses;
use crate::config::{ConfigError, DaemonConfig, HttpServer, Loaded, Sources};
use crate::host::DaemonHost;
use crate::http::Audience;
use crate::process::DaemonProcess;
use crate::signals::{Signal, Signals};
use crate::tls::Tls;
use crate::xmpp::Clients;
use crate::{export, http, watchdog, websocket};

/// Why the daemon did not start or ended.
pub enum DaemonError {
    /// The configuration can not be used.
    Config(ConfigError),
    /// Anything else; the text says what to do.
    Other(String),
}

/// Reads the configuration and tells what has no effect.
pub fn load(sources: &Sources) -> Result<DaemonConfig, DaemonError> {
    let loaded = Loaded::load(sources).map_err(DaemonError::Config)?;
    for warning in loaded.warnings {
        tracing::warn!("configuration: {warning}");
    }
    Ok(loaded.config)
}

/// What ended the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A shutdown over REST.
    Asked,
    /// A signal.
    Signal(Signal),
}

/// Runs the daemon until a signal or a shutdown over REST ends it.
pub async fn run(mut config: DaemonConfig, workers: Option<usize>) -> Result<Ended, DaemonError> {
    let other = |error: String| DaemonError::Other(error);
    let mut signals = Signals::listen().map_err(other)?;
    if config.bridge.net.bind.is_empty() {
        config.bridge.net.bind = addresses::to_bind(&config.addresses)
            .map_err(|error| other(error.to_string()))?
            .into_iter()
            .map(|address| SocketAddr::new(address, config.bridge.net.port))
            .collect();
        if config.bridge.net.bind.is_empty() {
            return Err(other(
                "no local address is left to bind: connect an interface, or allow one with \
                 ice4j.harvest.allowed-addresses or ice4j.harvest.allowed-interfaces"
                    .to_owned(),
            ));
        }
    }
    let locals: Vec<IpAddr> = config.bridge.net.bind.iter().map(SocketAddr::ip).collect();
    let seen = addresses::discover(&config.discovery, &locals).await;
    addresses::advertise(&mut config.bridge.ice, &seen);
    config.bridge.net.workers = workers.or(config.bridge.net.workers);
    let sockets = websocket::WebSockets::new();
    let (export_sender, export_commands) = mpsc::unbounded_channel();
    let (host, mut notices) = DaemonHost::new(Arc::clone(&sockets), export_sender);
    let sctp = config.bridge.transport.sctp;
    let bridge = Bridge::start(config.bridge.clone(), host.clone())
        .map_err(|error| other(error.to_string()))?;

    // Without a public server there is nothing to advertise.
    let public = config
        .public_http
        .as_ref()
        .filter(|_| config.websockets.enabled);
    let websockets = public.map(|public| WebsocketUrls {
        domains: config.websockets.domains.clone(),
        tls: config.websockets.tls.unwrap_or(public.tls.is_some()),
        server_id: config.websockets.server_id.clone(),
    });
    let stun_failed = config.discovery.stun_failed(&seen);
    let process = DaemonProcess::new(bridge.clone(), &config, Arc::clone(&sockets), stun_failed);
    let environment = export::Environment {
        access: bridge.clone(),
        options: config.exports.clone(),
        version: config.version.clone(),
        totals: process.export_totals(),
    };
    let (end_exports, exports_end) = oneshot::channel();
    let exports = tokio::spawn(export::run(
        Arc::new(environment),
        export_commands,
        exports_end,
    ));
    let mut options = RestOptions {
        rest_enabled: config.rest.colibri,
        health_enabled: config.rest.health,
        version_enabled: config.rest.version,
        drain_enabled: config.rest.drain,
        shutdown_enabled: config.rest.shutdown,
        debug_enabled: config.rest.debug,
        metrics_enabled: config.rest.prometheus,
        rtcstats_enabled: config.rest.rtcstats,
        version: config.version.clone(),
        release: config.release.clone(),
        ..RestOptions::default()
    };
    let handler = Handler::new(HandlerOptions { sctp, websockets });
    let xmpp = Clients::start(
        Arc::clone(&process),
        handler.clone(),
        &config.xmpp,
        &config.version,
        config.release.as_deref(),
    );
    process.set_xmpp(Arc::clone(&xmpp));
    if let Some(server) = &config.private_http {
        let listener = listen(server, "private").await.map_err(other)?;
        let address = listener.local_addr();
        let loopback = address.is_ok_and(|address| address.ip().is_loopback());
        if config.rest.colibri && !loopback && config.rest.token.is_none() {
            tracing::warn!(
                "ANYBODY WHO REACHES THE PRIVATE HTTP SERVER CONTROLS THIS BRIDGE: it listens beyond loopback, and \
                 videobridge.apis.rest.enabled offers the control API without authentication. Set \
                 videobridge.apis.rest.token, or bind videobridge.http-servers.private.host to 127.0.0.1"
            );
        }
        options.access = Access {
            loopback,
            host: server.host.clone(),
            token: config.rest.token.clone(),
            allowed_networks: config.rest.allowed_networks.clone(),
        };
        let app = rest::router(Arc::clone(&process), handler, options);
        let tls = watched(server);
        tokio::spawn(http::serve(listener, app, Audience::Operators, tls));
    }
    if let Some(server) = public {
        let options = websocket::WebSocketOptions {
            server_id: config.websockets.server_id.clone(),
            idle_timeout: config.websockets.idle_timeout,
            send_pings: config.websockets.ping_interval.is_some(),
            compression: config.websockets.compression,
            ping_interval: config
                .websockets
                .ping_interval
                .unwrap_or(websocket::WebSocketOptions::default().ping_interval),
        };
        let app = websocket::router(Arc::clone(&process), sockets, options);
        let listener = listen(server, "public").await.map_err(other)?;
        let audience = Audience::Strangers {
            proxies: server.trusted_proxies.clone(),
            redact: config.bridge.net.redact_remote_addresses,
        };
        tokio::spawn(http::serve(listener, app, audience, watched(server)));
    }
    tracing::info!(udp = ?bridge.addresses(), workers = bridge.workers(), "bridge ready");
    // An error means that no service manager asked for it.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    tokio::spawn(watchdog::run(bridge.clone()));
    let unsound = Cell::new(false);
    // Conferences that end are logged by the bridge; nobody else waits for the news here.
    let drain = async {
        while let Some(notice) = notices.recv().await {
            if matches!(notice, Notice::Unsound) && !unsound.replace(true) {
                tracing::error!(
                    "too many conferences ended by internal errors: no new ones are taken, and the process ends when it is empty"
                );
                process.shutdown(true);
            }
        }
        std::future::pending::<Ended>().await
    };
    let ended = tokio::select! {
        signal = signals.next() => Ended::Signal(signal),
        () = process.run() => Ended::Asked,
        thread = host.failure() => return Err(other(failure(&thread))),
        ended = drain => ended,
    };
    tracing::info!("Videobridge is shutting down NOW");
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    xmpp.leave().await;
    // Recorders finish what they have.
    let _ = end_exports.send(());
    let _ = exports.await;
    tokio::task::spawn_blocking(move || {
        bridge.stop();
        process.finish_captures();
    })
    .await
    .map_err(|error| other(error.to_string()))?;
    if unsound.get() {
        return Err(other(
            "ended because of internal errors, which the log shows: the service manager starts it again".to_owned(),
        ));
    }
    Ok(ended)
}

/// What the log says when the bridge can not go on.
pub fn failure(thread: &str) -> String {
    format!(
        "{thread} ended by an internal error, and the process with it: its service manager starts it again"
    )
}

/// The TLS of a server, whose certificate is read again when its file changes.
fn watched(server: &HttpServer) -> Option<Tls> {
    let tls = server.tls.clone()?;
    tokio::spawn(tls.clone().watch());
    Some(tls)
}

async fn listen(server: &HttpServer, name: &str) -> Result<TcpListener, String> {
    let host = server.host.as_deref().unwrap_or("0.0.0.0");
    let ip: IpAddr = match host {
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        host => host.parse().map_err(|_| {
            format!("videobridge.http-servers.{name}.host: {host} is not an IP address")
        })?,
    };
    let address = SocketAddr::new(ip, server.port);
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!(
            "can not serve HTTP on {address}: {error}. Choose another {}",
            server.port_key(name)
        )
    })?;
    let tls = server.tls.is_some();
    tracing::info!(%address, tls, "{name} HTTP server");
    Ok(listener)
}
