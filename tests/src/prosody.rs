//! An XMPP server, with a place for guests and one for bridge and focus. It also serves files.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use causeway_xmpp::{Account, Connection, Security};

use crate::process::{Process, Signal};

/// Domain of the guests, who log in without a name.
pub const DOMAIN: &str = "meet.test";
/// Domain of the bridge and the focus.
pub const AUTH_DOMAIN: &str = "auth.meet.test";
/// The room in which a focus looks for bridges.
pub const BREWERY: &str = "jvbbrewery@internal.auth.meet.test";
/// Domain of the rooms of conferences.
pub const ROOM_DOMAIN: &str = "conference.meet.test";
/// Password of bridge (`jvb`) and focus (`focus`).
pub const PASSWORD: &str = "secret";

const STARTUP: Duration = Duration::from_secs(60);

/// A Prosody on loopback. It ends with this, and its folder with it.
#[derive(Debug)]
pub struct Prosody {
    folder: PathBuf,
    xmpp_port: u16,
    http_port: u16,
    server: Option<Process>,
}

impl Prosody {
    /// Starts it with these files to serve below `/files/`, and waits until it takes clients.
    ///
    /// # Panics
    ///
    /// Panics if it does not start.
    pub fn start(files: &[PathBuf]) -> Prosody {
        let folder = std::env::temp_dir().join(format!(
            "causeway-prosody-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        for part in ["data", "certs", "page"] {
            fs::create_dir_all(folder.join(part)).expect("the folder for temporary files");
        }
        for file in files {
            let name = file.file_name().expect("it is a file");
            fs::copy(file, folder.join("page").join(name)).expect("the page's files are there");
        }
        let [xmpp_port, http_port] = free_ports();
        let mut prosody = Prosody {
            folder,
            xmpp_port,
            http_port,
            server: None,
        };
        prosody.configure();
        for user in ["jvb", "focus"] {
            let status = prosody
                .command("prosodyctl")
                .args(["register", user, AUTH_DOMAIN, PASSWORD])
                // It would touch a terminal.
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            assert!(status.expect("the Debian package prosody").success());
        }
        prosody.start_again();
        prosody
    }

    fn configure(&self) {
        let Prosody {
            xmpp_port,
            http_port,
            ..
        } = self;
        let path = self.folder.display();
        let config = format!(
            r#"
            pidfile = "{path}/prosody.pid"
            data_path = "{path}/data"
            run_as_root = true
            log = {{ info = "*console" }}
            modules_enabled = {{ "roster", "saslauth", "disco", "ping" }}
            modules_disabled = {{ "s2s", "tls" }}
            c2s_ports = {{ {xmpp_port} }}
            c2s_interfaces = {{ "127.0.0.1" }}
            s2s_ports = {{}}
            http_ports = {{ {http_port} }}
            http_interfaces = {{ "127.0.0.1" }}
            https_ports = {{}}
            http_default_host = "{DOMAIN}"
            http_files_dir = "{path}/page"
            consider_websocket_secure = true
            c2s_require_encryption = false
            VirtualHost "{DOMAIN}"
              authentication = "anonymous"
              modules_enabled = {{ "websocket", "http_files" }}
            VirtualHost "{AUTH_DOMAIN}"
              authentication = "internal_hashed"
            Component "{ROOM_DOMAIN}" "muc"
              muc_room_locking = false
              muc_room_default_public_jids = true
            Component "internal.{AUTH_DOMAIN}" "muc"
              muc_room_locking = false
              muc_room_default_public_jids = true
            "#
        );
        fs::write(self.config(), config).expect("the folder is writable");
    }

    fn config(&self) -> PathBuf {
        self.folder.join("prosody.cfg.lua")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--config").arg(self.config());
        command
    }

    /// Kills it. Nobody is told.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Starts it on the same ports, and waits until it takes clients.
    ///
    /// # Panics
    ///
    /// Panics if it does not start.
    pub fn start_again(&mut self) {
        let server = Process::start("prosody", self.command("prosody").arg("-F"));
        // Whoever connects from here on is answered as soon as everything is loaded.
        server.announced(STARTUP, |line| {
            line.contains("Activated service 'c2s' on [").then_some(())
        });
        self.server = Some(server);
    }

    /// Sends the server a signal.
    ///
    /// # Panics
    ///
    /// Panics if it does not run.
    pub fn signal(&self, signal: Signal) {
        self.server.as_ref().expect("it runs").signal(signal);
    }

    /// Logs in as the focus.
    ///
    /// # Panics
    ///
    /// Panics if that fails.
    pub async fn login(&self) -> Connection {
        login(self.xmpp_port).await
    }

    /// Port for clients of XMPP.
    pub fn xmpp_port(&self) -> u16 {
        self.xmpp_port
    }

    /// Port for pages and websockets.
    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// A folder for files of this run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Prosody {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Logs in as the focus at a server with this port.
///
/// # Panics
///
/// Panics if that fails.
pub async fn login(port: u16) -> Connection {
    let account = Account {
        host: "127.0.0.1".into(),
        port,
        domain: AUTH_DOMAIN.into(),
        user: "focus".into(),
        password: PASSWORD.into(),
        security: Security::IfPossible,
        verify: true,
    };
    Connection::open(&account).await.expect("a login")
}

/// TCP ports of loopback that are free now; nobody else asks for them by number.
///
/// # Panics
///
/// Panics if there is none.
pub fn free_ports<const N: usize>() -> [u16; N] {
    // All at once, so that they differ.
    let sockets = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("loopback"));
    sockets.map(|socket| socket.local_addr().expect("it is bound").port())
}
