//! Login as a client: TCP, STARTTLS, SASL, resource binding (RFC 6120).
//!
//! Stream resumption (XEP-0198) is left out on purpose: a server that keeps a dead bridge in its rooms lets focuses send
//! requests there for minutes, while without it everybody knows at once.

use std::io;
use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::element::Element;
use crate::ns;
use crate::parser::{Item, ParseError, StreamParser};
use crate::sasl::Mechanism;
use crate::scram::Scram;
use crate::tls;

/// For all steps of the login together.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);
/// For the server to take one write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes to read at once.
const READ_BYTES: usize = 16 << 10;

/// Whether streams must be encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Security {
    /// Only encrypted.
    #[default]
    Required,
    /// Encrypted if the server offers it.
    IfPossible,
    /// Never encrypted.
    Disabled,
}

/// Where and as whom to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Host to connect to; there is no SRV lookup.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// XMPP domain, for which the certificate must be.
    pub domain: String,
    /// Local part of the address.
    pub user: String,
    /// Password.
    pub password: String,
    /// Encryption.
    pub security: Security,
    /// Check the server's certificate.
    pub verify: bool,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Account {
            host,
            port,
            domain,
            user,
            ..
        } = self;
        write!(f, "{user}@{domain} at {host}:{port}")
    }
}

/// Why there is no connection, or no more.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The network.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What the server sent.
    #[error("the server's stream is {0}")]
    Parse(#[from] ParseError),
    /// The server said no.
    #[error("login refused: {0}")]
    Refused(String),
    /// The server offers nothing that we may use.
    #[error("{0}")]
    Unusable(&'static str),
    /// TLS can not be set up here.
    #[error("TLS: {0}")]
    Tls(String),
    /// It took too long.
    #[error("the server did not answer in time")]
    Timeout,
    /// The server ended the stream.
    #[error("the server closed the stream")]
    Closed,
}

type Result<T> = std::result::Result<T, ConnectError>;

/// A stream of bytes in both directions.
trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// What the server sends.
pub struct Incoming {
    bytes: Box<dyn AsyncRead + Send + Unpin>,
    stream: Stream,
}

/// What we send.
pub struct Outgoing {
    bytes: Box<dyn AsyncWrite + Send + Unpin>,
}

/// A stream's parser with what it has not read yet.
struct Stream {
    parser: StreamParser,
    buffer: Vec<u8>,
    used: usize,
}

impl Stream {
    fn new() -> Stream {
        Stream {
            parser: StreamParser::default(),
            buffer: Vec::new(),
            used: 0,
        }
    }

    /// The next item. Can be dropped while it waits.
    async fn next<R: AsyncRead + Unpin + ?Sized>(&mut self, bytes: &mut R) -> Result<Item> {
        loop {
            let mut rest = &self.buffer[self.used..];
            let item = self.parser.next(&mut rest)?;
            self.used = self.buffer.len() - rest.len();
            if let Some(item) = item {
                return Ok(item);
            }
            self.buffer.clear();
            self.used = 0;
            let mut piece = [0; READ_BYTES];
            let length = bytes.read(&mut piece).await?;
            if length == 0 {
                return Err(ConnectError::Closed);
            }
            self.buffer.extend_from_slice(&piece[..length]);
        }
    }

    /// The next stanza.
    async fn stanza<R: AsyncRead + Unpin + ?Sized>(&mut self, bytes: &mut R) -> Result<Element> {
        loop {
            match self.next(bytes).await? {
                Item::Stanza(stanza) => return Ok(stanza),
                Item::End => return Err(ConnectError::Closed),
                Item::Begin | Item::TooLarge(_) => {}
            }
        }
    }
}

impl Incoming {
    /// The next item of the stream. Can be dropped while it waits, nothing gets lost.
    ///
    /// # Errors
    ///
    /// The stream is broken or over.
    pub async fn next(&mut self) -> Result<Item> {
        self.stream.next(&mut self.bytes).await
    }
}

impl Outgoing {
    /// Sends text that is well-formed XML.
    ///
    /// # Errors
    ///
    /// The stream is broken, or the server does not take it for half a minute.
    pub async fn send(&mut self, text: &str) -> Result<()> {
        send(&mut self.bytes, text).await
    }

    /// Ends the stream in order.
    ///
    /// # Errors
    ///
    /// It was broken before.
    pub async fn close(&mut self) -> Result<()> {
        self.send("</stream:stream>").await?;
        Ok(self.bytes.shutdown().await?)
    }
}

async fn send<W: AsyncWrite + Unpin + ?Sized>(bytes: &mut W, text: &str) -> Result<()> {
    let sent = async {
        bytes.write_all(text.as_bytes()).await?;
        bytes.flush().await
    };
    Ok(timeout(WRITE_TIMEOUT, sent)
        .await
        .map_err(|_| ConnectError::Timeout)??)
}

/// A client that is logged in.
pub struct Connection {
    /// Its full address.
    pub jid: String,
    /// What the server sends.
    pub incoming: Incoming,
    /// What we send.
    pub outgoing: Outgoing,
}

impl Connection {
    /// Logs in and binds a resource that the server chooses.
    ///
    /// # Errors
    ///
    /// Why that failed.
    pub async fn open(account: &Account) -> Result<Connection> {
        timeout(LOGIN_TIMEOUT, Connection::login(account))
            .await
            .map_err(|_| ConnectError::Timeout)?
    }

    async fn login(account: &Account) -> Result<Connection> {
        let tcp = TcpStream::connect((account.host.as_str(), account.port)).await?;
        tcp.set_nodelay(true)?;
        let mut bytes: Box<dyn Bytes> = Box::new(tcp);
        let (mut stream, mut features) = begin(&mut bytes, account).await?;

        let offered = features.child("starttls", ns::TLS).is_some();
        let encrypted = match account.security {
            Security::Disabled => false,
            Security::IfPossible => offered,
            Security::Required if offered => true,
            Security::Required => {
                return Err(ConnectError::Unusable("the server offers no encryption"));
            }
        };
        if encrypted {
            send(&mut bytes, &Element::new("starttls", ns::TLS).to_string()).await?;
            if !stream.stanza(&mut bytes).await?.is("proceed", ns::TLS) {
                return Err(ConnectError::Unusable("the server refuses encryption"));
            }
            // What came unencrypted after "proceed" could be anybody's: it is dropped with the old stream.
            bytes = encrypt(bytes, account).await?;
            (stream, features) = begin(&mut bytes, account).await?;
        }

        let mechanism = Mechanism::choose(&features, encrypted).ok_or(ConnectError::Unusable(
            "the server offers no way to log in that may be used here",
        ))?;
        authenticate(&mut bytes, &mut stream, mechanism, account).await?;
        (stream, _) = begin(&mut bytes, account).await?;

        let bind = Element::new("iq", ns::CLIENT)
            .with("type", "set")
            .with("id", "bind")
            .with_child(Element::new("bind", ns::BIND));
        send(&mut bytes, &bind.to_string()).await?;
        let answer = stream.stanza(&mut bytes).await?;
        let jid = answer
            .child("bind", ns::BIND)
            .and_then(|bind| bind.child("jid", ns::BIND))
            .filter(|_| answer.attribute("type") == Some("result"))
            .map(Element::text)
            .ok_or_else(|| ConnectError::Refused("no resource".to_owned()))?;
        let (incoming, outgoing) = tokio::io::split(bytes);
        Ok(Connection {
            jid,
            incoming: Incoming {
                bytes: Box::new(incoming),
                stream,
            },
            outgoing: Outgoing {
                bytes: Box::new(outgoing),
            },
        })
    }
}

/// Begins a stream and reads its features.
async fn begin(bytes: &mut Box<dyn Bytes>, account: &Account) -> Result<(Stream, Element)> {
    let header = Element::new("stream:stream", ns::CLIENT)
        .with("xmlns", ns::CLIENT)
        .with("xmlns:stream", ns::STREAM)
        .with("version", "1.0")
        .with("to", &account.domain)
        .to_string();
    let open = header.trim_end_matches("/>");
    send(bytes, &format!("<?xml version='1.0'?>{open}>")).await?;
    let mut stream = Stream::new();
    let features = stream.stanza(bytes).await?;
    if features.is("error", ns::STREAM) {
        return Err(refused(&features));
    }
    Ok((stream, features))
}

/// What a server's error says.
fn refused(error: &Element) -> ConnectError {
    let names = error.children().map(|child| match child.text() {
        text if text.is_empty() => child.name().to_owned(),
        text => text,
    });
    ConnectError::Refused(names.collect::<Vec<_>>().join(", "))
}

async fn encrypt(bytes: Box<dyn Bytes>, account: &Account) -> Result<Box<dyn Bytes>> {
    let connector = if account.verify {
        tls::verifying()
    } else {
        tls::trusting()
    };
    let name = ServerName::try_from(account.domain.clone())
        .map_err(|error| ConnectError::Tls(error.to_string()))?;
    let connector = connector.map_err(ConnectError::Tls)?;
    Ok(Box::new(connector.connect(name, bytes).await?))
}

async fn authenticate(
    bytes: &mut Box<dyn Bytes>,
    stream: &mut Stream,
    mechanism: Mechanism,
    account: &Account,
) -> Result<()> {
    let auth = |message: &str| {
        Element::new("auth", ns::SASL)
            .with("mechanism", mechanism.name())
            .with_text(&BASE64.encode(message.as_bytes()))
            .to_string()
    };
    let decode = |element: &Element| {
        BASE64
            .decode(element.text().trim().as_bytes())
            .map_err(|_| ConnectError::Refused("the server's message is no base64".to_owned()))
    };
    let hash = match mechanism {
        Mechanism::Plain => {
            let message = format!("\0{}\0{}", account.user, account.password);
            send(bytes, &auth(&message)).await?;
            let answer = stream.stanza(bytes).await?;
            return match answer.is("success", ns::SASL) {
                true => Ok(()),
                false => Err(refused(&answer)),
            };
        }
        Mechanism::Scram(hash) => hash,
    };
    let mut nonce = [0; 18];
    aws_lc_rs::rand::fill(&mut nonce)
        .map_err(|_| ConnectError::Unusable("the system gives no random numbers"))?;
    let scram = Scram::new(hash, &account.user, BASE64URL_NOPAD.encode(&nonce));
    send(bytes, &auth(&scram.first())).await?;
    let challenge = stream.stanza(bytes).await?;
    if !challenge.is("challenge", ns::SASL) {
        return Err(refused(&challenge));
    }
    let challenge = decode(&challenge)?;
    // Half a million rounds take a while, and others wait for this thread.
    let password = account.password.clone();
    let proof = tokio::task::spawn_blocking(move || scram.prove(&challenge, &password));
    let (message, proven) = proof
        .await
        .map_err(|_| ConnectError::Unusable("the login was cut off"))?
        .map_err(|why| ConnectError::Refused(why.to_owned()))?;
    let response = Element::new("response", ns::SASL).with_text(&BASE64.encode(message.as_bytes()));
    send(bytes, &response.to_string()).await?;
    let mut answer = stream.stanza(bytes).await?;
    let mut verified = false;
    if answer.is("challenge", ns::SASL) {
        // Some servers send their signature before the success.
        verified = proven.verify(&decode(&answer)?);
        send(bytes, &Element::new("response", ns::SASL).to_string()).await?;
        answer = stream.stanza(bytes).await?;
    }
    if !answer.is("success", ns::SASL) {
        return Err(refused(&answer));
    }
    if verified || proven.verify(&decode(&answer)?) {
        Ok(())
    } else {
        Err(ConnectError::Refused(
            "the server does not know the password itself".to_owned(),
        ))
    }
}
