//! The daemon and a focus meet in a brewery room of a real Prosody.
//!
//! Needs the Debian package `prosody`, so it runs only when it is asked for by name: `scripts/test xmpp`.

use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::process::Command;

use causeway_tests::brewery::{COLIBRI2, Focus, client_config, modify};
use causeway_tests::process::{Process, Signal};
use causeway_tests::prosody::{AUTH_DOMAIN, BREWERY, PASSWORD, Prosody, free_ports};
use serde_json::Value;

use causeway_tests::running::ask;

const OTHER_ROOM: &str = "jvbspare@internal.auth.meet.test";

fn daemon(prosody: &Prosody) -> Process {
    let text = format!(
        "{}\nvideobridge.http-servers.private.port = -1\nice4j.harvest.mapping.aws.enabled = false",
        client_config(prosody, BREWERY)
    );
    daemon_with(prosody, &text)
}

/// A daemon with this configuration, on a free media port.
fn daemon_with(prosody: &Prosody, text: &str) -> Process {
    let free = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let udp = free.local_addr().expect("bound").port();
    let file = prosody.folder().join("jvb.conf");
    let text = format!("{text}\nvideobridge.ice.udp.port = {udp}\n");
    fs::write(&file, text).expect("the folder is writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    Process::start("causeway", command.arg("--config").arg(file))
}

#[tokio::test]
async fn colibri2_cases_52_57_61_a_focus_finds_and_controls_the_bridge() {
    let prosody = Prosody::start(&[]);
    let mut focus = Focus::join(&prosody).await;
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

    bridge.signal(Signal::SIGTERM);
    focus.sees_the_bridge_leave().await;
}

#[tokio::test]
async fn colibri2_case_63_presence_is_back_when_the_server_is() {
    let mut prosody = Prosody::start(&[]);
    let mut focus = Focus::join(&prosody).await;
    let _bridge = daemon(&prosody);
    focus.sees_the_bridge().await;
    for _ in 0..2 {
        prosody.stop();
        prosody.start_again();
        let mut focus = Focus::join(&prosody).await;
        focus.sees_the_bridge().await;
    }
}

/// What the package of the project writes at its first installation, with the ports of this test.
#[tokio::test]
async fn config_case_24_the_bridge_of_the_debian_package_is_found() {
    let prosody = Prosody::start(&[]);
    let mut focus = Focus::join(&prosody).await;
    let script = include_str!("../../packaging/deb/maintainer/postinst");
    let (_, template) = script.split_once("jvb.conf <<CONF\n").expect("a file");
    let (template, _) = template.split_once("\nCONF\n").expect("its end");
    let nick = "7e10ab12-0e1f-4c1d-9a5e-1e5d00000042";
    let text = template
        .replace("$host", "meet.test")
        .replace("$secret", PASSWORD)
        .replace("$nick", nick);
    // Tests ask nobody outside for their address.
    let more = format!(
        "\nvideobridge.apis.xmpp-client.configs.shard.PORT = {}\n\
         videobridge.http-servers.private.port = -1\nice4j.harvest.mapping.stun.addresses = []",
        prosody.xmpp_port()
    );
    let _bridge = daemon_with(&prosody, &(text + &more));
    let stats = focus.sees(&format!("{BREWERY}/{nick}")).await;
    assert!(stats.iter().any(|(name, _)| name == "stress_level"));
}

#[tokio::test]
async fn colibri2_cases_58_64_all_rooms_of_a_connection_learn_of_drain_and_are_obeyed() {
    let prosody = Prosody::start(&[]);
    let mut focus = Focus::join(&prosody).await;
    focus.enter(OTHER_ROOM).await;
    let [http] = free_ports();
    let port = prosody.xmpp_port();
    let _bridge = daemon_with(
        &prosody,
        &format!(
            "videobridge {{
               http-servers.private {{ host = 127.0.0.1, port = {http} }}
               apis.xmpp-client.configs.shard {{
                 HOSTNAME = localhost, PORT = {port}, DOMAIN = {AUTH_DOMAIN}, USERNAME = jvb, PASSWORD = {PASSWORD}
                 MUC_JIDS = \"{BREWERY}, {OTHER_ROOM}\", MUC_NICKNAME = bridge1
               }}
             }}
             ice4j.harvest.mapping.aws.enabled = false"
        ),
    );
    let rooms = [BREWERY, OTHER_ROOM];
    let drain = |stats: &[(String, String)]| {
        let found = stats.iter().find(|(name, _)| name == "drain");
        found.map(|(_, value)| value.clone())
    };
    // In whichever order they come.
    let seen = focus.sees(&format!("{OTHER_ROOM}/bridge1")).await;
    assert_eq!(drain(&seen).as_deref(), Some("false"));
    focus.sees_the_bridge().await;

    let socket = TcpStream::connect(("127.0.0.1", http)).expect("the REST API");
    let (status, answer) = ask(socket, "POST", "/colibri/drain/enable", "", &Value::Null);
    assert_eq!(status, 200, "{answer}");
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
