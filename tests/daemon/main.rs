//! The daemon as a process: how it ends, and what its script says about that (rest-and-stats spec §7, §8.1).
//!
//! Cases 32 and 33 are about the autoscaler's sidecar and the autoscaler. What the sidecar needs of the bridge is tested here;
//! its own reports, and how the autoscaler decides, have no part in this project that could be tested.
//!
//! Needs a shell and curl.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use causeway_tests::running::{ask, await_ready};
use serde_json::{Value, json};

/// What controls the bridge, where it is set.
const TOKEN: &str = "correct-horse-battery";

/// A running daemon with the REST API on a port of its own.
struct Daemon {
    process: Child,
    port: u16,
    config: PathBuf,
}

impl Daemon {
    /// Starts it, and waits until it says that it is ready.
    fn start(name: &str, more: &str) -> Daemon {
        // Free a moment ago; nobody else asks for them by number.
        let udp = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let http = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let config =
            std::env::temp_dir().join(format!("causeway-{name}-{}.conf", std::process::id()));
        let text = format!(
            "videobridge {{
               apis.rest.enabled = true
               shutdown.shutting-down-delay = 0 seconds
               http-servers.private {{ host = 127.0.0.1, port = {} }}
               ice.udp.port = {}
               {more}
             }}
             ice4j.harvest {{ mapping.aws.enabled = false, udp.receive-buffer-size = 65536 }}",
            http.port(),
            udp.port(),
        );
        std::fs::write(&config, text).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_causeway"))
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        await_ready(&mut process);
        Daemon {
            process,
            port: http.port(),
            config,
        }
    }

    /// Status and body of an answer.
    fn request(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let token = format!("authorization: Bearer {TOKEN}\r\n");
        let (status, body) = ask(socket, method, path, &token, body);
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// Status of a resource that is asked for under a host name.
    fn look(&self, host: &str, path: &str) -> u16 {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            socket,
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn create(&self, meeting: &str) -> u16 {
        let endpoint =
            json!({ "id": "a", "create": true, "capabilities": ["source-names"], "transport": {} });
        let create = json!({ "meeting-id": meeting, "create": true, "endpoints": [endpoint] });
        self.request("POST", "/colibri/v2/conferences", &create).0
    }

    /// Runs the script that shuts it down.
    fn script(&self) -> Child {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/graceful_shutdown.sh");
        let (pid, url) = (self.process.id(), format!("http://127.0.0.1:{}", self.port));
        Command::new("sh")
            .arg(script)
            .env("CAUSEWAY_REST_TOKEN", TOKEN)
            .args(["-s", "-t", "30", "-h", &url, "-p", &pid.to_string()])
            .spawn()
            .unwrap()
    }

    fn ended(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}

#[test]
fn rest_and_stats_cases_28_31_34_config_case_31_the_script_waits_for_the_last_endpoint() {
    let mut daemon = Daemon::start(
        "graceful",
        &format!("rest.shutdown.enabled = true\n apis.rest.token = {TOKEN}"),
    );
    assert_eq!(daemon.create("m1"), 200);
    let mut script = daemon.script();
    loop {
        let (_, stats) = daemon.request("GET", "/colibri/stats", &Value::Null);
        if stats["graceful_shutdown"] == true {
            break;
        }
        assert!(script.try_wait().unwrap().is_none(), "the script gave up");
    }
    assert_eq!(daemon.create("m2"), 400, "no new conferences");
    let (_, stats) = daemon.request("GET", "/colibri/stats", &Value::Null);
    assert_eq!(
        (&stats["local_endpoints"], &stats["shutting_down"]),
        (&json!(1), &json!(false))
    );
    let expire = json!({ "expire": true });
    assert_eq!(
        daemon
            .request("PATCH", "/colibri/v2/conferences/m1", &expire)
            .0,
        200
    );
    assert_eq!(daemon.ended().code(), Some(0));
    assert_eq!(script.wait().unwrap().code(), Some(0));
}

#[test]
fn rest_and_stats_case_30_a_forced_shutdown_waits_for_nobody() {
    let mut daemon = Daemon::start("forced", "rest.shutdown.enabled = true");
    assert_eq!(daemon.create("m1"), 200);
    let force = json!({ "graceful-shutdown": false });
    assert_eq!(daemon.request("POST", "/colibri/shutdown", &force).0, 200);
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn rest_and_stats_case_31_the_script_fails_where_shutdown_is_off() {
    let daemon = Daemon::start("off", "");
    assert_eq!(daemon.script().wait().unwrap().code(), Some(1));
    assert_eq!(
        daemon.request("GET", "/about/health", &Value::Null).0,
        200,
        "it lives on"
    );
}

#[test]
fn rest_and_stats_case_32_the_sidecar_gets_what_it_reads_until_the_bridge_is_gone() {
    let mut daemon = Daemon::start("sidecar", "");
    // From the first request on: a report without stress has no weight in the mean of the group.
    let (status, stats) = daemon.request("GET", "/colibri/stats", &Value::Null);
    assert_eq!(status, 200);
    assert!(stats["stress_level"].is_f64(), "{stats}");
    for count in ["participants", "octo_endpoints"] {
        assert!(stats[count].is_u64(), "{count} in {stats}");
    }
    for flag in ["graceful_shutdown", "shutting_down", "drain", "healthy"] {
        assert!(stats[flag].is_boolean(), "{flag} in {stats}");
    }
    daemon.process.kill().unwrap();
    daemon.ended();
    // Refused at once, where the sidecar would wait for three seconds otherwise.
    let error = TcpStream::connect(("127.0.0.1", daemon.port)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn t61_the_configuration_guards_the_control_api_and_leaves_metrics_open() {
    let networks = "apis.rest.allowed-networks = [\"10.0.0.0/8\"]";
    let token = format!("apis.rest.token = {TOKEN}");
    for (name, more, host, status) in [
        ("own-name", "", "localhost", 200),
        ("rebound", "", "evil.example", 403),
        ("network", networks, "localhost", 403),
        ("token", &token, "localhost", 401),
    ] {
        let daemon = Daemon::start(name, more);
        assert_eq!(daemon.look(host, "/debug"), status, "{name}");
        assert_eq!(daemon.look(host, "/metrics"), 200, "{name}");
    }
}

#[test]
fn what_happened_to_an_endpoint_is_told_until_it_is_gone() {
    let daemon = Daemon::start("timeline", "");
    assert_eq!(daemon.create("m1"), 200);
    let (_, debug) = daemon.request("GET", "/debug", &Value::Null);
    let conferences = debug["conferences"].as_object().unwrap();
    let (id, _) = conferences.iter().next().unwrap();
    let path = format!("/debug/{id}/a/timeline");
    let timeline = |since: u64| {
        let path = format!("{path}?since={since}");
        daemon.request("GET", &path, &Value::Null)
    };
    let (status, first) = timeline(0);
    assert_eq!(status, 200);
    let created = &first["events"][0];
    assert_eq!(created["event"], "created");
    let (at, now) = (created["time"].as_u64(), first["time"].as_u64());
    assert!(at.is_some() && at <= now, "{first}");

    let next = first["next"].as_u64().unwrap();
    let change =
        json!({ "endpoints": [{ "id": "a", "force-mute": { "audio": true, "video": false } }] });
    let meeting = "/colibri/v2/conferences/m1";
    assert_eq!(daemon.request("PATCH", meeting, &change).0, 200);
    let (_, later) = timeline(next);
    let muted = json!({ "event": "force-muted", "audio": true, "video": false });
    let told = later["events"][0].as_object().unwrap();
    assert!(
        muted
            .as_object()
            .unwrap()
            .iter()
            .all(|(name, value)| told[name] == *value),
        "{later}"
    );

    let expire = json!({ "endpoints": [{ "id": "a", "expire": true }] });
    assert_eq!(daemon.request("PATCH", meeting, &expire).0, 200);
    assert_eq!(timeline(0).0, 404);
}
