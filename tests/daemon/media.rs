//! A daemon whose media goes over the network, for tests in which participants talk through it.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use causeway_tests::running::{ask, await_ready, media_address};
use serde_json::Value;

/// A running daemon.
pub struct Daemon {
    pub process: Child,
    /// Of REST.
    pub port: u16,
    config: std::path::PathBuf,
}

impl Daemon {
    /// Starts it with `more` configuration; `authority` takes the place of those that the system trusts.
    pub fn start(name: &str, more: &str, authority: Option<&Path>) -> Daemon {
        let address = media_address();
        // Free a moment ago; nobody else asks for them by number.
        let udp = UdpSocket::bind((address, 0)).unwrap().local_addr().unwrap();
        let http = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let (udp, port) = (udp.port(), http.port());
        let name = format!("causeway-media-{}-{name}.conf", std::process::id());
        let config = std::env::temp_dir().join(name);
        let text = format!(
            "videobridge {{
               apis.rest.enabled = true
               http-servers.private {{ host = 127.0.0.1, port = {port} }}
               ice.udp.port = {udp}
             }}
             {more}
             ice4j.harvest {{
               allowed-addresses = [\"{address}\"]
               mapping.aws.enabled = false
               udp.receive-buffer-size = 65536
             }}"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
        command.arg("--config").arg(&config).stderr(Stdio::piped());
        if let Some(authority) = authority {
            command
                .env("SSL_CERT_FILE", authority)
                .env_remove("SSL_CERT_DIR");
        }
        let mut process = command.spawn().unwrap();
        await_ready(&mut process);
        Daemon {
            process,
            port,
            config,
        }
    }

    /// Status and body of an answer.
    pub fn request(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        ask(socket, method, path, "", body)
    }

    /// The conference that somebody else creates as `/debug` tells it, once so many participants are in it: one without
    /// participants would end with the request.
    pub fn conference(&self, participants: usize, is_over: impl Fn() -> bool) -> Value {
        loop {
            assert!(!is_over(), "the call ended before it began");
            let (_, debug) = self.request("GET", "/debug", &Value::Null);
            let debug: Value = serde_json::from_str(&debug).unwrap();
            let conferences = debug["conferences"].as_object().unwrap();
            if let Some(conference) = conferences.values().next()
                && conference["endpoints"].as_object().unwrap().len() == participants
            {
                return conference.clone();
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}
