//! The daemon and a focus meet in a brewery room of a real Prosody.
//!
//! Needs the Debian package `prosody`, so it runs only when it is asked for by name: `scripts/test xmpp`.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use causeway_xmpp::{Account, Connection, Element, Item, Security};
use tokio::time::{sleep, timeout};

const DOMAIN: &str = "auth.meet.test";
const ROOM: &str = "jvbbrewery@internal.auth.meet.test";
const OTHER_ROOM: &str = "jvbspare@internal.auth.meet.test";
const COLIBRI2: &str = "jitsi:colibri2";
const COLIBRI: &str = "http://jitsi.org/protocol/colibri";
/// For anything that must happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Prosody {
    folder: PathBuf,
    port: u16,
    server: Option<Running>,
}

impl Prosody {
    fn new() -> Prosody {
        let folder = std::env::temp_dir().join(format!(
            "causeway-prosody-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        fs::create_dir_all(folder.join("data"))
            .expect("the folder for temporary files is writable");
        fs::create_dir_all(folder.join("certs")).expect("the folder is writable");
        let free = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = free.local_addr().expect("bound").port();
        let path = folder.display();
        let config = format!(
            r#"
            pidfile = "{path}/prosody.pid"
            data_path = "{path}/data"
            run_as_root = true
            log = {{ info = "{path}/prosody.log" }}
            modules_enabled = {{ "roster", "saslauth", "disco", "ping" }}
            modules_disabled = {{ "s2s", "tls" }}
            authentication = "internal_hashed"
            c2s_ports = {{ {port} }}
            c2s_interfaces = {{ "127.0.0.1" }}
            s2s_ports = {{}}
            http_ports = {{}}
            https_ports = {{}}
            c2s_require_encryption = false
            VirtualHost "{DOMAIN}"
            Component "internal.{DOMAIN}" "muc"
              muc_room_locking = false
            "#
        );
        fs::write(folder.join("prosody.cfg.lua"), config).expect("the folder is writable");
        let prosody = Prosody {
            folder,
            port,
            server: None,
        };
        for user in ["jvb", "focus"] {
            let status = prosody
                .command("prosodyctl")
                .args(["register", user, DOMAIN, "secret"])
                .status();
            assert!(status.expect("the Debian package prosody").success());
        }
        prosody
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .arg("--config")
            .arg(self.folder.join("prosody.cfg.lua"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn start(&mut self) {
        let server = self.command("prosody").arg("-F").spawn();
        self.server = Some(Running(server.expect("the Debian package prosody")));
    }

    fn stop(&mut self) {
        self.server = None;
    }
}

impl Drop for Prosody {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A focus in the brewery.
struct Focus {
    connection: Connection,
}

impl Focus {
    /// Logs in as soon as the server is there, and joins.
    async fn join(port: u16) -> Focus {
        let account = Account {
            host: "127.0.0.1".into(),
            port,
            domain: DOMAIN.into(),
            user: "focus".into(),
            password: "secret".into(),
            security: Security::IfPossible,
            verify: true,
        };
        let connection = async {
            loop {
                match Connection::open(&account).await {
                    Ok(connection) => return connection,
                    // The server is not there yet: nothing tells when it will be.
                    Err(_) => sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let connection = timeout(PATIENCE, connection).await.expect("a login");
        let mut focus = Focus { connection };
        focus.enter(ROOM).await;
        focus
    }

    async fn enter(&mut self, room: &str) {
        self.send(&format!(
            "<presence to='{room}/focus'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
        ))
        .await;
    }

    async fn send(&mut self, text: &str) {
        self.connection
            .outgoing
            .send(text)
            .await
            .expect("connected");
    }

    /// The next stanza that is what is waited for.
    async fn next(&mut self, what: &str, is: impl Fn(&Element) -> bool) -> Element {
        let found = async {
            loop {
                match self.connection.incoming.next().await.expect("connected") {
                    Item::Stanza(stanza) if is(&stanza) => return stanza,
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, found)
            .await
            .unwrap_or_else(|_| panic!("never came: {what}"))
    }

    /// The bridge's presence, with statistics.
    async fn sees_the_bridge(&mut self) -> Vec<(String, String)> {
        self.sees(&format!("{ROOM}/bridge1")).await
    }

    /// The statistics in the presence of an occupant.
    async fn sees(&mut self, occupant: &str) -> Vec<(String, String)> {
        let presence = self
            .next("presence of the bridge", |stanza| {
                stanza.name() == "presence"
                    && stanza.attribute("from") == Some(occupant)
                    && stanza.child("stats", COLIBRI).is_some()
            })
            .await;
        let stats = presence.child("stats", COLIBRI).expect("just seen");
        let text = |stat: &Element, name| stat.attribute(name).unwrap_or_default().to_owned();
        stats
            .children()
            .map(|stat| (text(stat, "name"), text(stat, "value")))
            .collect()
    }

    async fn ask(&mut self, id: &str, content: &str) {
        self.ask_in(ROOM, id, content).await;
    }

    async fn ask_in(&mut self, room: &str, id: &str, content: &str) {
        self.send(&format!(
            "<iq to='{room}/bridge1' type='get' id='{id}'>{content}</iq>"
        ))
        .await;
    }

    async fn answer(&mut self, id: &str) -> Element {
        self.next("an answer", |stanza| {
            stanza.name() == "iq" && stanza.attribute("id") == Some(id)
        })
        .await
    }
}

fn from_bridge(stanza: &Element) -> bool {
    stanza.name() == "presence" && stanza.attribute("from") == Some(&format!("{ROOM}/bridge1"))
}

fn daemon(prosody: &Prosody) -> Running {
    let port = prosody.port;
    let text = format!(
        "videobridge {{
           http-servers.private.port = -1
           apis.xmpp-client.configs.shard {{
             HOSTNAME = 127.0.0.1, PORT = \"{port}\", DOMAIN = {DOMAIN}, USERNAME = jvb, PASSWORD = secret
             MUC_JIDS = \"{ROOM}\", MUC_NICKNAME = bridge1
           }}
         }}
         ice4j.harvest.mapping.aws.enabled = false"
    );
    daemon_with(prosody, &text)
}

/// A daemon with this configuration, on a free media port.
fn daemon_with(prosody: &Prosody, text: &str) -> Running {
    let free = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let udp = free.local_addr().expect("bound").port();
    let file = prosody.folder.join("jvb.conf");
    let text = format!("{text}\nvideobridge.ice.udp.port = {udp}\n");
    fs::write(&file, text).expect("the folder is writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command
        .arg("--config")
        .arg(file)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    Running(command.spawn().expect("the binary was built"))
}

fn modify(attributes: &str, content: &str) -> String {
    format!("<conference-modify xmlns='{COLIBRI2}' {attributes}>{content}</conference-modify>")
}

#[tokio::test]
async fn colibri2_cases_52_57_61_a_focus_finds_and_controls_the_bridge() {
    let mut prosody = Prosody::new();
    prosody.start();
    let mut focus = Focus::join(prosody.port).await;
    let bridge = daemon(&prosody);

    let stats = focus.sees_the_bridge().await;
    for name in [
        "version",
        "stress_level",
        "healthy",
        "drain",
        "graceful_shutdown",
    ] {
        assert!(
            stats.iter().any(|(stat, _)| stat == name),
            "{name} is not in {stats:?}"
        );
    }

    let endpoint = "<endpoint id='abcd1234' create='true'><transport ice-controlling='true'/>\
                    <capability name='source-names'/></endpoint>";
    focus
        .ask(
            "1",
            &modify(
                "meeting-id='m-1' name='room@conference.meet.test' create='true'",
                endpoint,
            ),
        )
        .await;
    let answer = focus.answer("1").await;
    assert_eq!(answer.attribute("type"), Some("result"), "{answer}");
    let modified = answer
        .child("conference-modified", COLIBRI2)
        .expect("an answer of that kind");
    assert!(modified.child("endpoint", COLIBRI2).is_some(), "{answer}");

    // In order, however close they come.
    focus
        .ask("2", &modify("meeting-id='m-1' expire='true'", ""))
        .await;
    focus
        .ask(
            "3",
            &modify(
                "meeting-id='m-1' name='room@conference.meet.test' create='true'",
                endpoint,
            ),
        )
        .await;
    for id in ["2", "3"] {
        let answer = focus.answer(id).await;
        assert_eq!(answer.attribute("type"), Some("result"), "{answer}");
    }

    focus.ask("4", &modify("meeting-id='unknown'", "")).await;
    focus.ask("5", "<query xmlns='urn:strange'/>").await;
    for (id, condition) in [("4", "item-not-found"), ("5", "feature-not-implemented")] {
        let answer = focus.answer(id).await;
        assert_eq!(answer.attribute("type"), Some("error"), "{answer}");
        assert!(answer.to_string().contains(condition), "{answer}");
    }

    let pid = bridge.0.id();
    let killed = Command::new("sh")
        .args(["-c", &format!("kill -TERM {pid}")])
        .status();
    assert!(killed.expect("a shell").success());
    focus
        .next("the bridge leaves", |stanza| {
            from_bridge(stanza) && stanza.attribute("type") == Some("unavailable")
        })
        .await;
}

#[tokio::test]
async fn colibri2_case_63_presence_is_back_when_the_server_is() {
    let mut prosody = Prosody::new();
    prosody.start();
    let mut focus = Focus::join(prosody.port).await;
    let _bridge = daemon(&prosody);
    focus.sees_the_bridge().await;
    for _ in 0..2 {
        prosody.stop();
        prosody.start();
        let mut focus = Focus::join(prosody.port).await;
        focus.sees_the_bridge().await;
    }
}

/// What the package of the project writes at its first installation, with the ports of this test.
#[tokio::test]
async fn config_case_24_the_bridge_of_the_debian_package_is_found() {
    let mut prosody = Prosody::new();
    prosody.start();
    let mut focus = Focus::join(prosody.port).await;
    let script = include_str!("../../packaging/deb/maintainer/postinst");
    let (_, template) = script.split_once("jvb.conf <<CONF\n").expect("a file");
    let (template, _) = template.split_once("\nCONF\n").expect("its end");
    let nick = "7e10ab12-0e1f-4c1d-9a5e-1e5d00000042";
    let text = template
        .replace("$host", "meet.test")
        .replace("$secret", "secret")
        .replace("$nick", nick);
    // Tests ask nobody outside for their address.
    let more = format!(
        "\nvideobridge.apis.xmpp-client.configs.shard.PORT = {}\n\
         videobridge.http-servers.private.port = -1\nice4j.harvest.mapping.stun.addresses = []",
        prosody.port
    );
    let _bridge = daemon_with(&prosody, &(text + &more));
    let stats = focus.sees(&format!("{ROOM}/{nick}")).await;
    assert!(stats.iter().any(|(name, _)| name == "stress_level"));
}

#[tokio::test]
async fn colibri2_cases_58_64_all_rooms_of_a_connection_learn_of_drain_and_are_obeyed() {
    let mut prosody = Prosody::new();
    prosody.start();
    let mut focus = Focus::join(prosody.port).await;
    focus.enter(OTHER_ROOM).await;
    let free = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let http = free.local_addr().expect("bound").port();
    drop(free);
    let port = prosody.port;
    let _bridge = daemon_with(
        &prosody,
        &format!(
            "videobridge {{
               http-servers.private {{ host = 127.0.0.1, port = {http} }}
               apis.xmpp-client.configs.shard {{
                 HOSTNAME = localhost, PORT = {port}, DOMAIN = {DOMAIN}, USERNAME = jvb, PASSWORD = secret
                 MUC_JIDS = \"{ROOM}, {OTHER_ROOM}\", MUC_NICKNAME = bridge1
               }}
             }}
             ice4j.harvest.mapping.aws.enabled = false"
        ),
    );
    let rooms = [ROOM, OTHER_ROOM];
    let drain = |stats: &[(String, String)]| {
        let found = stats.iter().find(|(name, _)| name == "drain");
        found.map(|(_, value)| value.clone())
    };
    // In whichever order they come.
    let seen = focus.sees(&format!("{OTHER_ROOM}/bridge1")).await;
    assert_eq!(drain(&seen).as_deref(), Some("false"));
    focus.sees_the_bridge().await;

    let mut socket = TcpStream::connect(("127.0.0.1", http)).expect("the REST API");
    let request = "POST /colibri/drain/enable HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).expect("connected");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for room in rooms {
        let occupant = format!("{room}/bridge1");
        while drain(&focus.sees(&occupant).await).as_deref() != Some("true") {}
    }

    let endpoint = "<endpoint id='abcd1234' create='true'><transport ice-controlling='true'/>\
                    <capability name='source-names'/></endpoint>";
    for (id, room) in ["1", "2"].into_iter().zip(rooms) {
        let attributes =
            format!("meeting-id='m-{id}' name='room{id}@conference.meet.test' create='true'");
        focus.ask_in(room, id, &modify(&attributes, endpoint)).await;
        let answer = focus.answer(id).await;
        assert_eq!(answer.attribute("type"), Some("result"), "{answer}");
        let from = format!("{room}/bridge1");
        assert_eq!(answer.attribute("from"), Some(&*from), "{answer}");
    }
}
