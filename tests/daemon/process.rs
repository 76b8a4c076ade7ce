//! The daemon as a process: what it tells its service manager, how it ends, what it says about its configuration.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A folder of its own for each test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("causeway-process-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("the folder for temporary files is writable");
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("the folder is writable");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn causeway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    for name in [
        "CAUSEWAY_LOG",
        "CAUSEWAY_LOG_FORMAT",
        "JAVA_SYS_PROPS",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
    ] {
        command.env_remove(name);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A configuration that takes no fixed port.
fn configuration() -> String {
    let free = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let port = free.local_addr().expect("bound").port();
    format!(
        "videobridge.ice.udp.port = {port}\nvideobridge.http-servers.private.port = -1\n\
         ice4j.harvest.mapping.aws.enabled = false\n"
    )
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{name} {}", child.id())])
        .status()
        .expect("a shell");
    assert!(status.success());
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A daemon whose service manager we are.
struct Service {
    child: Child,
    socket: UnixDatagram,
    folder: Folder,
}

impl Service {
    fn start(name: &str, prepare: impl FnOnce(&mut Command, &Path)) -> Service {
        let folder = Folder::new(name);
        let config = folder.write("jvb.conf", &configuration());
        let path = folder.0.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket in the folder");
        // So that a daemon that dies early fails the test instead of hanging it.
        let timeout = socket.set_read_timeout(Some(Duration::from_secs(60)));
        timeout.expect("longer than zero");
        let mut command = causeway();
        command.env("NOTIFY_SOCKET", &path);
        prepare(&mut command, &config);
        let child = command.spawn().expect("the binary was built");
        Service {
            child,
            socket,
            folder,
        }
    }

    fn started_with(name: &str) -> Service {
        Service::start(name, |command, config| {
            command.arg("--config").arg(config);
        })
    }

    /// Reads what it tells until `wanted` comes.
    fn await_notice(&self, wanted: &str) {
        let mut buffer = [0; 1024];
        loop {
            let length = self
                .socket
                .recv(&mut buffer)
                .expect("the daemon tells something");
            if text(&buffer[..length])
                .lines()
                .any(|line| line.starts_with(wanted))
            {
                return;
            }
        }
    }

    /// Its exit code and its log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().expect("it is piped");
        stderr.read_to_string(&mut log).expect("logs are text");
        (self.child.wait().expect("it is our child").code(), log)
    }
}

#[test]
fn the_service_manager_learns_that_it_is_ready_alive_and_stopping() {
    let service = Service::start("notify", |command, config| {
        command
            .arg("--config")
            .arg(config)
            .env("WATCHDOG_USEC", "400000");
    });
    service.await_notice("READY=1");
    service.await_notice("WATCHDOG=1");
    service.await_notice("WATCHDOG=1");
    signal(&service.child, "TERM");
    service.await_notice("STOPPING=1");
    assert_eq!(service.end().0, Some(143));
}

#[test]
fn config_case_27_signals_give_128_and_their_number() {
    for (name, code) in [("INT", 130), ("HUP", 129), ("TERM", 143)] {
        let service = Service::started_with(name);
        service.await_notice("READY=1");
        signal(&service.child, name);
        let (ended, log) = service.end();
        assert_eq!(ended, Some(code), "{log}");
        assert!(log.contains("Videobridge is shutting down NOW"), "{log}");
    }
}

#[test]
fn config_case_28_java_sys_props_name_configuration_and_log_levels() {
    let folder = Folder::new("levels");
    let levels = folder.write("logging.properties", ".level=OFF\n");
    let service = Service::start("props", |command, config| {
        let properties = format!(
            "-Dconfig.file={} -Djava.util.logging.config.file={}",
            config.display(),
            levels.display()
        );
        command.env("JAVA_SYS_PROPS", properties);
    });
    service.await_notice("READY=1");
    signal(&service.child, "TERM");
    assert_eq!(service.end(), (Some(143), String::new()));
}

#[test]
fn config_case_29_the_daemon_logs_in_the_layout_of_jvb() {
    let service = Service::started_with("layout");
    service.await_notice("READY=1");
    signal(&service.child, "TERM");
    let (_, log) = service.end();
    assert!(!log.is_empty());
    for line in log.lines() {
        let parts: Vec<&str> = line.splitn(6, ' ').collect();
        assert!(
            matches!(parts[..], ["JVB", _, _, "INFO:" | "WARNING:", _, _]),
            "{line}"
        );
    }
}

/// JVB stays up and fails its health checks instead. Nobody would reach such a bridge: its service manager tries again.
#[test]
fn rest_and_stats_case_7_a_media_port_that_is_in_use_ends_the_start() {
    let taken = UdpSocket::bind("0.0.0.0:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let folder = Folder::new("taken");
    let text = format!("{}videobridge.ice.udp.port = {port}\n", configuration());
    let path = folder.write("jvb.conf", &text);
    let output = run(&["--config", &path.to_string_lossy()]);
    let said = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!(":{port}: Address already in use")),
        "{said}"
    );
    assert!(!said.contains("bridge ready"), "{said}");
}

/// T61: a container binds to all addresses, and nobody reads its documentation.
#[test]
fn t61_a_control_api_for_everybody_is_warned_about() {
    const WARNING: &str = "ANYBODY WHO REACHES THE PRIVATE HTTP SERVER CONTROLS THIS BRIDGE";
    for (name, members, warned) in [
        ("open", "host = 0.0.0.0", true),
        ("token", "host = 0.0.0.0", false),
        ("loopback", "host = 127.0.0.1", false),
    ] {
        let service = Service::start(name, |command, config| {
            let free = TcpListener::bind("127.0.0.1:0").expect("loopback");
            let port = free.local_addr().expect("bound").port();
            let mut text = configuration();
            text += &format!("videobridge.http-servers.private {{ {members}, port = {port} }}\n");
            text += "videobridge.apis.rest.enabled = true\n";
            if name == "token" {
                text += "videobridge.apis.rest.token = correct-horse-battery\n";
            }
            fs::write(config, text).expect("the folder is writable");
            command.arg("--config").arg(config);
        });
        service.await_notice("READY=1");
        signal(&service.child, "TERM");
        let (_, log) = service.end();
        assert_eq!(log.contains(WARNING), warned, "{name}: {log}");
        assert!(!log.contains("correct-horse"), "{log}");
    }
}

fn run(arguments: &[&str]) -> Output {
    causeway()
        .args(arguments)
        .output()
        .expect("the binary was built")
}

/// All that a process said.
fn text_of(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn config_cases_2_26_what_can_not_be_used_exits_with_78_and_names_the_key() {
    let folder = Folder::new("bad");
    for (text_of_file, reason) in [
        ("videobridge.ice.udp.port = abc", "videobridge.ice.udp.port"),
        ("videobridge { ice {", "jvb.conf:1"),
        (
            "jmt.bwe.estimator.engine = Best",
            "jmt.bwe.estimator.engine",
        ),
        (
            "jmt.dtls.cipher-suites = [TLS_BOGUS]",
            "jmt.dtls.cipher-suites",
        ),
        ("include required(\"absent.conf\")", "absent.conf"),
    ] {
        let path = folder.write("jvb.conf", text_of_file);
        for check in [&["--check-config"][..], &[]] {
            let path = path.to_string_lossy();
            let arguments = [&["--config", &path][..], check].concat();
            let output = run(&arguments);
            assert_eq!(output.status.code(), Some(78), "{text_of_file}");
            assert!(
                text(&output.stderr).contains(reason),
                "{}",
                text(&output.stderr)
            );
        }
    }
    let missing = run(&["--config", "/nonexistent/jvb.conf"]);
    assert_eq!(missing.status.code(), Some(78));
}

#[test]
fn check_config_tells_a_near_miss_and_where_each_value_comes_from() {
    let folder = Folder::new("check");
    let path = folder.write(
        "jvb.conf",
        "videobridge.ice.udp.prot = 10001\nvideobridge.cc.jvb-last-n = 25\n",
    );
    let output = run(&["--config", &path.to_string_lossy(), "--check-config"]);
    assert_eq!(output.status.code(), Some(0));
    let origin = format!("{}:2", path.display());
    let printed = text(&output.stdout);
    let line = printed
        .lines()
        .find(|line| line.starts_with("videobridge.cc.jvb-last-n = 25 "));
    assert!(
        line.is_some_and(|line| line.ends_with(&origin)),
        "{printed}"
    );
    assert!(
        text(&output.stderr).contains("is `videobridge.ice.udp.port` meant?"),
        "{}",
        text(&output.stderr)
    );
}

/// Config spec case 23: what the container makes of its environment is what the daemon takes.
#[test]
fn config_case_23_the_environment_of_the_container_image_is_understood() {
    let start = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/docker/start");
    let printed = |environment: &[(&str, &str)]| {
        let output = Command::new("sh")
            .arg(&start)
            .arg("--print")
            .env_clear()
            .env("PATH", std::env::var("PATH").expect("a path"))
            .env("LOCAL_ADDRESS", "10.0.0.9")
            .envs(environment.iter().copied())
            .output()
            .expect("a shell");
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, _, error) = printed(&[]);
    assert_eq!(code, Some(78));
    assert!(error.contains("JVB_AUTH_PASSWORD"), "{error}");

    let folder = Folder::new("container");
    for (environment, expected) in [
        (
            &[("JVB_AUTH_PASSWORD", "a\"b\\c")][..],
            &[
                "videobridge.ice.udp.port = 10000",
                "videobridge.health.require-valid-address = false",
            ][..],
        ),
        (
            &[
                ("JVB_AUTH_PASSWORD", "secret"),
                ("XMPP_SERVER", "one.example,two.example:6222"),
                ("JVB_PORT", "20000"),
                ("JVB_ADVERTISE_IPS", "203.0.113.1, 203.0.113.2#30000"),
                ("COLIBRI_REST_ENABLED", "True"),
                ("JVB_DISABLE_STUN", "1"),
                ("ENABLE_OCTO", "1"),
                ("JVB_OCTO_RELAY_ID", "relay-1"),
            ],
            &[
                "videobridge.ice.udp.port = 20000",
                "videobridge.apis.rest.enabled = true",
                "ice4j.harvest.mapping.stun.addresses = []",
                "ice4j.harvest.mapping.static-mappings = [{ local-address = 10.0.0.9, local-port = 20000, \
                 public-address = 203.0.113.1, public-port = 20000 }, { local-address = 10.0.0.9, local-port = 20000, \
                 public-address = 203.0.113.2, public-port = 30000 }]",
            ],
        ),
    ] {
        let (code, configuration, error) = printed(environment);
        assert_eq!(code, Some(0), "{error}");
        let path = folder.write("jvb.conf", &configuration);
        let output = run(&["--config", &path.to_string_lossy(), "--check-config"]);
        let effective = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        for line in expected {
            assert!(effective.contains(line), "{line} is not in\n{effective}");
        }
    }
}

/// As Jitsi's own deployment has it: most settings in one file, the connections in another.
#[test]
fn config_case_25_the_files_of_a_production_deployment_are_understood() {
    let free = || TcpListener::bind("127.0.0.1:0").expect("loopback");
    let ports = [free(), free()].map(|socket| socket.local_addr().expect("bound").port());
    let [private, public] = ports;
    let udp = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let udp = udp.local_addr().expect("bound").port();
    let settings = format!(
        r#"
        videobridge {{
          apis {{
            rest {{ enabled = true }}
            xmpp-client {{
              stats-filter {{ enabled = true }}
              configs {{
                include "xmpp.conf"
              }}
            }}
          }}
          cc {{
            assumed-bandwidth-limit = 10 Mbps
            jvb-last-n = 25
            trust-bwe = true
            use-vla-target-bitrate = true
          }}
          cryptex {{ endpoint = false, relay = true }}
          health {{ sticky-failures = true, require-stun = false, require-valid-address = false }}
          http-servers {{
            public {{ host = 127.0.0.1, port = {public} }},
            private {{ host = 127.0.0.1, port = {private} }},
          }}
          ice {{
            udp {{ port = {udp} }}
            tcp {{ enabled = false }}
            advertise-private-candidates = false
            ufrag-prefix = "jvb1"
          }}
          initial-drain-mode = false
          load-management {{
            average-participant-stress = 0.005
            load-measurements {{ load-measurement = "packet-rate", packet-rate {{ load-threshold = 90000, recovery-threshold = 72000 }} }}
          }}
          loudest {{ route-loudest-only = true }}
          redact-remote-addresses = true
          rest.shutdown.enabled = true
          sctp {{ enabled = true, use-usrsctp = false }}
          shutdown {{ graceful-shutdown-max-duration = 6 hours, graceful-shutdown-min-participants = 2 }}
          speech-activity {{ recent-speakers-count = 30, enable-silence-detection = true }}
          ssrc-limit {{ video = 50, audio = 10 }}
          stats {{ enabled = true, transit-time {{ enable-prometheus = true }} }}
          version {{ announce = true, release = "1234" }}
          websockets {{ enabled = true, tls = true, domain = "jvb1.example.com:443", server-id = "jvb-1", relay-domain = "relay.example.com" }}
        }}
        ice4j {{
          consent-freshness {{ max-wait-interval = 500 ms }}
          harvest {{
            mapping {{ aws {{ enabled = false }}, stun {{ enabled = false, addresses = [] }} }}
            udp {{ receive-buffer-size = 65536 }}
          }}
          send-to-last-received-from-address = true
        }}
        include "custom-jvb.conf"
        "#
    );
    // Nobody listens there: the connection is tried again and again, and holds up nobody.
    let connections = r#"
        shard1 {
          HOSTNAME=127.0.0.1
          PORT=1
          DOMAIN="auth.jvb.example.com"
          USERNAME="jvb"
          PASSWORD="secret"
          MUC_JIDS="jvbbrewery@muc.jvb.example.com"
          MUC="jvbbrewery@muc.jvb.example.com"
          MUC_NICKNAME="jvb-00e1f2a3"
          DISABLE_CERTIFICATE_VERIFICATION=true
          IQ_HANDLER_MODE="async"
        }
        "#;
    let service = Service::start("production", |command, config| {
        fs::write(config, &settings).expect("the folder is writable");
        let folder = config.parent().expect("it is in a folder");
        fs::write(folder.join("xmpp.conf"), connections).expect("the folder is writable");
        command.arg("--config").arg(config);
    });
    service.await_notice("READY=1");
    let config = service.folder.0.join("jvb.conf");
    let output = run(&["--config", &config.to_string_lossy(), "--check-config"]);
    let effective = text(&output.stdout);
    for line in [
        "videobridge.cc.assumed-bandwidth-limit = 10",
        "videobridge.cc.jvb-last-n = 25 ",
        "videobridge.ice.advertise-private-candidates = false ",
        "videobridge.ice.ufrag-prefix = jvb1 ",
        "videobridge.speech-activity.recent-speakers-count = 30 ",
        "videobridge.ssrc-limit.audio = 10 ",
        "videobridge.websockets.server-id = jvb-1 ",
        "videobridge.apis.xmpp-client.stats-filter.enabled = true ",
        "videobridge.apis.xmpp-client.configs.shard1.muc-nickname = jvb-00e1f2a3 ",
    ] {
        assert!(
            effective.lines().any(|it| it.starts_with(line)),
            "{line} is not in\n{effective}"
        );
    }
    assert!(!effective.contains("secret"), "{effective}");
    signal(&service.child, "TERM");
    let (ended, log) = service.end();
    assert_eq!(ended, Some(143), "{log}");
    for warned in ["videobridge.sctp.use-usrsctp", "videobridge.cryptex.relay"] {
        assert_eq!(log.matches(warned).count(), 1, "{warned}: {log}");
    }
}
