use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use causeway_bridge::srtp::Profile;
use causeway_bridge::units::Bitrate;
use causeway_hocon::{Config, no_includes};

use super::*;

mod templates;

fn read(text: &str) -> Result<(DaemonConfig, Vec<Warning>), ConfigError> {
    let env = |name: &str| (name == "JVB_PORT").then(|| "20000".to_owned());
    let layers = Config::parse(text, "jvb.conf", &no_includes)?;
    Loaded::with_environment(&layers, &env).map(|loaded| (loaded.config, loaded.warnings))
}

fn accepted(text: &str) -> DaemonConfig {
    let (config, warnings) = read(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(warnings, [], "{text}");
    config
}

fn refused(text: &str) -> String {
    read(text).map(|_| ()).unwrap_err().to_string()
}

fn warned(text: &str) -> Vec<String> {
    read(text)
        .unwrap()
        .1
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn nothing_set_gives_the_defaults_of_jitsi_videobridge() {
    let config = accepted("");
    assert_eq!(config.bridge.net.port, 10_000);
    assert_eq!(
        config.private_http,
        Some(HttpServer {
            host: Some("127.0.0.1".into()),
            port: 8080,
            tls: None,
            trusted_proxies: Vec::new()
        })
    );
    assert_eq!(config.public_http, None);
    assert!(!config.rest.colibri && !config.rest.shutdown && config.rest.health);
    assert_eq!(config.websockets.server_id, "default-id");
    assert_eq!(config.bridge.channel.announce_version, None);
    assert_eq!(
        format!("{config:?}"),
        format!("{:?}", DaemonConfig::default())
    );
}

#[test]
fn pacing_is_a_factor_from_one_or_off() {
    let config = accepted("videobridge.cc.pacing { factor = 1.5, burst = 10 ms }");
    assert!((config.bridge.pacing.factor - 1.5).abs() < 1e-9);
    assert_eq!(config.bridge.pacing.burst, Duration::from_millis(10));
    let off = accepted("videobridge.cc.pacing.factor = 0");
    assert!(off.bridge.pacing.factor.abs() < 1e-9);
    for wrong in ["0.5", "-1", "101", "fast"] {
        let error = refused(&format!("videobridge.cc.pacing.factor = {wrong}"));
        assert!(error.contains("videobridge.cc.pacing.factor"), "{error}");
    }
}

#[test]
fn a_nested_file_and_a_dotted_file_mean_the_same() {
    let nested = accepted(
        "videobridge {
           ice { udp { port = ${?JVB_PORT} } }
           cc { trust-bwe = false, jvb-last-n = 25, assumed-bandwidth-limit = 10 Mbps, bwe-change-threshold = 10% }
           apis { rest { enabled = true } }
           http-servers { private { host = 0.0.0.0 }, public { port = 9090, trusted-proxies = [10.0.0.0/8, \"fd00::1\"] } }
           websockets { enabled = true, domain = \"a:443\", domains = [\"b:443\"], tls = true, server-id = jvb-1 }
           health { interval = 300 seconds, timeout = 5 minutes, timeout = 301s }
           load-management { conference-last-n-limits { 30 = 15, 20 = 20 } }
           loudest { route-loudest-only = yes }
         }
         jmt.bwe.estimator { initial-bw = 1 mbps }
         jmt { srtp { protection-profiles = [SRTP_AES128_CM_HMAC_SHA1_80] } }",
    );
    let dotted = accepted(
        "videobridge.ice.udp.port = 20000
         videobridge.cc.trust-bwe = false
         videobridge.cc.jvb-last-n = 25
         videobridge.cc.assumed-bandwidth-limit = 10000 kbps
         videobridge.cc.bwe-change-threshold-pct = 10
         videobridge.apis.rest.enabled = true
         videobridge.http-servers.private.host = \"0.0.0.0\"
         videobridge.http-servers.public.port = 9090
         videobridge.http-servers.public.trusted-proxies = [\"10.0.0.0/8\", \"fd00::1\"]
         videobridge.websockets.enabled = true
         videobridge.websockets.domains = [\"a:443\", \"b:443\"]
         videobridge.websockets.tls = true
         videobridge.websockets.server-id = jvb-1
         videobridge.health.interval = 5 minutes
         videobridge.health.timeout = 301000
         videobridge.load-management.conference-last-n-limits.20 = 20
         videobridge.load-management.conference-last-n-limits.30 = 15
         videobridge.loudest.route-loudest-only = true
         jmt.bwe.estimator.initial-bw = 1000 kbps
         jmt.srtp.protection-profiles = [\"SRTP_AES128_CM_HMAC_SHA1_80\"]",
    );
    assert_eq!(format!("{nested:?}"), format!("{dotted:?}"));
    assert_eq!(dotted.bridge.net.port, 20_000);
    assert_eq!(
        dotted.bridge.allocation.conference_last_n_limits,
        [(20, 20), (30, 15)]
    );
    assert_eq!(
        dotted.bridge.allocation.assumed_bandwidth_limit,
        Some(Bitrate::kbps(10_000))
    );
    assert_eq!(
        dotted.bridge.transport.srtp_profiles,
        [Profile::Aes128CmSha1_80]
    );
    assert_eq!(dotted.websockets.domains, ["a:443", "b:443"]);
    assert_eq!(
        dotted.public_http,
        Some(HttpServer {
            host: None,
            port: 9090,
            tls: None,
            trusted_proxies: vec![
                "10.0.0.0/8".parse().unwrap(),
                "fd00::1".parse::<IpAddr>().unwrap().into()
            ]
        })
    );
    assert_eq!(dotted.health.interval, Duration::from_secs(300));
}

#[test]
fn redundant_audio_is_chosen_by_the_words_of_jitsi_videobridge() {
    use causeway_bridge::config::{RedConfig, RedPolicy};
    let config =
        accepted("jmt.audio.red { policy = PROTECT_ALL, distance = ONE, vad-only = false }");
    let expected = RedConfig {
        policy: RedPolicy::ProtectAll,
        two_packets: false,
        vad_only: false,
    };
    assert_eq!(config.bridge.audio.red, expected);
    let refused = refused("jmt.audio.red.policy = ALL");
    assert!(
        refused.contains("use NOOP, STRIP or PROTECT_ALL"),
        "{refused}"
    );
}

#[test]
fn config_case_21_ports_of_minus_one_switch_servers_off() {
    let config = accepted("videobridge.http-servers.private { port = -1, tls-port = -1 }");
    assert_eq!(config.private_http, None);
}

#[test]
fn config_case_21_a_key_store_makes_a_server_listen_on_the_port_for_tls_only() {
    let store = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tls/testdata/java.jks");
    let secure = |server: &str, more: &str| {
        accepted(&format!(
            "videobridge.http-servers.{server} {{ key-store-path = \"{store}\", key-store-password = changeit, {more} }}"
        ))
    };
    let private = secure("private", "").private_http.unwrap();
    assert_eq!((private.port, private.tls.is_some()), (8443, true));
    assert_eq!(private.host.as_deref(), Some("127.0.0.1"));
    let public = secure(
        "public",
        "port = 9090, tls-port = 443, tls-protocols = [TLSv1.3]",
    );
    let public = public.public_http.unwrap();
    assert_eq!((public.port, public.tls.is_some()), (443, true));
    assert_eq!(
        public.port_key("public"),
        "videobridge.http-servers.public.tls-port"
    );

    let off = format!(
        "videobridge.http-servers.public {{ key-store-path = \"{store}\", port = 9090, tls-port = -1 }}"
    );
    assert_eq!(
        read(&off).unwrap().0.public_http,
        None,
        "the clear port stays closed"
    );
    assert!(warned(&off)[0].contains("key-store-path: has no effect"));
    // Without a key store there is nothing to listen with.
    let clear = accepted("videobridge.http-servers.public { port = 9090, tls-port = 443 }");
    assert_eq!(clear.public_http.unwrap().port, 9090);
}

#[test]
fn a_key_store_that_can_not_be_used_is_refused_with_key_file_and_reason() {
    let store = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tls/testdata/java.p12");
    for (members, reasons) in [
        (
            "key-store-path = /nonexistent.p12",
            ["key-store-path: /nonexistent.p12: ", "can not be read"],
        ),
        (
            &format!("key-store-path = \"{store}\", key-store-password = wrong"),
            ["/java.p12: ", "the password in key-store-password is wrong"],
        ),
        (
            &format!(
                "key-store-path = \"{store}\", key-store-password = changeit, tls-protocols = [TLSv1.1]"
            ),
            ["tls-protocols: ", "needs TLSv1.2 or TLSv1.3"],
        ),
        (
            "tls-cipher-suites = [TLS_RSA_WITH_AES_128_CBC_SHA]",
            [
                "tls-cipher-suites: ",
                "names no cipher suite that is spoken here",
            ],
        ),
        (
            &format!(
                "key-store-path = \"{store}\", key-store-password = changeit, need-client-auth = true"
            ),
            ["need-client-auth: ", "not implemented"],
        ),
    ] {
        let refused = refused(&format!("videobridge.http-servers.public {{ {members} }}"));
        assert!(
            refused.starts_with("jvb.conf:1: videobridge.http-servers.public."),
            "{refused}"
        );
        for reason in reasons {
            assert!(refused.contains(reason), "{refused}");
        }
    }
}

#[test]
fn config_case_22_a_domain_that_is_also_in_the_list_is_advertised_once() {
    let config = accepted("videobridge.websockets { domains = [\"a:443\"], domain = \"a:443\" }");
    assert_eq!(config.websockets.domains, ["a:443"]);
    assert_eq!(config.websockets.tls, None);
    let config = accepted("videobridge.websockets { send-keepalive-pings = false }");
    assert_eq!(config.websockets.ping_interval, None);
}

#[test]
fn addresses_of_ice4j() {
    let config = accepted(
        "ice4j.harvest {
           mapping.aws.enabled = false
           mapping.static-mappings = [
             { local-address = 10.0.0.1, public-address = \"203.0.113.1\" },
             { local-address = 10.0.0.1, public-address = 203.0.113.2, local-port = 10000, public-port = 4443, },
           ]
           blocked-interfaces = [docker0], blocked-addresses = [10.0.0.9]
         }",
    );
    assert_eq!(
        config.bridge.ice.mappings,
        [
            (ip("10.0.0.1"), ip("203.0.113.1"), None),
            (ip("10.0.0.1"), ip("203.0.113.2"), Some(4443)),
        ]
    );
    let addresses = &config.addresses;
    assert!(addresses.admits("eth0", ip("10.0.0.1")));
    assert!(!addresses.admits("eth0", ip("10.0.0.9")));
    assert!(!addresses.admits("docker0", ip("10.0.0.1")));
    assert!(
        !addresses.admits("eth0", ip("fe80::1")) && !addresses.admits("eth0", ip("169.254.0.1"))
    );
    assert!(addresses.admits("eth0", ip("2001:db8::1")));

    let only = accepted(
        "ice4j.harvest { use-ipv6 = false, use-link-local-addresses = true, allowed-interfaces = [eth1],
         blocked-interfaces = [eth1], allowed-addresses = [169.254.0.1, \"2001:db8::1\"] }",
    );
    assert!(only.addresses.admits("eth1", ip("169.254.0.1")));
    assert!(!only.addresses.admits("eth1", ip("2001:db8::1")));
    assert!(!only.addresses.admits("eth0", ip("169.254.0.1")));
    assert!(!only.addresses.admits("eth1", ip("10.0.0.1")));

    for (mapping, reason) in [
        (
            "{ local-address = 10.0.0.1 }",
            "[0]: needs local-address and public-address",
        ),
        (
            "{ local-address = 10.0.0.1, public-address = \"::1\" }",
            "mixes IPv4 and IPv6",
        ),
        (
            "{ local-address = x, public-address = y }",
            "[0].local-address: `x` is not an IP address",
        ),
        (
            "{ local-address = 10.0.0.1, public-address = 10.0.0.1, public-port = 1 }",
            "or none of them",
        ),
        (
            "{ local = 10.0.0.1 }",
            "[0].local: is not a member of a static mapping",
        ),
    ] {
        let refused = refused(&format!(
            "ice4j.harvest.mapping.static-mappings = [{mapping}]"
        ));
        assert!(refused.contains(reason), "{refused}");
    }
}

#[test]
fn old_spellings_win() {
    let config = accepted(
        "videobridge.cc { default-max-height-px = 200, thumbnail-max-height-px = 90,
           allow-oversend-onstage = true, enable-onstage-video-suspend = true }
         jmt.bwe { estimator.max-bw = 5 mbps, google-cc.max-bw = 2 mbps }
         videobridge.ice.restart.timeout = -1
         videobridge.version { announce = true, release = 42 }",
    );
    assert_eq!(config.bridge.allocation.default_max_height, 90);
    assert_eq!(config.bridge.allocation.initial_max_height, 90);
    assert!(!config.bridge.allocation.allow_oversend_onstage);
    assert_eq!(config.bridge.estimator.max, Bitrate::kbps(2_000));
    assert_eq!(config.bridge.estimator.initial, Bitrate::kbps(2_000));
    assert!(!config.bridge.ice.restart_enabled);
    let version = config.bridge.channel.announce_version.unwrap();
    assert!(version.ends_with("-42"), "{version}");
}

#[test]
fn config_case_12_keys_without_effect_give_one_warning_each() {
    let warnings = warned(
        "videobridge {
           sctp { enabled = true, use-usrsctp = false }
           stats { enabled = true, interval = 2 s }
           ice { tcp { enabled = false, port = 4443 }, tcp.mapped-port = 443 }
           apis.xmpp-client.configs { shard { HOSTNAME=localhost, USERNAME=jvb }, other { HOSTNAME=a } }
         }
         ice4j.harvest.mapping.stun.enabled = true
         other.program = 1",
    );
    assert_eq!(warnings.len(), 6, "{warnings:#?}");
    let removed =
        "jvb.conf:2: videobridge.sctp.use-usrsctp: has no effect any more and can be removed";
    assert!(
        warnings.iter().any(|warning| warning == removed),
        "{warnings:#?}"
    );
    assert!(warnings.iter().any(|warning| {
        warning.contains("configs.other: muc-jids is missing; the connection is skipped")
    }));
    assert_eq!(
        warned("videobridge.cryptex { endpoint = false, relay = true }").len(),
        1
    );
}

#[test]
fn an_unknown_key_gives_a_warning_with_what_may_be_meant() {
    for (text, meant) in [
        (
            "videobridge.ice.udp.prot = 1",
            Some("videobridge.ice.udp.port"),
        ),
        (
            "videobridge.cc.trust_bwe = false",
            Some("videobridge.cc.trust-bwe"),
        ),
        (
            "videobridge.advertise-private-candidates = false",
            Some("videobridge.ice.advertise-private-candidates"),
        ),
        ("videobridge.wholly.different = 1", None),
    ] {
        let warnings = warned(text);
        let [warning] = warnings.as_slice() else {
            panic!("{warnings:?}")
        };
        assert!(
            warning.contains("is not known and has no effect"),
            "{warning}"
        );
        match meant {
            Some(key) => assert!(
                warning.ends_with(&format!("is `{key}` meant?")),
                "{warning}"
            ),
            None => assert!(!warning.contains("meant"), "{warning}"),
        }
    }
}

#[test]
fn config_case_26_names_of_dtls_cipher_suites_must_be_such() {
    let suites = |names: &str| format!("jmt.dtls.cipher-suites = [{names}]");
    // The default of Jitsi Videobridge.
    let known = suites(
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
         TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
         TLS_DHE_RSA_WITH_AES_128_GCM_SHA256",
    );
    let warnings = warned(&known);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("jmt.dtls.cipher-suites: is not implemented"));
    for name in [
        "TLS_BOGUS",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM",
        "TLS_ECDHE_EDCSA_WITH_AES_128_GCM_SHA256",
        "\"\"",
    ] {
        let refused = refused(&suites(&format!(
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, {name}"
        )));
        let name = name.trim_matches('"');
        let expected =
            format!("jvb.conf:1: jmt.dtls.cipher-suites: `{name}` is not a cipher suite");
        assert_eq!(refused, expected);
    }
}

#[test]
fn config_case_26_every_bad_value_is_named_with_its_line() {
    let refused = refused(
        "videobridge {\n ice.udp.port = abc\n cc.max-oversend-bitrate = 2.5 mbps\n\
         health.interval = 0\n sctp.enabled = maybe\n websockets.domains = x\n}\n\
         jmt.bwe.estimator { min-bw = 5 mbps, max-bw = 1 mbps }\nvideobridge.ice.ufrag-prefix = \"a:\"\n\
         jmt.srtp.protection-profiles = [NULL]\nvideobridge.cc.jvb-last-n = -5",
    );
    for expected in [
        "jvb.conf:2: videobridge.ice.udp.port: `abc` is not a whole number",
        "jvb.conf:3: videobridge.cc.max-oversend-bitrate: `2.5 mbps` is not a rate",
        "jvb.conf:4: videobridge.health.interval: must be longer than zero",
        "jvb.conf:5: videobridge.sctp.enabled: `maybe` is not a boolean",
        "jvb.conf:6: videobridge.websockets.domains: `x` is not a list",
        "jvb.conf:8: jmt.bwe.estimator.min-bw: the minimum is above the maximum",
        "jvb.conf:9: videobridge.ice.ufrag-prefix: must be",
        "jvb.conf:10: jmt.srtp.protection-profiles: `NULL` is not an SRTP protection profile",
        "jvb.conf:11: videobridge.cc.jvb-last-n: -5 is not within",
    ] {
        assert!(
            refused.contains(expected),
            "{expected} is not in\n{refused}"
        );
    }
    let error = Loaded::load(&Sources::new(Some("/nonexistent/jvb.conf".into()), &[], ""))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("/nonexistent/jvb.conf: the configuration cannot be read"),
        "{error}"
    );
    assert!(
        super::tests::refused("a = ${NOPE}").starts_with("jvb.conf:1: a: `${NOPE}` is not set")
    );
}

/// What `-D` arguments and a legacy properties file make of `file`.
fn with_properties(file: &str, properties: &[&str]) -> (DaemonConfig, Vec<String>) {
    let properties = properties
        .iter()
        .map(|property| property.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), (value.to_owned(), format!("-D{name}"))))
        .collect();
    let mut warnings = Vec::new();
    let file = Config::parse(file, "jvb.conf", &no_includes).unwrap();
    let layers = legacy::apply(file, &properties, &mut warnings).unwrap();
    let mut loaded =
        Loaded::with_environment(&layers, &|_| None).unwrap_or_else(|error| panic!("{error}"));
    warnings.append(&mut loaded.warnings);
    let warnings = warnings.iter().map(ToString::to_string).collect();
    (loaded.config, warnings)
}

#[test]
fn config_case_13_the_old_nat_harvester_is_a_static_mapping() {
    let (config, warnings) = with_properties(
        "ice4j.harvest.mapping.static-mappings = [{ local-address = 10.0.0.1, public-address = 203.0.113.1 }]",
        &[
            "org.ice4j.ice.harvest.NAT_HARVESTER_LOCAL_ADDRESS=10.0.0.2",
            "org.ice4j.ice.harvest.NAT_HARVESTER_PUBLIC_ADDRESS=203.0.113.2",
        ],
    );
    assert_eq!(
        config.bridge.ice.mappings,
        [
            (ip("10.0.0.1"), ip("203.0.113.1"), None),
            (ip("10.0.0.2"), ip("203.0.113.2"), None)
        ]
    );
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn config_cases_14_and_15_legacy_names_win_over_the_file() {
    let (config, _) = with_properties(
        "videobridge { ice.udp.port = 10000, websockets.enabled = true, cc.allow-oversend-onstage = false }
         ice4j.harvest.allowed-interfaces = [eth0, eth1, eth2]",
        &[
            "org.jitsi.videobridge.SINGLE_PORT_HARVESTER_PORT=20000",
            "org.jitsi.videobridge.rest.COLIBRI_WS_DISABLE=true",
            "org.jitsi.videobridge.ENABLE_ONSTAGE_VIDEO_SUSPEND=false",
            "org.jitsi.videobridge.BWE_CHANGE_THRESHOLD_PCT=20",
            "org.jitsi.videobridge.EXPIRE_CHECK_SLEEP_SEC=30",
            "org.ice4j.ice.harvest.ALLOWED_INTERFACES=eth7;eth8",
        ],
    );
    assert_eq!(config.bridge.net.port, 20_000);
    assert!(!config.websockets.enabled);
    assert!(config.bridge.allocation.allow_oversend_onstage);
    assert!((config.bridge.allocation.estimate_change_threshold - 0.2).abs() < 1e-9);
    assert_eq!(
        config.bridge.liveness.expiry_interval,
        Duration::from_secs(30)
    );
    assert_eq!(config.addresses.allowed_interfaces, ["eth7", "eth8"]);
}

#[test]
fn rest_can_only_be_switched_off_by_its_legacy_name() {
    let enabled = "videobridge.apis.rest.enabled = true";
    let name = "org.jitsi.videobridge.ENABLE_REST_COLIBRI";
    let rest = |file: &str, value: &str| {
        let (config, _) = with_properties(file, &[&format!("{name}={value}")]);
        config.rest.colibri
    };
    assert!(rest(enabled, "true"));
    assert!(!rest(enabled, "false"));
    assert!(!rest("", "true"));
}

#[test]
fn legacy_names_without_effect_are_named_once() {
    let (_, warnings) = with_properties("", &["org.jitsi.videobridge.DISABLE_TCP_HARVESTER=true"]);
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("DISABLE_TCP_HARVESTER"),
        "{warnings:?}"
    );
}

#[test]
fn config_case_8_a_property_loses_to_the_file_and_wins_over_the_default() {
    let sources = |file: &str, name: &str| {
        let path =
            std::env::temp_dir().join(format!("causeway-{}-{name}.conf", std::process::id()));
        std::fs::write(&path, file).unwrap();
        let arguments = ["videobridge.ice.udp.port=20001".to_owned()];
        let loaded = Loaded::load(&Sources::new(Some(path.clone()), &arguments, ""));
        std::fs::remove_file(path).unwrap();
        loaded.unwrap_or_else(|error| panic!("{error}"))
    };
    let loaded = sources("videobridge.ice.udp.port = 20002", "set");
    assert_eq!(loaded.config.bridge.net.port, 20_002);
    let loaded = sources("", "unset");
    assert_eq!(loaded.config.bridge.net.port, 20_001);
    let port = &loaded.effective["videobridge.ice.udp.port"];
    assert_eq!(port.origin.as_deref(), Some("-Dvideobridge.ice.udp.port"));
}

#[test]
fn the_effective_value_of_each_key_is_known_with_its_origin() {
    let layers = Config::parse("videobridge.cc.jvb-last-n = 25", "jvb.conf", &no_includes).unwrap();
    let loaded = Loaded::with_environment(&layers, &|_| None).unwrap();
    let last_n = &loaded.effective["videobridge.cc.jvb-last-n"];
    assert_eq!(
        (last_n.value.as_str(), last_n.origin.as_deref()),
        ("25", Some("jvb.conf:1"))
    );
    let port = &loaded.effective["videobridge.ice.udp.port"];
    assert_eq!(
        (port.value.as_str(), port.origin.as_deref()),
        ("10000", None)
    );
    assert!(
        !loaded
            .effective
            .contains_key("videobridge.cc.bwe-change-threshold-pct")
    );
}

#[test]
fn stun_servers_need_a_port() {
    let config = accepted("ice4j.harvest.mapping.stun.addresses = [\"stun.example.org:443\"]");
    assert_eq!(config.discovery.stun, ["stun.example.org:443"]);
    let error = refused("ice4j.harvest.mapping.stun.addresses = [\"stun.example.org\"]");
    assert!(error.contains("is not host:port"), "{error}");
}

#[test]
fn how_exports_are_made_anew_and_where_they_may_go_can_be_set() {
    let defaults = accepted("").exports;
    assert_eq!(defaults.session.base_delay, Duration::from_secs(1));
    assert_eq!(defaults.session.max_delay, Duration::from_secs(30));
    assert_eq!(defaults.session.stable, Duration::from_secs(30));
    assert_eq!(defaults.session.max_attempts, None);
    assert_eq!(defaults.allowed_networks, []);

    let set = accepted(
        "videobridge.exporter {
           max-reconnect-attempts = 7, base-delay = 250 ms, max-delay = 1 minute
           stable-connection-threshold = 0, allowed-networks = [10.0.0.0/8, \"::1\"]
         }
         videobridge.redact-colibri-http-headers = true",
    )
    .exports;
    assert_eq!(set.session.base_delay, Duration::from_millis(250));
    assert_eq!(set.session.max_delay, Duration::from_secs(60));
    assert_eq!(set.session.stable, Duration::ZERO);
    assert_eq!(set.session.max_attempts, Some(7));
    let networks = ["10.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap());
    assert_eq!(set.allowed_networks, networks);
    let never = accepted("videobridge.exporter.max-reconnect-attempts = 0").exports;
    assert_eq!(never.session.max_attempts, Some(0));

    for (member, reason) in [
        ("max-reconnect-attempts = -1", "-1 is not within"),
        ("max-reconnect-attempts = some", "is not a whole number"),
        ("base-delay = 0", "must be longer than zero"),
        ("max-delay = 0 s", "must be longer than zero"),
        ("stable-connection-threshold = soon", "`soon`"),
        (
            "allowed-networks = [\"10.0.0.0/33\"]",
            "allowed-networks[0]: `10.0.0.0/33` is neither",
        ),
        ("allowed-networks = 10.0.0.0/8", "is not a list"),
    ] {
        let refused = refused(&format!("videobridge.exporter.{member}"));
        let key = format!(
            "jvb.conf:1: videobridge.exporter.{}",
            member.split(' ').next().unwrap()
        );
        assert!(
            refused.starts_with(&key) && refused.contains(reason),
            "{refused}"
        );
    }
    let warnings = warned("videobridge.redact-colibri-http-headers = false");
    assert!(
        warnings[0].contains("only true is implemented"),
        "{warnings:?}"
    );
}

#[test]
fn a_bridge_can_announce_the_version_of_those_that_it_joins() {
    let config =
        accepted("videobridge.version { as = 2.3-299-gabc, release = 42, announce = true }");
    assert_eq!(config.version, "2.3-299-gabc");
    assert_eq!(config.release.as_deref(), Some("42"));
    let announced = config.bridge.channel.announce_version;
    assert_eq!(announced.as_deref(), Some("2.3-299-gabc-42"));
    assert_eq!(accepted("").version, env!("CARGO_PKG_VERSION"));
    let error = refused("videobridge.version.as = \"two words\"");
    assert!(error.contains("videobridge.version.as"), "{error}");
}

#[test]
fn t61_a_token_and_networks_guard_the_control_api() {
    let config = accepted(
        "videobridge.apis.rest { enabled = true, token = correct-horse-battery, allowed-networks = [10.0.0.0/8, \"::1\"] }",
    );
    let token = causeway_colibri::rest::Token::new("correct-horse-battery".into());
    assert_eq!(config.rest.token, Some(token));
    assert_eq!(config.rest.allowed_networks.len(), 2);
    assert!(!format!("{config:?}").contains("correct-horse"));
    for token in ["short", "\"correct horse battery\"", "\"\""] {
        let refused = refused(&format!("videobridge.apis.rest.token = {token}"));
        assert!(
            refused.contains("apis.rest.token: must be 16 to 256"),
            "{refused}"
        );
        assert!(!refused.contains("horse"), "{refused}");
    }
    assert!(refused("videobridge.apis.rest.allowed-networks = [lan]").contains("`lan` is neither"));
}

#[test]
fn how_much_is_remembered_of_an_endpoint_can_be_set() {
    let timeline = |text: &str| accepted(text).bridge.timeline;
    let defaults = timeline("");
    assert_eq!(defaults.entries, 512);
    assert_eq!(defaults.max_age, Duration::from_secs(600));
    let set = timeline("videobridge.timeline { entries = 0, max-age = 1 hour }");
    assert_eq!(set.entries, 0);
    assert_eq!(set.max_age, Duration::from_secs(3_600));
    let error = refused("videobridge.timeline.entries = 100000");
    assert!(error.contains("100000 is not within"), "{error}");
}

#[test]
fn captures_are_off_and_bounded_unless_the_file_says_otherwise() {
    let defaults = accepted("").captures;
    assert!(!defaults.enabled);
    assert_eq!(defaults.directory, Path::new("/tmp"));
    assert_eq!(defaults.max_bytes, 256 << 20);
    assert_eq!(defaults.max_duration, Duration::from_secs(600));

    let set = accepted(
        "jmt.debug.pcap { enabled = true, directory = /var/captures, max-bytes = 10 MiB, max-duration = 1 minute }",
    )
    .captures;
    assert!(set.enabled);
    assert_eq!(set.directory, Path::new("/var/captures"));
    assert_eq!(set.max_bytes, 10 << 20);
    assert_eq!(set.max_duration, Duration::from_secs(60));
    let warnings = warned("jmt.debug.pcap { enabled = true, start-enabled = true }");
    assert!(
        matches!(&warnings[..], [one] if one.contains("one endpoint at a time")),
        "{warnings:?}"
    );
}

#[test]
fn choices_of_which_one_is_implemented_are_silent_with_it_and_warn_with_others() {
    for (key, implemented, other) in [
        (
            "videobridge.ice.keep-alive-strategy",
            "selected_only",
            "all_succeeded",
        ),
        (
            "videobridge.ice.nomination-strategy",
            "NominateFirstHostOrReflexiveValid",
            "NominateBestRTT",
        ),
        (
            "jmt.dtls.local-fingerprint-hash-function",
            "sha-256",
            "sha-512",
        ),
    ] {
        let text = |word: &str| format!("{key} = {word}");
        assert_eq!(warned(&text(implemented)), [""; 0]);
        let warned = warned(&text(other));
        assert_eq!(warned.len(), 1, "{warned:?}");
        assert!(warned[0].contains(implemented), "{warned:?}");
        assert!(refused(&text("nonsense")).contains("`nonsense` is not one of"));
    }
    assert!(
        accepted("videobridge.health.require-stun = true")
            .health
            .require_stun
    );
    let config = accepted("jmt.dtls.handshake-timeout = 10 seconds");
    let timeout = config.bridge.transport.handshake_timeout;
    assert_eq!(timeout, Duration::from_secs(10));
}
