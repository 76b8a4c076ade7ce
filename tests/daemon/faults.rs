//! What goes wrong around the bridge while a call goes on, with a real Prosody, and what those in the call notice.
//!
//! Needs the Debian package `prosody`, so it runs only when it is asked for by name: `scripts/test xmpp`. With `CAUSEWAY_FAULTS`
//! set to a folder each test writes its row of the table in `docs/faults.md` there, and its goal for time is checked as
//! well: `scripts/faults`.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use causeway_benches::load::cli;
use causeway_tests::brewery::{Focus, client_config, modify};
use causeway_tests::eventually;
use causeway_tests::process::{Process, Signal};
use causeway_tests::prosody::{BREWERY, Prosody, free_ports};
use causeway_tests::running::{ask, free_udp_port, media_address};
use serde_json::{Value, json};

/// For anything that must happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Participants of a call: one with a camera, and those who see it.
const CALL: usize = 4;
/// By which memory may grow in a flood, in bytes.
const MEMORY: u64 = 64 << 20;

/// A daemon that joins the brewery, with its control API.
struct Bridge {
    process: Process,
    config: PathBuf,
    http: u16,
}

impl Bridge {
    fn start(prosody: &Prosody) -> Bridge {
        let address = media_address();
        let udp = free_udp_port(address);
        let [http, public] = free_ports();
        let text = format!(
            "videobridge {{
               apis.rest.enabled = true
               ice.udp.port = {udp}
               http-servers.private {{ host = 127.0.0.1, port = {http} }}
               http-servers.public {{ host = 127.0.0.1, port = {public} }}
               websockets {{ enabled = true, domain = \"127.0.0.1:{public}\", server-id = faults }}
               health {{ require-valid-address = false, interval = 1 second }}
             }}
             ice4j.harvest {{ allowed-addresses = [\"{address}\"], mapping.aws.enabled = false }}
             {}",
            client_config(prosody, BREWERY)
        );
        let config = prosody.folder().join("jvb.conf");
        fs::write(&config, text).expect("the folder is writable");
        Bridge {
            process: spawn(&config),
            config,
            http,
        }
    }

    /// Starts it once more, as its service manager would.
    fn start_again(&mut self) {
        self.process = spawn(&self.config);
    }

    fn request(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let socket = TcpStream::connect(("127.0.0.1", self.http)).expect("the control API");
        ask(socket, method, path, "", body)
    }

    fn stats(&self) -> Value {
        let (_, text) = self.request("GET", "/colibri/stats", &Value::Null);
        serde_json::from_str(&text).expect("statistics are JSON")
    }

    fn awaits(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        eventually(what, PATIENCE, || self.stats(), holds);
    }

    /// One of the worker's counters.
    fn counter(&self, name: &str) -> u64 {
        let (_, text) = self.request("GET", "/metrics", &Value::Null);
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.trim().parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("no {name} in {text}")) as u64
    }

    fn memory(&self) -> u64 {
        self.process.memory()
    }

    /// Begins a call in which everybody sees the camera, and waits until it is on.
    fn call(&self, seconds: u64) -> Call {
        let report = self.config.with_file_name(format!("call-{seconds}.json"));
        let arguments = [
            "causeway-load".to_owned(),
            "run".to_owned(),
            "broadcast".to_owned(),
            format!("--size={}", CALL - 1),
            format!("--rest=http://127.0.0.1:{}", self.http),
            "--quiet".to_owned(),
            "--warmup=2".to_owned(),
            format!("--seconds={seconds}"),
            format!("--json={}", report.display()),
        ];
        let call = Call {
            running: std::thread::spawn(move || {
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                cli::run(&arguments)
            }),
            report,
        };
        self.awaits("a call with media", |stats| {
            stats["participants"] == CALL && stats["packet_rate_upload"].as_f64() > Some(0.0)
        });
        call
    }
}

fn spawn(config: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    let process = Process::start("causeway", command.arg("--config").arg(config));
    process.announced(PATIENCE, |line| line.contains("bridge ready").then_some(()));
    process
}

/// A call in progress.
struct Call {
    running: JoinHandle<Result<ExitCode, String>>,
    report: PathBuf,
}

impl Call {
    /// Waits for its end: nobody must have noticed anything. What happened must have happened before.
    fn was_undisturbed(self) {
        assert!(
            !self.running.is_finished(),
            "the call was over before the fault was"
        );
        let ended = self.running.join().expect("no panic");
        ended.expect("the call ends well");
        let text = fs::read_to_string(&self.report).expect("a report");
        let report: Value = serde_json::from_str(&text).expect("reports are JSON");
        for (path, expected) in [
            ("/joining/connected", CALL as f64),
            ("/joining/failed", 0.0),
            ("/joining/channels_lost", 0.0),
            ("/traffic/lost_packets", 0.0),
            ("/traffic/bad_packets", 0.0),
            ("/traffic/duplicate_packets", 0.0),
            ("/picture/moving", CALL as f64 - 1.0),
        ] {
            let value = report.pointer(path).and_then(Value::as_f64);
            assert_eq!(value, Some(expected), "{path} in {report:#}");
        }
    }
}

/// Writes a row of the table if one is wanted. Times in it are checked against their goals then, and only then: a machine
/// that does other things as well would fail tests for being slow.
fn record(row: u32, fault: &str, seen: &str, times: &[(&str, Duration, Duration)]) {
    let Some(folder) = std::env::var_os("CAUSEWAY_FAULTS") else {
        return;
    };
    let mut seen = seen.to_owned();
    for (what, took, goal) in times {
        assert!(took <= goal, "{what} after {took:?}, the goal is {goal:?}");
        let took = match took.as_millis() {
            millis @ ..1_000 => format!("{millis} ms"),
            millis => format!("{:.1} s", millis as f64 / 1e3),
        };
        seen += &format!("; {what} after {took} (goal: {} s)", goal.as_secs());
    }
    let file = Path::new(&folder).join(format!("{row}.md"));
    fs::write(file, format!("| {fault} | {seen} |\n")).expect("the folder is writable");
}

const ENDPOINT: &str = "<endpoint id='abcd1234' create='true'><transport ice-controlling='true'/>\
                        <capability name='source-names'/></endpoint>";

/// Asks for a new conference, which must work.
async fn creates(focus: &mut Focus, id: &str) {
    let attributes = format!("meeting-id='{id}' name='{id}@conference.meet.test' create='true'");
    focus.ask(id, &modify(&attributes, ENDPOINT)).await;
    let answer = focus.answer(id).await;
    assert_eq!(answer.attribute("type"), Some("result"), "{answer}");
}

#[tokio::test]
async fn f40_the_xmpp_server_restarts() {
    let mut prosody = Prosody::start(&[]);
    let bridge = Bridge::start(&prosody);
    Focus::join(&prosody).await.sees_the_bridge().await;
    let call = bridge.call(20);

    prosody.stop();
    bridge.awaits("the bridge notices", |stats| {
        stats["muc_clients_connected"] == 0
    });
    prosody.start_again();
    let back = Instant::now();
    let mut focus = Focus::join(&prosody).await;
    focus.sees_the_bridge().await;
    let present = back.elapsed();
    creates(&mut focus, "m-1").await;

    call.was_undisturbed();
    record(
        1,
        "Prosody is killed and started again",
        "calls lose no packet; new conferences work",
        &[("presence is back", present, Duration::from_secs(5))],
    );
}

#[tokio::test]
async fn f41_f42_the_xmpp_server_stalls() {
    let prosody = Prosody::start(&[]);
    let bridge = Bridge::start(&prosody);
    Focus::join(&prosody).await.sees_the_bridge().await;
    let call = bridge.call(60);

    prosody.signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    bridge.awaits("no answer to pings", |stats| {
        stats["muc_clients_connected"] == 0
    });
    let noticed = stopped.elapsed();
    assert_eq!(bridge.request("GET", "/about/health", &Value::Null).0, 200);
    prosody.signal(Signal::SIGCONT);
    let back = Instant::now();
    let mut focus = Focus::join(&prosody).await;
    bridge.awaits("a new connection, and its place in the room", |stats| {
        stats["muc_clients_connected"] == 1 && stats["mucs_joined"] == 1
    });
    creates(&mut focus, "m-1").await;
    let again = back.elapsed();

    call.was_undisturbed();
    record(
        2,
        "Prosody stalls: its sockets are open, and nothing is read or written (SIGSTOP)",
        "pings time out, statistics say that there is no connection; calls lose no packet",
        &[
            ("noticed", noticed, Duration::from_secs(31)),
            (
                "once it goes on, a new conference works",
                again,
                Duration::from_secs(5),
            ),
        ],
    );
}

#[tokio::test]
async fn f43_the_focus_restarts() {
    let prosody = Prosody::start(&[]);
    let bridge = Bridge::start(&prosody);
    let mut focus = Focus::join(&prosody).await;
    focus.sees_the_bridge().await;
    let call = bridge.call(10);
    creates(&mut focus, "m-1").await;

    // Without a goodbye.
    drop(focus);
    let mut focus = Focus::join(&prosody).await;
    focus.sees_the_bridge().await;
    // What it knew is still there, whether it knows that or not.
    focus
        .ask(
            "again",
            &modify(
                "meeting-id='m-1' name='m-1@conference.meet.test' create='true'",
                "",
            ),
        )
        .await;
    let answer = focus.answer("again").await;
    assert!(answer.to_string().contains("conflict"), "{answer}");
    focus
        .ask(
            "more",
            &modify(
                "meeting-id='m-1'",
                "<endpoint id='abcd1234' expire='true'/>",
            ),
        )
        .await;
    let answer = focus.answer("more").await;
    assert_eq!(answer.attribute("type"), Some("result"), "{answer}");
    creates(&mut focus, "m-2").await;

    call.was_undisturbed();
    record(
        3,
        "The focus is gone without a goodbye, and a new one comes",
        "calls lose no packet; conferences are still there, creating one of them again is answered with `conflict`, new ones work",
        &[],
    );
}

#[tokio::test]
async fn f35_the_bridge_is_killed_and_started_again() {
    let prosody = Prosody::start(&[]);
    let mut bridge = Bridge::start(&prosody);
    let mut focus = Focus::join(&prosody).await;
    focus.sees_the_bridge().await;
    // Its participants never learn of it, and go on sending.
    let old = bridge.call(30);

    let killed = Instant::now();
    bridge.process.signal(Signal::SIGKILL);
    focus.sees_the_bridge_leave().await;
    let noticed = killed.elapsed();
    let started = Instant::now();
    bridge.start_again();
    let ready = started.elapsed();
    focus.sees_the_bridge().await;
    let present = started.elapsed();

    let strangers = |bridge: &Bridge| bridge.counter("causeway_drop_unknown_address_total");
    eventually(
        "packets of the old call come",
        PATIENCE,
        || strangers(&bridge),
        |dropped| *dropped > 100,
    );
    let stats = bridge.stats();
    assert_eq!(stats["participants"], 0, "{stats:#}");
    assert_eq!(bridge.request("GET", "/about/health", &Value::Null).0, 200);
    let before = strangers(&bridge);
    creates(&mut focus, "m-1").await;
    focus
        .ask("end", &modify("meeting-id='m-1' expire='true'", ""))
        .await;
    focus.answer("end").await;
    let new = bridge.call(8);
    assert!(
        !old.running.is_finished(),
        "the old call was over too early"
    );
    let during = strangers(&bridge);
    assert!(during > before, "nobody sent to the old call any more");
    new.was_undisturbed();
    // How it ends for them is not the bridge's business.
    let _ = old.running.join().expect("no panic");

    record(
        4,
        "The bridge is killed (SIGKILL) and started again on the same port, while its clients go on sending",
        "their packets are dropped as those of strangers; a new call on the same port loses no packet",
        &[
            ("the focus is told", noticed, Duration::from_secs(1)),
            ("ready", ready, Duration::from_secs(2)),
            ("presence is back", present, Duration::from_secs(5)),
        ],
    );
}

/// Requests over XMPP that can not be carried out, and are XML.
fn malformed_stanzas() -> Vec<String> {
    let deep = format!("{}{}", "<a>".repeat(200), "</a>".repeat(200));
    let long = "x".repeat(100_000);
    let many = "<endpoint id='e' create='true'/>".repeat(1_000);
    vec![
        modify("", ENDPOINT),
        modify("meeting-id=''", ENDPOINT),
        modify("meeting-id='m' create='maybe'", ENDPOINT),
        modify("meeting-id='never-created'", ENDPOINT),
        modify("meeting-id='m' create='true'", "<endpoint create='true'/>"),
        modify(
            "meeting-id='m' create='true'",
            "<endpoint id='a' create='true'><sources><media-source type='audio' id='a-a0'>\
             <source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='minus one'/></media-source></sources></endpoint>",
        ),
        modify("meeting-id='m' create='true'", &deep),
        modify(&format!("meeting-id='{long}' create='true'"), ENDPOINT),
        modify("meeting-id='m' create='true'", &many),
        "<query xmlns='urn:strange'/>".to_owned(),
        format!("<query xmlns='urn:strange'>{long}</query>"),
        "<graceful-shutdown xmlns='http://jitsi.org/protocol/colibri'/>".to_owned(),
        "<conference xmlns='http://jitsi.org/protocol/colibri' id='1'/>".to_owned(),
    ]
}

#[tokio::test]
async fn t66_t67_a_flood_of_malformed_stanzas() {
    const ROUNDS: usize = 60;
    const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
    let prosody = Prosody::start(&[]);
    let bridge = Bridge::start(&prosody);
    let mut focus = Focus::join(&prosody).await;
    focus.sees_the_bridge().await;
    let call = bridge.call(40);
    let before = bridge.memory();

    let kinds = malformed_stanzas();
    let mut highest = before;
    for round in 0..ROUNDS {
        for (kind, content) in kinds.iter().enumerate() {
            focus.ask(&format!("{round}-{kind}"), content).await;
        }
        for (kind, content) in kinds.iter().enumerate() {
            let answer = focus.answer(&format!("{round}-{kind}")).await;
            let shown = content.get(..200).unwrap_or(content);
            assert_eq!(answer.attribute("type"), Some("error"), "{shown}: {answer}");
            let error = answer.children().find(|child| child.name() == "error");
            let error = error.unwrap_or_else(|| panic!("{shown}: {answer}"));
            assert!(error.attribute("type").is_some(), "{shown}: {answer}");
            let conditions = error.children().filter(|child| child.ns() == STANZAS);
            assert!(conditions.count() >= 1, "{shown}: {answer}");
        }
        highest = highest.max(bridge.memory());
    }
    creates(&mut focus, "m-1").await;
    assert_eq!(bridge.stats()["conferences"], 2);
    let grown = highest.saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more");

    call.was_undisturbed();
    record(
        5,
        &format!(
            "A focus sends {} malformed requests over XMPP, of {} kinds",
            ROUNDS * kinds.len(),
            kinds.len()
        ),
        &format!(
            "each is answered with an error and its condition; calls lose no packet, memory grows by at most {} MB, new conferences work",
            grown.div_ceil(1 << 20)
        ),
        &[],
    );
}

/// Requests over HTTP that can not be carried out, with the statuses that they may be answered with.
fn malformed_requests() -> Vec<(Vec<u8>, &'static [u16])> {
    const PATH: &str = "/colibri/v2/conferences";
    let with = |method: &str, path: &str, headers: &str, body: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    let is_json = "content-type: application/json\r\n";
    let post = |body: &str| with("POST", PATH, is_json, body);
    vec![
        (post("{\"meeting-id\": "), &[400]),
        (post(&"[".repeat(100_000)), &[400]),
        (post("{\"meeting-id\":7,\"create\":true}"), &[400]),
        (
            post("{\"meeting-id\":\"m\",\"create\":true,\"endpoints\":[{\"id\":[]}]}"),
            &[400],
        ),
        (
            post(&format!("{{\"meeting-id\":\"{}\"}}", "x".repeat(500_000))),
            &[400, 404],
        ),
        (post(&" ".repeat(2 << 20)), &[413]),
        (
            with("POST", PATH, "content-type: text/plain\r\n", "{}"),
            &[415],
        ),
        (
            with(
                "POST",
                PATH,
                &format!("{is_json}origin: http://evil.example\r\n"),
                "{}",
            ),
            &[403],
        ),
        (
            with("PATCH", &format!("{PATH}/never-created"), is_json, "{}"),
            &[404],
        ),
        (with("PUT", PATH, is_json, "{}"), &[405]),
        (
            with("GET", &format!("/{}", "a".repeat(4_000)), "", ""),
            &[404],
        ),
        (
            with(
                "GET",
                "/debug",
                &format!("x: {}\r\n", "a".repeat(20_000)),
                "",
            ),
            &[431],
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
            &[400],
        ),
        (b"GET\r\n\r\n".to_vec(), &[400]),
        // Half of a body, and the end.
        (
            format!(
                "POST {PATH} HTTP/1.1\r\nhost: localhost\r\n{is_json}content-length: 100\r\n\r\n{{"
            )
            .into_bytes(),
            &[],
        ),
    ]
}

/// The status of what is answered to these bytes; `None` if nothing is.
fn status_of(port: u16, request: &[u8], is_half: bool) -> Option<u16> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("the control API");
    // It may have been refused before all of it is written.
    let _ = socket.write_all(request);
    if is_half {
        let _ = socket.shutdown(Shutdown::Write);
    }
    // A request that is never answered fails the test instead of hanging it.
    let timeout = socket.set_read_timeout(Some(PATIENCE));
    timeout.expect("longer than zero");
    let mut answer = Vec::new();
    // What was not read may end the connection with a reset, behind the answer.
    let _ = socket.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn t61_a_flood_of_malformed_requests_over_http() {
    const ROUNDS: usize = 100;
    const THREADS: usize = 4;
    let prosody = Prosody::start(&[]);
    let bridge = Bridge::start(&prosody);
    let mut focus = Focus::join(&prosody).await;
    focus.sees_the_bridge().await;
    let call = bridge.call(25);
    let before = bridge.memory();

    let kinds = malformed_requests();
    let flood = || {
        for _ in 0..ROUNDS {
            for (request, expected) in &kinds {
                let status = status_of(bridge.http, request, expected.is_empty());
                // A reset may overtake an answer to what was not read to its end.
                let accepted = match status {
                    Some(status) => {
                        expected.contains(&status) || expected.is_empty() && status == 400
                    }
                    None => {
                        expected.is_empty() || expected.contains(&413) || expected.contains(&431)
                    }
                };
                let shown =
                    String::from_utf8_lossy(&request[..request.len().min(150)]).into_owned();
                assert!(accepted, "{status:?} to {shown:?}");
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(flood);
        }
    });
    let grown = bridge.memory().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more");
    assert_eq!(bridge.request("GET", "/about/health", &Value::Null).0, 200);
    let endpoint =
        json!({ "id": "a", "create": true, "capabilities": ["source-names"], "transport": {} });
    let create = json!({ "meeting-id": "m-1", "create": true, "endpoints": [endpoint] });
    assert_eq!(
        bridge.request("POST", "/colibri/v2/conferences", &create).0,
        200
    );
    creates(&mut focus, "m-2").await;

    call.was_undisturbed();
    record(
        6,
        &format!(
            "{} malformed requests over HTTP, of {} kinds, four at a time",
            ROUNDS * THREADS * kinds.len(),
            kinds.len()
        ),
        &format!(
            "each is refused with its status of 4xx; calls lose no packet, memory grows by at most {} MB, health stays good",
            grown.div_ceil(1 << 20)
        ),
        &[],
    );
}
