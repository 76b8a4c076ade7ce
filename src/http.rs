//! The accept loop of the HTTP servers.
//!
//! Strangers reach the public one. Until a socket has become a websocket nobody knows who is behind it (T55). So it has little time for
//! its headers and for everything else, the headers are short, and each source address may hold only a
//! share of the sockets: whoever fills its share takes nothing from others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::serve::Listener;
use causeway_bridge::redaction::ClientAddress;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::tls::Tls;

#[cfg(test)]
mod tests;

/// Bounds of an HTTP server. A socket that became a websocket no longer counts.
pub mod limits {
    use std::time::Duration;

    /// Bytes that are read before a request's headers must have ended.
    pub const MAX_HEADER_BYTES: usize = 8 << 10;
    /// Headers of a request.
    pub const MAX_HEADERS: usize = 64;
    /// Time for the headers of a request, also for the next one of a kept connection.
    pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
    /// The same for operators, whose scrapers keep a connection from one minute to the next.
    pub const OPERATOR_TIMEOUT: Duration = Duration::from_secs(150);
    /// A connection is not kept for further requests beyond this age.
    pub const MAX_AGE: Duration = Duration::from_secs(60);
    /// Sockets in total.
    pub const MAX_SOCKETS: usize = 1_024;
    /// Sockets of one IPv4 /24 or IPv6 /56.
    pub const MAX_SOCKETS_PER_SOURCE: usize = 64;
}

/// For whom a server is.
#[derive(Clone, Debug)]
pub enum Audience {
    /// Anybody.
    Strangers {
        /// These networks are exempt from the share of a source, as loopback addresses always are: there a reverse
        /// proxy speaks for everybody.
        proxies: Vec<IpNet>,
        /// Hide their addresses in logs.
        redact: bool,
    },
    /// Programs and people that run the bridge: connections are kept.
    Operators,
}

impl Audience {
    fn header_timeout(&self) -> Duration {
        match self {
            Audience::Strangers { .. } => limits::HEADER_TIMEOUT,
            Audience::Operators => limits::OPERATOR_TIMEOUT,
        }
    }

    fn max_age(&self) -> Duration {
        match self {
            Audience::Strangers { .. } => limits::MAX_AGE,
            Audience::Operators => Duration::MAX,
        }
    }

    /// Strangers whose addresses logs hide.
    pub fn strangers(proxies: Vec<IpNet>) -> Audience {
        Audience::Strangers {
            proxies,
            redact: true,
        }
    }

    /// An address as logs show it.
    fn shown(&self, peer: SocketAddr) -> ClientAddress {
        ClientAddress::new(
            peer,
            matches!(self, Audience::Strangers { redact: true, .. }),
        )
    }

    /// Whether sockets from `ip` are not bounded by the share of a source.
    fn exempts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let is_proxy = match self {
            Audience::Strangers { proxies, .. } => {
                proxies.iter().any(|network| network.contains(&ip))
            }
            Audience::Operators => false,
        };
        is_proxy || ip.is_loopback()
    }
}

/// Serves `app` on what `listener` accepts, for ever; with `tls` to whoever shakes hands, and to nobody else.
pub async fn serve<L>(mut listener: L, app: Router, audience: Audience, tls: Option<Tls>)
where
    L: Listener<Addr = SocketAddr>,
{
    let sockets = Arc::new(Sockets::default());
    let audience = Arc::new(audience);
    loop {
        let (io, peer) = listener.accept().await;
        let exempt = audience.exempts(peer.ip());
        let Some(seat) = Sockets::admit(&sockets, peer.ip(), exempt) else {
            let peer = audience.shown(peer);
            tracing::debug!(%peer, "refused a connection: too many open");
            continue;
        };
        let (app, audience, tls) = (app.clone(), Arc::clone(&audience), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => converse(io, peer, app, &audience).await,
                Some(tls) => match tls.accept(io).await {
                    Ok(io) => converse(io, peer, app, &audience).await,
                    Err(error) => {
                        let peer = audience.shown(peer);
                        tracing::debug!(%peer, %error, "no TLS handshake");
                    }
                },
            }
            drop(seat);
        });
    }
}

/// Answers the requests of one socket, until it ends or becomes a websocket.
async fn converse<I>(io: I, peer: SocketAddr, app: Router, audience: &Audience)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let app = TowerToHyperService::new(app);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        app.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(audience.header_timeout())
        .max_headers(limits::MAX_HEADERS)
        .max_buf_size(limits::MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // Errors are the peer's: it left, or was told what is wrong.
    let aged = timeout(audience.max_age(), connection.as_mut()).await;
    if aged.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(limits::HEADER_TIMEOUT, connection).await;
    }
}

/// The network that counts as one source: IPv4 /24 or IPv6 /56.
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & (!0 << 8)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (!0 << 72)).into(),
    }
}

/// Open sockets by source.
#[derive(Default)]
struct Sockets(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    total: usize,
    by_source: HashMap<IpAddr, usize>,
}

impl Sockets {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counting does not panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a socket from `ip`; `None` if all or its share are taken.
    fn admit(this: &Arc<Self>, ip: IpAddr, exempt: bool) -> Option<Seat> {
        let source = source(ip);
        let mut counts = this.lock();
        let held = counts.by_source.get(&source).copied().unwrap_or(0);
        let share_taken = held >= limits::MAX_SOCKETS_PER_SOURCE && !exempt;
        if counts.total >= limits::MAX_SOCKETS || share_taken {
            return None;
        }
        counts.total += 1;
        counts.by_source.insert(source, held + 1);
        let sockets = Arc::clone(this);
        Some(Seat { sockets, source })
    }
}

/// The place of one socket, free again when dropped.
struct Seat {
    sockets: Arc<Sockets>,
    source: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.sockets.lock();
        counts.total -= 1;
        if let Some(held) = counts.by_source.get_mut(&self.source) {
            *held -= 1;
            if *held == 0 {
                counts.by_source.remove(&self.source);
            }
        }
    }
}
