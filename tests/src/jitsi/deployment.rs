//! Everything that has to run before a client can join.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;

use serde_json::Value;

use super::focus::{Channel, Focus};
use super::{Client, library};
use crate::brewery::client_config;
use crate::daemon;
use crate::process::Process;
use crate::prosody::{BREWERY, Prosody, free_ports};
use crate::webdriver::Driver;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/jitsi/meet.html");

/// Prosody, focus, bridge and a WebDriver server.
#[derive(Debug)]
pub struct Deployment {
    driver: Driver,
    focus: Focus,
    rest: String,
    channel: Channel,
    _bridge: Process,
    prosody: Prosody,
}

impl Deployment {
    /// Starts all of it, for clients that reach the bridge with this kind of channel.
    ///
    /// # Panics
    ///
    /// Panics if something does not start.
    pub fn start(channel: Channel) -> Deployment {
        let mut files = library::files();
        files.push(PAGE.into());
        let prosody = Prosody::start(&files);
        let [private, public] = free_ports();
        let bridge = bridge(&prosody, private, public);
        let focus = Focus::start(prosody.xmpp_port(), channel);
        Deployment {
            driver: Driver::start(),
            focus,
            rest: format!("http://127.0.0.1:{private}"),
            channel,
            _bridge: bridge,
            prosody,
        }
    }

    /// Lets someone in, and waits until their bridge channel is open.
    ///
    /// # Panics
    ///
    /// Panics if they do not get in.
    #[track_caller]
    pub fn join(&self, name: &'static str) -> Client {
        let page = format!(
            "http://127.0.0.1:{}/files/meet.html",
            self.prosody.http_port()
        );
        Client::join(
            self.driver.open(),
            &page,
            self.focus.jid(),
            self.channel,
            name,
        )
    }

    /// What the bridge says about itself at `/colibri/stats`.
    ///
    /// # Panics
    ///
    /// Panics if it says nothing.
    pub fn bridge_stats(&self) -> Value {
        let text = self.get("/colibri/stats").expect("the bridge answers");
        serde_json::from_str(&text).expect("statistics are JSON")
    }

    fn get(&self, path: &str) -> Result<String, ureq::Error> {
        let mut answer = ureq::get(format!("{}{path}", self.rest)).call()?;
        answer.body_mut().read_to_string()
    }
}

fn bridge(prosody: &Prosody, private: u16, public: u16) -> Process {
    let free = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let udp = free.local_addr().expect("it is bound").port();
    let xmpp = client_config(prosody, BREWERY);
    let config = format!(
        r#"videobridge {{
             apis.rest.enabled = true
             ice.udp.port = {udp}
             http-servers.private {{ host = 127.0.0.1, port = {private} }}
             http-servers.public {{ host = 127.0.0.1, port = {public} }}
             websockets {{ enabled = true, domain = "127.0.0.1:{public}", tls = false, server-id = bridge-1 }}
           }}
           {xmpp}
           ice4j.harvest.mapping.aws.enabled = false"#
    );
    let file = prosody.folder().join("jvb.conf");
    fs::write(&file, config).expect("the folder is writable");
    Process::start(
        "causeway",
        Command::new(daemon::program()).arg("--config").arg(file),
    )
}

impl Drop for Deployment {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "---- state of the bridge: {:?}",
                self.get("/debug?full=true")
            );
        }
    }
}
