//! Connections to XMPP servers, and the files that others generate (config spec cases 9 to 25).

use causeway_bridge::allocation::conference_size_limit;
use causeway_xmpp::Security;

use super::*;

/// The connections that `configs` gives, and the warnings.
fn connections(configs: &str) -> (Xmpp, Vec<String>) {
    let text = format!("videobridge.apis.xmpp-client.configs {{\n{configs}\n}}");
    let (config, warnings) = read(&text).unwrap_or_else(|error| panic!("{error}"));
    let warnings = warnings.iter().map(ToString::to_string).collect();
    (config.xmpp, warnings)
}

const SHARD: &str = "DOMAIN = auth.example.com, USERNAME = jvb, PASSWORD = secret, \
                     MUC_JIDS = \"jvbbrewery@internal.auth.example.com\"";

#[test]
fn config_case_9_rest_and_stats_case_17_presence_has_an_interval_of_its_own() {
    let config = accepted("videobridge.stats.interval = 2 seconds");
    assert_eq!(config.stats.interval, Duration::from_secs(2));
    assert_eq!(config.xmpp.presence_interval, Duration::from_secs(5));
    let config = accepted("videobridge.apis.xmpp-client.presence-interval = 2 seconds");
    assert_eq!(config.stats.interval, Duration::from_secs(5));
    assert_eq!(config.xmpp.presence_interval, Duration::from_secs(2));
}

#[test]
fn config_case_29_addresses_of_clients_are_hidden_unless_the_file_says_otherwise() {
    let hidden = |text: &str| accepted(text).bridge.net.redact_remote_addresses;
    assert!(hidden(""));
    assert!(!hidden("videobridge.redact-remote-addresses = false"));
}

#[test]
fn config_case_11_last_n_is_limited_from_the_largest_size_that_is_reached() {
    let config =
        accepted("videobridge.load-management.conference-last-n-limits { 20 = 20, 30 = 15 }");
    let allocation = &config.bridge.allocation;
    for (size, limit) in [(10, -1), (25, 20), (30, 15)] {
        assert_eq!(
            conference_size_limit(allocation, size),
            limit,
            "size {size}"
        );
    }
}

#[test]
fn config_case_16_a_complete_legacy_connection_replaces_those_of_the_file() {
    let file = format!(
        "videobridge.apis.xmpp-client.configs.shard {{ HOSTNAME = new.example.com, MUC_NICKNAME = new, {SHARD} }}"
    );
    let old = "org.jitsi.videobridge.xmpp.user.old.";
    let members = [
        "HOSTNAME=old.example.com",
        "USERNAME=jvb",
        "PASSWORD=secret",
        "MUC_JIDS=jvbbrewery@internal.auth.example.com",
        "MUC_NICKNAME=old",
    ]
    .map(|member| format!("{old}{member}"));
    let members = members.each_ref().map(String::as_str);
    let hosts = |members: &[&str]| -> Vec<(String, String)> {
        let (config, _) = with_properties(&file, members);
        let clients = config.xmpp.clients.into_iter();
        clients
            .map(|(id, client)| (id, client.account.host))
            .collect()
    };
    let legacy = [("old".to_owned(), "old.example.com".to_owned())];
    assert_eq!(hosts(&members), legacy);
    // Without its nickname it is incomplete.
    let new = [("shard".to_owned(), "new.example.com".to_owned())];
    assert_eq!(hosts(&members[..4]), new);
}

#[test]
fn config_case_18_incomplete_connections_are_skipped_and_others_are_not() {
    let (xmpp, warnings) = connections(&format!(
        "lower {{ hostname = a.example.com, muc_nickname = jvb1, domain = auth.example.com, username = jvb,
            password = secret, muc_jids = \"jvbbrewery@internal.auth.example.com\" }}
         nameless {{ HOSTNAME = b.example.com, {SHARD} }}
         odd {{ HOSTNAME = c.example.com, MUC_NICKNAME = jvb1, SECURITY_MODE = bogus, {SHARD} }}
         upper {{ HOSTNAME = d.example.com, MUC_NICKNAME = jvb1, {SHARD} }}"
    ));
    let ids: Vec<_> = xmpp.clients.keys().collect();
    assert_eq!(ids, ["lower", "upper"]);
    let lower = &xmpp.clients["lower"];
    assert_eq!(
        (&*lower.account.host, &*lower.nickname),
        ("a.example.com", "jvb1")
    );
    let [nameless, odd] = &warnings[..] else {
        panic!("{warnings:#?}")
    };
    assert!(
        nameless.contains("configs.nameless: muc-nickname is missing"),
        "{nameless}"
    );
    assert!(odd.contains("configs.odd: security-mode: `bogus`"), "{odd}");
}

/// What a server without TLS makes of it is tested where connections are made.
#[test]
fn config_case_19_encryption_is_required_except_on_this_machine() {
    for (host, mode, expected) in [
        ("localhost", "", Security::IfPossible),
        ("127.0.0.1", "", Security::IfPossible),
        ("\"::1\"", "", Security::IfPossible),
        ("xmpp.example.com", "", Security::Required),
        ("localhost", "SECURITY_MODE = required", Security::Required),
        (
            "xmpp.example.com",
            "SECURITY_MODE = disabled",
            Security::Disabled,
        ),
    ] {
        let (xmpp, warnings) = connections(&format!(
            "shard {{ HOSTNAME = {host}, MUC_NICKNAME = jvb1, {SHARD}\n{mode} }}"
        ));
        assert_eq!(warnings, [""; 0]);
        assert_eq!(
            xmpp.clients["shard"].account.security, expected,
            "{host} {mode}"
        );
    }
}

#[test]
fn config_case_20_a_port_may_be_a_string() {
    for (port, expected) in [("", 5222), ("PORT = 6222", 6222), ("PORT = \"6222\"", 6222)] {
        let (xmpp, _) = connections(&format!(
            "shard {{ HOSTNAME = a.example.com, MUC_NICKNAME = jvb1, {SHARD}\n{port} }}"
        ));
        assert_eq!(xmpp.clients["shard"].account.port, expected, "{port}");
    }
    let (xmpp, warnings) = connections(&format!(
        "shard {{ HOSTNAME = a.example.com, MUC_NICKNAME = jvb1, {SHARD}, PORT = many }}"
    ));
    assert!(xmpp.clients.is_empty());
    assert!(
        warnings[0].contains("port: `many` is not a port"),
        "{warnings:?}"
    );
}

/// What the package writes when it is installed for the first time, here and in Jitsi's own package.
#[test]
fn config_case_24_the_file_of_the_debian_package_is_understood() {
    let script = include_str!("../../../packaging/deb/maintainer/postinst");
    let (_, template) = script.split_once("jvb.conf <<CONF\n").unwrap();
    let (template, _) = template.split_once("\nCONF\n").unwrap();
    // It begins with digits and has what looks like an exponent.
    let nick = "7e10ab12-0e1f-4c1d-9a5e-1e5d00000042";
    let text = template
        .replace("$host", "meet.example.com")
        .replace("$secret", "s3cr3t")
        .replace("$nick", nick);
    assert!(!text.contains('$'), "{text}");
    let config = accepted(&text);
    let shard = &config.xmpp.clients["shard"];
    assert_eq!(shard.nickname, nick);
    assert_eq!(shard.rooms, ["jvbbrewery@internal.auth.meet.example.com"]);
    let account = &shard.account;
    assert_eq!((&*account.host, account.port), ("localhost", 5222));
    assert_eq!(account.domain, "auth.meet.example.com");
    assert_eq!((&*account.user, &*account.password), ("jvb", "s3cr3t"));
    assert_eq!(account.security, Security::IfPossible);
    assert!(!config.discovery.aws);
    assert_eq!(
        config.discovery.stun,
        ["meet-jit-si-turnrelay.jitsi.net:443"]
    );
}
