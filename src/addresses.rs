//! The addresses that the daemon binds, and the public ones that clients are told.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use causeway_bridge::config::IceConfig;
use causeway_bridge::net::{BindError, interfaces};
use causeway_bridge::random::Random;
use causeway_bridge::wire::stun::StunMessage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::{AddressFilter, Discovery};

/// How long a STUN server or the metadata service may take before the bridge starts without its answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A request is sent again after this time, as datagrams get lost.
const RETRANSMIT: Duration = Duration::from_millis(400);
/// Where EC2 tells an instance about itself.
const METADATA: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254)), 80);
/// An answer of the metadata service is an address or a token.
const MAX_METADATA: u64 = 4096;

/// The addresses of this machine that `filter` admits.
///
/// # Errors
/// The interfaces can not be read.
pub fn to_bind(filter: &AddressFilter) -> Result<Vec<IpAddr>, BindError> {
    Ok(interfaces()?
        .into_iter()
        .filter(|interface| filter.admits(&interface.name, interface.address))
        .map(|interface| interface.address)
        .collect())
}

/// What somebody outside says about an address of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Local address that was asked about.
    pub local: IpAddr,
    /// Who was asked.
    pub by: String,
    /// The address that others see, or why it is not known.
    pub public: Result<IpAddr, String>,
}

/// Asks the configured STUN servers and, on EC2, the metadata service for the public addresses that belong to `locals`.
/// Takes at most two seconds.
pub async fn discover(discovery: &Discovery, locals: &[IpAddr]) -> Vec<Seen> {
    let mut questions = JoinSet::new();
    for &local in locals.iter().filter(|local| !local.is_loopback()) {
        for server in &discovery.stun {
            let server = server.clone();
            questions.spawn(async move {
                let public = match timeout(PATIENCE, ask_stun(local, &server)).await {
                    Ok(answer) => answer,
                    Err(_) => Err("no answer".to_owned()),
                };
                Seen {
                    local,
                    by: server,
                    public,
                }
            });
        }
    }
    if discovery.aws && (discovery.force_aws || runs_on_ec2()) {
        let locals = locals.to_vec();
        questions.spawn(async move {
            let answer = timeout(PATIENCE, ask_ec2()).await;
            let (local, public) = match answer {
                Ok(Ok((local, public))) => (local, Ok(public)),
                Ok(Err(error)) => (first(&locals), Err(error)),
                Err(_) => (first(&locals), Err("no answer".to_owned())),
            };
            Seen {
                local,
                by: "EC2".to_owned(),
                public,
            }
        });
    }
    let mut seen = questions.join_all().await;
    seen.sort_by(|a, b| (a.local, &a.by).cmp(&(b.local, &b.by)));
    seen
}

impl Discovery {
    /// Whether STUN servers were to be asked, and none of them told an address.
    pub fn stun_failed(&self, seen: &[Seen]) -> bool {
        let told = |seen: &Seen| seen.public.is_ok() && self.stun.contains(&seen.by);
        !self.stun.is_empty() && !seen.iter().any(told)
    }
}

/// Takes what was seen into the configuration, and tells the log.
pub fn advertise(ice: &mut IceConfig, seen: &[Seen]) {
    for Seen { local, by, public } in seen {
        match public {
            Ok(public) if public == local => {}
            Ok(public) => {
                tracing::info!(%local, %public, %by, "public address found");
                let known = ice
                    .mappings
                    .iter()
                    .any(|(l, p, _)| l == local && p == public);
                if !known {
                    ice.mappings.push((*local, *public, None));
                }
            }
            Err(error) => tracing::warn!(
                %local, %by, error, "the public address is not known: if clients do not reach the bridge, set \
                 ice4j.harvest.mapping.static-mappings"
            ),
        }
    }
}

fn first(locals: &[IpAddr]) -> IpAddr {
    locals
        .first()
        .copied()
        .unwrap_or(IpAddr::from([0, 0, 0, 0]))
}

/// The source address that `server` (`host:port`) sees when we send from `local`.
async fn ask_stun(local: IpAddr, server: &str) -> Result<IpAddr, String> {
    let resolved = lookup_host(server)
        .await
        .map_err(|error| format!("the name can not be resolved: {error}"))?;
    let Some(server) = resolved
        .into_iter()
        .find(|server| server.is_ipv4() == local.is_ipv4())
    else {
        return Err("has no address of this family".to_owned());
    };
    let text = |error: std::io::Error| error.to_string();
    let socket = UdpSocket::bind((local, 0)).await.map_err(text)?;
    socket.connect(server).await.map_err(text)?;
    let mut transaction = [0; 12];
    Random::from_os().fill(&mut transaction);
    let request = binding_request(&transaction);
    let mut answer = [0; 1500];
    loop {
        socket.send(&request).await.map_err(text)?;
        let Ok(received) = timeout(RETRANSMIT, socket.recv(&mut answer)).await else {
            continue;
        };
        let bytes = &answer[..received.map_err(text)?];
        if let Some(public) = mapped_address(bytes, &transaction) {
            return Ok(public);
        }
    }
}

/// A binding request without attributes (RFC 8489 §5).
fn binding_request(transaction: &[u8; 12]) -> [u8; 20] {
    let mut request = [0; 20];
    request[..8].copy_from_slice(&[0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xA4, 0x42]);
    request[8..].copy_from_slice(transaction);
    request
}

fn mapped_address(bytes: &[u8], transaction: &[u8; 12]) -> Option<IpAddr> {
    let message = StunMessage::parse(bytes).ok()?;
    (message.transaction() == transaction)
        .then(|| message.xor_mapped())?
        .map(|address| address.ip().to_canonical())
}

/// Whether the firmware says that this is an EC2 instance.
fn runs_on_ec2() -> bool {
    let starts = |path: &str, with: &str| {
        std::fs::read_to_string(path).is_ok_and(|text| text.to_ascii_lowercase().starts_with(with))
    };
    starts("/sys/class/dmi/id/sys_vendor", "amazon ec2") || starts("/sys/hypervisor/uuid", "ec2")
}

/// Local and public IPv4 address of this instance, from the metadata service (version 2, with a token).
async fn ask_ec2() -> Result<(IpAddr, IpAddr), String> {
    const TOKEN: &str = "PUT /latest/api/token HTTP/1.0\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\nContent-Length: 0\r\n\r\n";
    let token = ask_http(METADATA, TOKEN).await?;
    let mut addresses = Vec::new();
    for name in ["local-ipv4", "public-ipv4"] {
        let request = format!(
            "GET /latest/meta-data/{name} HTTP/1.0\r\nX-aws-ec2-metadata-token: {}\r\n\r\n",
            token.trim()
        );
        let answer = ask_http(METADATA, &request).await?;
        let address = answer.trim().parse::<IpAddr>();
        addresses.push(address.map_err(|_| format!("{name} is `{}`", answer.escape_debug()))?);
    }
    match addresses[..] {
        [local, public] => Ok((local, public)),
        _ => Err("no addresses".to_owned()),
    }
}

/// The body of the answer to one HTTP/1.0 request.
async fn ask_http(server: SocketAddr, request: &str) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(server).await.map_err(text)?;
    stream.write_all(request.as_bytes()).await.map_err(text)?;
    let mut answer = String::new();
    stream
        .take(MAX_METADATA)
        .read_to_string(&mut answer)
        .await
        .map_err(text)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or("the answer is cut short")?;
    let status = head.lines().next().unwrap_or("");
    if status.split(' ').nth(1) == Some("200") {
        Ok(body.to_owned())
    } else {
        Err(format!("it says `{}`", status.escape_debug()))
    }
}

#[cfg(test)]
mod tests {
    use causeway_bridge::wire::stun::{integrity_key, write_success};

    use super::*;

    /// A STUN server on loopback that loses the first request, answers garbage to the second, and then tells `public`.
    async fn stun_server(public: SocketAddr) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
        let address = socket.local_addr().expect("bound");
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            for turn in 0.. {
                let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
                    return;
                };
                assert_eq!(length, 20);
                let transaction: [u8; 12] = buffer[8..20].try_into().expect("twelve bytes");
                let mut out = [0; 600];
                let length = match turn {
                    0 => continue,
                    1 => 20,
                    _ => write_success(&mut out, &transaction, public, &integrity_key("x"))
                        .expect("fits"),
                };
                let _ = socket.send_to(&out[..length], from).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn the_address_that_a_stun_server_sees_is_advertised() {
        let public: SocketAddr = "203.0.113.7:4711".parse().expect("address");
        let server = stun_server(public).await;
        let local = IpAddr::from([127, 0, 0, 1]);
        let seen = Seen {
            local,
            by: server.to_string(),
            public: ask_stun(local, &server.to_string()).await,
        };
        assert_eq!(seen.public, Ok(public.ip()));

        let mut ice = IceConfig::default();
        advertise(&mut ice, &[seen.clone(), seen]);
        assert_eq!(ice.mappings, [(local, public.ip(), None)]);
    }

    #[test]
    fn an_answer_to_another_question_is_ignored() {
        let mut out = [0; 600];
        let public: SocketAddr = "203.0.113.7:4711".parse().expect("address");
        let length = write_success(&mut out, &[1; 12], public, &integrity_key("x")).expect("fits");
        assert_eq!(mapped_address(&out[..length], &[1; 12]), Some(public.ip()));
        assert_eq!(mapped_address(&out[..length], &[2; 12]), None);
        assert_eq!(mapped_address(&out[..length - 1], &[1; 12]), None);
    }

    #[tokio::test]
    async fn a_metadata_service_that_refuses_is_an_error_with_its_words() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            for answer in [
                "HTTP/1.0 200 OK\r\n\r\n10.0.0.1",
                "HTTP/1.0 403 Forbidden\r\n\r\nno",
            ] {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let mut request = [0; 9];
                stream.read_exact(&mut request).await.expect("a request");
                stream
                    .write_all(answer.as_bytes())
                    .await
                    .expect("still there");
            }
        });
        assert_eq!(
            ask_http(address, "GET / 1.0").await,
            Ok("10.0.0.1".to_owned())
        );
        assert_eq!(
            ask_http(address, "GET / 1.0").await,
            Err("it says `HTTP/1.0 403 Forbidden`".to_owned())
        );
    }

    #[test]
    fn stun_failed_if_servers_are_set_and_none_told_an_address() {
        let seen = |by: &str, public: Result<IpAddr, String>| Seen {
            local: [10, 0, 0, 1].into(),
            by: by.to_owned(),
            public,
        };
        let told = Ok(IpAddr::from([203, 0, 113, 5]));
        let silent = Err("no answer".to_owned());
        let mut discovery = Discovery::default();
        assert!(!discovery.stun_failed(&[]));
        discovery.stun = vec!["a:3478".into(), "b:3478".into()];
        assert!(discovery.stun_failed(&[seen("a:3478", silent.clone())]));
        assert!(discovery.stun_failed(&[seen("EC2", told.clone())]));
        assert!(!discovery.stun_failed(&[seen("a:3478", silent), seen("b:3478", told)]));
    }
}
