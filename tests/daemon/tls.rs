//! The daemon with key stores: TLS on its own servers, and what it says about files that it can not use.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use causeway_tests::eventually;
use causeway_tests::running::{ask, await_ready, media_address};
use serde_json::{Value, json};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio_tungstenite::tungstenite::{Message, client};

type Secure = StreamOwned<ClientConnection, TcpStream>;

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/tls/testdata")
        .join(name)
}

/// A TCP port that was free a moment ago; nobody else asks for it by number.
fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// What the private and the public server listen on.
struct Ports {
    private_clear: u16,
    private: u16,
    public_clear: u16,
    public: u16,
}

struct Daemon {
    process: Child,
    config: PathBuf,
    /// Key store of the private server; a copy of its own.
    store: PathBuf,
    ports: Ports,
}

impl Daemon {
    /// Both servers have the test's certificate, from a key store of another kind each.
    fn start(name: &str) -> Daemon {
        let store = format!("causeway-tls-{}-{name}.p12", std::process::id());
        let store = std::env::temp_dir().join(store);
        fs::copy(testdata("java.p12"), &store).unwrap();
        let ports = Ports {
            private_clear: free_port(),
            private: free_port(),
            public_clear: free_port(),
            public: free_port(),
        };
        let address = media_address();
        let udp = UdpSocket::bind((address, 0)).unwrap().local_addr().unwrap();
        let text = format!(
            "videobridge {{
               apis.rest.enabled = true
               http-servers.private {{
                 host = 127.0.0.1, port = {}, tls-port = {}
                 key-store-path = \"{}\", key-store-password = changeit
               }}
               http-servers.public {{
                 host = 127.0.0.1, port = {}, tls-port = {}
                 key-store-path = \"{}\", key-store-password = changeit
               }}
               websockets {{ enabled = true, server-id = jvb, domain = \"localhost:{}\" }}
               ice.udp.port = {}
             }}
             ice4j.harvest {{
               allowed-addresses = [\"{address}\"]
               mapping.aws.enabled = false
               udp.receive-buffer-size = 65536
             }}",
            ports.private_clear,
            ports.private,
            store.display(),
            ports.public_clear,
            ports.public,
            testdata("java.jks").display(),
            ports.public,
            udp.port(),
        );
        let config = configuration(name, &text);
        let mut process = Command::new(env!("CARGO_BIN_EXE_causeway"))
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        await_ready(&mut process);
        Daemon {
            process,
            config,
            store,
            ports,
        }
    }

    /// Status and body of an answer of the private server.
    fn request(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        ask(secure(self.ports.private), method, path, "", body)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.config);
        let _ = fs::remove_file(&self.store);
    }
}

fn configuration(name: &str, text: &str) -> PathBuf {
    let name = format!("causeway-tls-{}-{name}.conf", std::process::id());
    let path = std::env::temp_dir().join(name);
    fs::write(&path, text).unwrap();
    path
}

/// A connection to a server whose certificate is checked.
fn secure(port: u16) -> Secure {
    secure_by(port, fs::read(testdata("authority.der")).unwrap())
}

/// A connection to a server whose certificate must be by this authority.
fn secure_by(port: u16, authority: Vec<u8>) -> Secure {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority)).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", port)).unwrap())
}

#[test]
fn config_case_21_rest_and_stats_case_5_servers_with_key_stores_speak_tls_on_their_tls_port_only() {
    let daemon = Daemon::start("served");
    assert_eq!(daemon.request("GET", "/about/version", &Value::Null).0, 200);

    for closed in [daemon.ports.private_clear, daemon.ports.public_clear] {
        let error = TcpStream::connect(("127.0.0.1", closed)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    for port in [daemon.ports.private, daemon.ports.public] {
        let mut clear = TcpStream::connect(("127.0.0.1", port)).unwrap();
        clear
            .write_all(b"GET /about/version HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        // The end may come as a reset.
        let _ = clear.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "answered in clear text");
    }

    // The URL that clients are told is one for TLS, and it works.
    let endpoint = json!({ "id": "abcdef01", "create": true, "capabilities": ["source-names"], "transport": { "ice-controlling": true } });
    let create = json!({ "meeting-id": "m", "name": "m@example.com", "create": true, "endpoints": [endpoint] });
    let (status, answer) = daemon.request("POST", "/colibri/v2/conferences", &create);
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let url = answer["endpoints"][0]["transport"]["transport"]["web-sockets"][0]
        .as_str()
        .unwrap();
    let start = format!("wss://localhost:{}/colibri-ws/jvb/", daemon.ports.public);
    assert!(url.starts_with(&start), "{url}");
    let (mut socket, _) = client(url, secure(daemon.ports.public)).unwrap();
    socket
        .send(Message::text(r#"{"colibriClass":"ClientHello"}"#))
        .unwrap();
    loop {
        let message = socket.read().unwrap();
        if message.to_text().unwrap().contains("ServerHello") {
            break;
        }
    }
}

/// Whether it goes on after this request.
fn answers(connection: &mut Secure) -> bool {
    let request = b"GET /about/version HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut answer = [0; 1_024];
    connection.write_all(request).is_ok()
        && connection.flush().is_ok()
        && connection.read(&mut answer).is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}

#[test]
fn a_new_certificate_is_in_use_without_a_restart_and_connections_stay() {
    let daemon = Daemon::start("renewed");
    let port = daemon.ports.private;
    let mut old = secure(port);
    assert!(answers(&mut old));

    let names = vec!["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    // A file of another kind takes its place, as tools do it: whole.
    let new = daemon.store.with_extension("new");
    fs::write(&new, made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
    fs::rename(&new, &daemon.store).unwrap();
    eventually(
        "the new certificate is in use",
        Duration::from_secs(60),
        || answers(&mut secure_by(port, made.cert.der().to_vec())),
        |answered| *answered,
    );
    assert!(!answers(&mut secure(port)), "the old certificate is gone");
    assert!(answers(&mut old), "what was open goes on");
}

#[test]
fn config_case_26_key_stores_that_can_not_be_used_end_the_start_with_78() {
    let store = testdata("java.p12");
    let store = store.display();
    for (members, reason) in [
        (
            "key-store-path = /nonexistent.p12".to_owned(),
            "/nonexistent.p12: can not be read",
        ),
        (
            format!("key-store-path = \"{store}\", key-store-password = wrong-one"),
            "java.p12: the password in key-store-password is wrong",
        ),
        (
            format!(
                "key-store-path = \"{}\", key-store-password = changeit",
                testdata("trust.jks").display()
            ),
            "trust.jks: has no private key",
        ),
    ] {
        let text = format!("\nvideobridge.http-servers.private {{ {members} }}\n");
        let config = configuration("refused", &text);
        let output = Command::new(env!("CARGO_BIN_EXE_causeway"))
            .arg("--config")
            .arg(&config)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        let key = format!(
            "{}:2: videobridge.http-servers.private.key-store-path: ",
            config.display()
        );
        assert!(said.contains(&key) && said.contains(reason), "{said}");
        assert!(!said.contains("wrong-one"), "{said}");
        fs::remove_file(&config).unwrap();
    }
}
