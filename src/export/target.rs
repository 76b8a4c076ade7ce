//! Where an export may go, and the way there (T62).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use causeway_bridge::export::ExportSettings;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Uri, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// For the name, the connection, TLS and the handshake together.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a message at which the library gives up.
const MAX_READ: usize = 2 * causeway_bridge::limits::MAX_MESSAGE_BYTES;

/// A connection with or without TLS.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// An open websocket.
pub(super) type Socket = WebSocketStream<Box<dyn Transport>>;

/// Opens the websocket of an export.
///
/// # Errors
///
/// Why it can not be opened, without what is secret in URL and headers.
pub(super) async fn open(settings: &ExportSettings, allowed: &[IpNet]) -> Result<Socket, String> {
    match tokio::time::timeout(PATIENCE, open_now(settings, allowed)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no connection within {} s", PATIENCE.as_secs())),
    }
}

async fn open_now(settings: &ExportSettings, allowed: &[IpNet]) -> Result<Socket, String> {
    let uri: Uri = settings
        .url
        .parse()
        .map_err(|_| "the URL is malformed".to_owned())?;
    let secure = match uri.scheme_str() {
        Some(scheme) if scheme.eq_ignore_ascii_case("wss") => true,
        Some(scheme) if scheme.eq_ignore_ascii_case("ws") => false,
        _ => return Err("the URL must begin with ws or wss".to_owned()),
    };
    let host = uri.host().unwrap_or_default();
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let request = request(uri, &settings.headers)?;

    // Resolved once: what is checked is what is connected to.
    let found = lookup_host((host.as_str(), port))
        .await
        .map_err(|error| format!("the name can not be resolved: {error}"))?;
    let address = choose(found, allowed)?;
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("no connection to {address}: {error}"))?;
    // Small messages in time matter more than few segments.
    let _ = stream.set_nodelay(true);
    let stream: Box<dyn Transport> = if secure {
        let tls = causeway_xmpp::tls::verifying()?;
        let name = causeway_xmpp::tls::server_name(&host)?;
        let stream = tls.connect(name, stream).await;
        Box::new(stream.map_err(|error| format!("no TLS with {address}: {error}"))?)
    } else {
        Box::new(stream)
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_READ))
        .max_frame_size(Some(MAX_READ))
        .write_buffer_size(0);
    // An answer that redirects is an error here.
    let (socket, _) = client_async_with_config(request, stream, Some(config))
        .await
        .map_err(|error| format!("{address} refuses the websocket: {error}"))?;
    Ok(socket)
}

/// The opening request. Headers that belong to the websocket itself are left out.
fn request(uri: Uri, headers: &[(String, String)]) -> Result<Request, String> {
    let mut request = uri
        .into_client_request()
        .map_err(|error| format!("the URL is malformed: {error}"))?;
    for (name, value) in headers {
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
        let parsed = parsed.zip(HeaderValue::from_str(value).ok());
        let Some((header, mut value)) = parsed else {
            return Err("a header is malformed".to_owned());
        };
        let ours = [
            header::CONNECTION,
            header::CONTENT_LENGTH,
            header::HOST,
            header::TRANSFER_ENCODING,
            header::UPGRADE,
        ];
        if ours.contains(&header) || header.as_str().starts_with("sec-websocket-") {
            continue;
        }
        value.set_sensitive(true);
        request.headers_mut().append(header, value);
    }
    Ok(request)
}

/// The first address to which an export may go.
fn choose(
    found: impl Iterator<Item = SocketAddr>,
    allowed: &[IpNet],
) -> Result<SocketAddr, String> {
    let mut refused = None;
    for address in found {
        if may_reach(address.ip(), allowed) {
            return Ok(address);
        }
        refused = Some(address.ip());
    }
    Err(match refused {
        Some(address) => format!(
            "{address} is not public: videobridge.exporter.allowed-networks can allow private ones"
        ),
        None => "the name has no address".to_owned(),
    })
}

/// Whether an export may go there: never to link-local addresses, which serve metadata of cloud machines, and to other
/// special ones only if they are allowed.
fn may_reach(address: IpAddr, allowed: &[IpNet]) -> bool {
    let address = embedded(address);
    let (never, special) = match address {
        IpAddr::V4(v4) => (
            v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0,
            v4.is_loopback() || v4.is_private() || is_shared(v4),
        ),
        IpAddr::V6(v6) => (
            v6.is_unicast_link_local()
                || v6.is_multicast()
                || v6.is_unspecified()
                || v6 == METADATA_V6,
            v6.is_loopback() || v6.is_unique_local() || v6.segments()[0] & 0xFFC0 == 0xFEC0,
        ),
    };
    !never && (!special || allowed.iter().any(|network| network.contains(&address)))
}

const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// 100.64.0.0/10 (RFC 6598) and 192.0.0.0/24 (RFC 6890).
fn is_shared(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    (a == 100 && b & 0xC0 == 64) || (a == 192 && b == 0 && c == 0)
}

/// The IPv4 address that an IPv6 address stands for (mapped, compatible, NAT64, 6to4), or the address itself.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0 | 0xFFFF, high, low] | [0x64, 0xFF9B, 0, 0, 0, 0, high, low] => {
            v4(high, low)
        }
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reaches(address: &str, allowed: &[&str]) -> bool {
        let allowed: Vec<IpNet> = allowed.iter().map(|it| it.parse().unwrap()).collect();
        may_reach(address.parse().unwrap(), &allowed)
    }

    #[test]
    fn t62_only_public_addresses_are_reached_unless_allowed() {
        for public in [
            "192.0.2.1",
            "198.51.100.7",
            "2001:db8::1",
            "64:ff9b::c000:201",
        ] {
            assert!(reaches(public, &[]), "{public}");
        }
        for (private, network) in [
            ("127.0.0.1", "127.0.0.0/8"),
            ("::1", "::1/128"),
            ("10.1.2.3", "10.0.0.0/8"),
            ("172.18.0.5", "172.16.0.0/12"),
            ("192.168.0.1", "192.168.0.0/16"),
            ("100.100.100.200", "100.64.0.0/10"),
            ("192.0.0.192", "192.0.0.0/24"),
            ("fd12::1", "fc00::/7"),
            ("fec0::1", "fec0::/10"),
            ("::ffff:127.0.0.1", "127.0.0.1/32"),
            ("::7f00:1", "127.0.0.1/32"),
            ("64:ff9b::a01:203", "10.0.0.0/8"),
            ("2002:7f00:1::", "127.0.0.0/8"),
        ] {
            assert!(!reaches(private, &[]), "{private}");
            assert!(!reaches(private, &["203.0.113.0/24"]), "{private}");
            assert!(reaches(private, &[network]), "{private}");
        }
        for never in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "fd00:ec2::254",
            "0.0.0.0",
            "0.0.0.1",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
        ] {
            assert!(!reaches(never, &["0.0.0.0/0", "::/0"]), "{never}");
        }
    }

    #[test]
    fn t62_of_several_addresses_only_those_that_may_be_are_taken() {
        let addresses = ["127.0.0.1:80", "192.0.2.1:80"].map(|it| it.parse().unwrap());
        assert_eq!(choose(addresses.into_iter(), &[]), Ok(addresses[1]));
        let refused = choose(addresses[..1].iter().copied(), &[]).unwrap_err();
        assert!(refused.contains("allowed-networks"), "{refused}");
        assert!(choose(std::iter::empty(), &[]).is_err());
    }

    #[test]
    fn t62_headers_of_the_websocket_itself_are_not_replaced() {
        let uri = Uri::from_static("ws://stt.example:8080/x?y=z");
        let headers = [
            ("Authorization", "Bearer x"),
            ("Host", "evil.example"),
            ("Sec-WebSocket-Key", "x"),
            ("Connection", "close"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let request = request(uri.clone(), &headers).unwrap();
        let header = |name: &str| request.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(header("authorization"), "Bearer x");
        assert_eq!(header("host"), "stt.example:8080");
        assert_eq!(header("connection"), "Upgrade");
        assert_ne!(header("sec-websocket-key"), "x");
        let folded = [("X".to_owned(), "a\r\nHost: y".to_owned())];
        assert!(super::request(uri, &folded).is_err());
    }
}
