//! Who may control the bridge (T61).
//!
//! The resources that health checks and scrapers read are for everybody who reaches the server. The others look and change more, so a
//! request for one of them is let through only if
//!
//! 1. its address is in one of the allowed networks, if there are any (403),
//! 2. it asks for a loopback name, if the server is on loopback: anything else is a name that somebody's DNS points
//!    here (403),
//! 3. it has the token, if there is one (401),
//! 4. it does not come from a page of another web site, if it could change something (403); no CORS header ever says
//!    that such a page might read answers,
//! 5. its body is JSON (415), at most [`MAX_BODY_BYTES`](super::MAX_BODY_BYTES) long (413) and here in time (408).
//!
//! A body without a content type is taken for JSON, as existing clients expect: no browser sends one without an `Origin`.

use std::fmt;
use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use ipnet::IpNet;
use tokio::time::timeout;

use super::{ResponseOr, failure, site};

/// Time for the body of a request.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Who may control the bridge; the default is everybody.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// The server listens on loopback only, so that it is asked for under loopback names and `host`.
    pub loopback: bool,
    /// A further name under which the server is asked for.
    pub host: Option<String>,
    /// What requests must have as `Authorization: Bearer …`.
    pub token: Option<Token>,
    /// If not empty, only from here. Needs the peer's address as [`ConnectInfo`].
    pub allowed_networks: Vec<IpNet>,
}

/// A secret that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes what is kept secret.
    pub fn new(secret: String) -> Token {
        Token(secret)
    }

    /// Whether `offered` is the same, in a time that does not tell how much of it is.
    fn is(&self, offered: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let pairs = own.iter().zip(offered);
        let differences = pairs.fold(0, |all, (own, offered)| black_box(all | (own ^ offered)));
        own.len() == offered.len() && differences == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Access {
    fn check(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> ResponseOr<()> {
        let forbidden = |text| Err(Box::new(failure(StatusCode::FORBIDDEN, text, None)));
        let allowed = |peer: IpAddr| {
            let peer = peer.to_canonical();
            self.allowed_networks
                .iter()
                .any(|network| network.contains(&peer))
        };
        if !self.allowed_networks.is_empty() && !peer.is_some_and(allowed) {
            return forbidden("Requests from this address are not allowed");
        }
        let name = site::host_name(headers);
        let configured = self.host.as_deref();
        if self.loopback
            && !site::is_loopback(name)
            && !configured.is_some_and(|host| host.eq_ignore_ascii_case(name))
        {
            return forbidden("The server is not asked for under this host name");
        }
        match &self.token {
            Some(token) if !bearer(headers).is_some_and(|offered| token.is(offered)) => {
                let text = "Authorization with the bearer token is needed";
                let mut response = failure(StatusCode::UNAUTHORIZED, text, None);
                let scheme = HeaderValue::from_static("Bearer");
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, scheme);
                Err(Box::new(response))
            }
            _ => Ok(()),
        }
    }

    async fn admit(&self, request: Request) -> ResponseOr<Request> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        self.check(peer.map(|peer| peer.0.ip()), request.headers())?;
        match *request.method() {
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE => Ok(request),
            _ => with_body(request).await,
        }
    }
}

/// The token that a request has.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .as_bytes()
        .split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// A request that may change something, once its body is complete.
async fn with_body(request: Request) -> ResponseOr<Request> {
    let refused = |status, text: &str| Box::new(failure(status, text, None));
    if site::is_cross_site(request.headers()) {
        let text = "Requests from other web sites are refused";
        return Err(refused(StatusCode::FORBIDDEN, text));
    }
    if !request.body().is_end_stream() {
        expect_json(request.headers())?;
    }
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts.clone(), body);
    let body = match timeout(BODY_TIMEOUT, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return Err(refused(error.status(), &error.body_text())),
        Err(_) => {
            let text = "The body did not come in time";
            return Err(refused(StatusCode::REQUEST_TIMEOUT, text));
        }
    };
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// Refuses a content type other than JSON.
pub(super) fn expect_json(headers: &HeaderMap) -> ResponseOr<()> {
    let is_json = |value: &HeaderValue| {
        let kind = value
            .to_str()
            .ok()
            .and_then(|value| value.split(';').next());
        kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    };
    if headers.get_all(header::CONTENT_TYPE).iter().all(is_json) {
        return Ok(());
    }
    let text = "The content type must be application/json";
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Err(Box::new(failure(status, text, None)))
}

/// Lets requests through that may control the bridge.
pub(super) async fn guard(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    match access.admit(request).await {
        Ok(request) => next.run(request).await,
        Err(response) => *response,
    }
}
