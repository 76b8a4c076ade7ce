//! The XMPP server, with a place for guests and one for bridge and focus. It also serves the page.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{AUTH_DOMAIN, DOMAIN, PASSWORD, ROOM_DOMAIN};
use crate::process::Process;

/// A running Prosody on loopback.
#[derive(Debug)]
pub(super) struct Prosody {
    folder: PathBuf,
    pub(super) xmpp_port: u16,
    pub(super) http_port: u16,
    _server: Process,
}

impl Prosody {
    /// Starts it with these files to serve below `/files/`.
    ///
    /// # Panics
    ///
    /// Panics if it does not start.
    pub(super) fn start(files: &[PathBuf]) -> Prosody {
        let folder = std::env::temp_dir().join(format!(
            "causeway-jitsi-{}-{:?}",
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
        let path = folder.display();
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
        let file = folder.join("prosody.cfg.lua");
        fs::write(&file, config).expect("the folder is writable");
        for user in ["jvb", "focus"] {
            let status = Command::new("prosodyctl")
                .arg("--config")
                .arg(&file)
                .args(["register", user, AUTH_DOMAIN, PASSWORD])
                // It would touch a terminal.
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            assert!(status.expect("the Debian package prosody").success());
        }
        let server = Process::start(
            "prosody",
            Command::new("prosody").arg("--config").arg(&file).arg("-F"),
        );
        Prosody {
            folder,
            xmpp_port,
            http_port,
            _server: server,
        }
    }

    /// A folder for files of this run.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Prosody {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// TCP ports of loopback that are free now; nobody else asks for them by number.
pub(super) fn free_ports<const N: usize>() -> [u16; N] {
    // All at once, so that they differ.
    let sockets = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("loopback"));
    sockets.map(|socket| socket.local_addr().expect("it is bound").port())
}
