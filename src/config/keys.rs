//! Which key sets what.

use std::net::IpAddr;
use std::time::Duration;

use causeway_bridge::config::{
    AllocationConfig, AudioConfig, EstimatorConfig, IceConfig, LivenessConfig, PacingConfig,
    RedPolicy, TransportConfig,
};
use causeway_bridge::limits::MAX_TIMELINE_ENTRIES;
use causeway_bridge::srtp::Profile;
use causeway_colibri::rest::Token;
use causeway_hocon::{Error, Settings, Value};
use tokio_rustls::rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use super::reader::{Reader, address, addresses, networks, number, period, positive, rate, text};
use crate::capture::CaptureOptions;
use crate::export::ExportOptions;
use crate::tls::{self, Tls, TlsOptions};

use super::{
    AddressFilter, ConfigError, DaemonConfig, Discovery, HttpServer, Loaded, Websockets, Xmpp,
    legacy, load, unused, xmpp,
};

/// Slots and list lengths that one receiver may be given.
const MAX_SLOTS: i64 = 1_000;
/// Pixels; beyond any screen.
const MAX_HEIGHT: i64 = 100_000;
/// Length of a ufrag prefix; with what follows it a ufrag has at most 256 characters (RFC 8839).
const MAX_UFRAG_PREFIX: usize = 64;
/// Where servers with a key store listen.
const TLS_PORT: i32 = 8_443;

pub(super) fn read(settings: &Settings) -> Result<Loaded, ConfigError> {
    let mut reader = Reader::new(settings);
    let r = &mut reader;
    let mut config = DaemonConfig::default();
    let bridge = &mut config.bridge;

    r.set(
        "videobridge.ice.udp.port",
        &mut bridge.net.port,
        number(1, 65_535),
    );
    let buffer = number(1, 1 << 30);
    r.set(
        "ice4j.harvest.udp.receive-buffer-size",
        &mut bridge.net.receive_buffer,
        buffer,
    );
    ice(r, &mut bridge.ice);
    transport(r, &mut bridge.transport);
    estimator(r, &mut bridge.estimator);
    pacing(r, &mut bridge.pacing);
    allocation(r, &mut bridge.allocation);
    audio(r, &mut bridge.audio);
    liveness(r, &mut bridge.liveness);
    harvest(r, &mut config.addresses);
    discovery(r, &mut config.discovery);

    config.private_http = http_server(r, "private", config.private_http);
    config.public_http = http_server(r, "public", config.public_http);
    websockets(r, &mut config.websockets);
    // Presence has a default of its own: what the interval of statistics is in the reference configuration.
    xmpp::read(r, &mut config.xmpp, Xmpp::default().presence_interval);
    daemon(r, &mut config);
    channel(r, &mut config);
    exports(r, &mut config.exports);
    captures(r, &mut config.captures);

    load::read(r, &mut config.load);

    unused::check(r);
    if reader.errors.is_empty() {
        Ok(Loaded {
            config,
            warnings: reader.warnings,
            effective: reader.effective,
        })
    } else {
        Err(ConfigError(reader.errors))
    }
}

fn ice(r: &mut Reader<'_>, ice: &mut IceConfig) {
    r.set(
        "videobridge.ice.ufrag-prefix",
        &mut ice.ufrag_prefix,
        |value, key| {
            let prefix = text(value, key)?;
            let valid = prefix
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/'));
            if valid && prefix.len() <= MAX_UFRAG_PREFIX {
                Ok(prefix)
            } else {
                let reason =
                    format!("must be at most {MAX_UFRAG_PREFIX} letters, digits, `+` and `/`");
                Err(value.error(key, reason))
            }
        },
    );
    r.set(
        "videobridge.ice.advertise-private-candidates",
        &mut ice.advertise_private,
        Value::to_bool,
    );
    r.fixed("videobridge.ice.resolve-remote-candidates", false);
    let keep_alive = "videobridge.ice.keep-alive-strategy";
    r.only(keep_alive, "selected_only", &["all_succeeded"]);
    r.only(
        "videobridge.ice.nomination-strategy",
        "NominateFirstHostOrReflexiveValid",
        &[
            "NominateFirstValid",
            "NominateHighestPriority",
            "NominateBestRTT",
        ],
    );
    r.set(
        "videobridge.ice.restart.enabled",
        &mut ice.restart_enabled,
        Value::to_bool,
    );
    let transition = "videobridge.ice.restart.transition-window";
    r.set(transition, &mut ice.restart_transition, Value::to_duration);
    let timeout = r.get(
        "videobridge.ice.restart.timeout",
        |value, key| match value.to_text(key)? {
            // A negative one is another way to say zero here.
            text if text.trim_start().starts_with('-') => Ok(Duration::ZERO),
            _ => value.to_duration(key),
        },
    );
    match timeout {
        Some(Duration::ZERO) => ice.restart_enabled = false,
        Some(timeout) => ice.restart_timeout = timeout,
        None => {}
    }
    r.set(
        "ice4j.consent-freshness.interval",
        &mut ice.consent_interval,
        period,
    );
    r.set(
        "ice4j.consent-freshness.original-wait-interval",
        &mut ice.consent_retry,
        period,
    );
    r.set(
        "ice4j.consent-freshness.max-retransmissions",
        &mut ice.consent_retries,
        number(0, 1_000),
    );
    r.fixed("ice4j.consent-freshness.randomize-interval", true);
    r.set(
        "ice4j.harvest.mapping.static-mappings",
        &mut ice.mappings,
        mappings,
    );
    let [local, public] = [legacy::NAT_LOCAL, legacy::NAT_PUBLIC].map(|key| r.get(key, address));
    if let (Some(local), Some(public)) = (local, public) {
        if local.is_ipv4() == public.is_ipv4() {
            ice.mappings.push((local, public, None));
        } else {
            r.error(legacy::NAT_PUBLIC, "mixes IPv4 and IPv6 addresses");
        }
    }
}

/// Local address, public address, public port.
type Mapping = (IpAddr, IpAddr, Option<u16>);

fn mappings(value: &Value, key: &str) -> Result<Vec<Mapping>, Error> {
    let items = value.to_list(key)?.into_iter().enumerate();
    items
        .map(|(index, item)| mapping(item, &format!("{key}[{index}]")))
        .collect()
}

fn mapping(item: &Value, key: &str) -> Result<Mapping, Error> {
    let Some(fields) = item.as_object() else {
        return Err(item.error(
            key,
            "must be an object with local-address and public-address",
        ));
    };
    let (mut local, mut public, mut local_port, mut public_port) = (None, None, None, None);
    for (name, value) in fields {
        let key = format!("{key}.{name}");
        match name.as_str() {
            "local-address" => local = Some(address(value, &key)?),
            "public-address" => public = Some(address(value, &key)?),
            "local-port" => local_port = Some(number::<u16>(1, 65_535)(value, &key)?),
            "public-port" => public_port = Some(number::<u16>(1, 65_535)(value, &key)?),
            "name" => {}
            _ => return Err(value.error(&key, "is not a member of a static mapping")),
        }
    }
    if local_port.is_some() != public_port.is_some() {
        return Err(item.error(
            key,
            "needs both local-port and public-port, or none of them",
        ));
    }
    match (local, public) {
        (Some(local), Some(public)) if local.is_ipv4() == public.is_ipv4() => {
            Ok((local, public, public_port))
        }
        (Some(_), Some(_)) => Err(item.error(key, "mixes IPv4 and IPv6 addresses")),
        _ => Err(item.error(key, "needs local-address and public-address")),
    }
}

fn harvest(r: &mut Reader<'_>, filter: &mut AddressFilter) {
    r.set("ice4j.harvest.use-ipv6", &mut filter.ipv6, Value::to_bool);
    r.set(
        "ice4j.harvest.use-link-local-addresses",
        &mut filter.link_local,
        Value::to_bool,
    );
    r.set(
        "ice4j.harvest.allowed-addresses",
        &mut filter.allowed_addresses,
        addresses,
    );
    r.set(
        "ice4j.harvest.blocked-addresses",
        &mut filter.blocked_addresses,
        addresses,
    );
    r.set(
        "ice4j.harvest.allowed-interfaces",
        &mut filter.allowed_interfaces,
        Value::to_texts,
    );
    r.set(
        "ice4j.harvest.blocked-interfaces",
        &mut filter.blocked_interfaces,
        Value::to_texts,
    );
    r.fixed("ice4j.harvest.udp.use-dynamic-ports", false);
}

fn discovery(r: &mut Reader<'_>, discovery: &mut Discovery) {
    let servers = |value: &Value, key: &str| {
        let servers = value.to_texts(key)?;
        let named = |server: &String| {
            let parts = server.rsplit_once(':');
            parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        match servers.iter().find(|server| !named(server)) {
            Some(server) => Err(value.error(key, format!("`{server}` is not host:port"))),
            None => Ok(servers),
        }
    };
    let stun = &mut discovery.stun;
    r.set("ice4j.harvest.mapping.stun.addresses", stun, servers);
    let aws = &mut discovery.aws;
    r.set("ice4j.harvest.mapping.aws.enabled", aws, Value::to_bool);
    let force = &mut discovery.force_aws;
    r.set("ice4j.harvest.mapping.aws.force", force, Value::to_bool);
}

fn transport(r: &mut Reader<'_>, transport: &mut TransportConfig) {
    r.set(
        "videobridge.sctp.enabled",
        &mut transport.sctp,
        Value::to_bool,
    );
    r.fixed("videobridge.cryptex.endpoint", false);
    r.fixed("videobridge.cryptex.relay", false);

    let key = "jmt.srtp.protection-profiles";
    if let Some(names) = r.get(key, Value::to_texts) {
        let mut profiles = Vec::new();
        for name in names {
            match name.as_str() {
                "SRTP_AEAD_AES_128_GCM" => profiles.push(Profile::AeadAes128Gcm),
                "SRTP_AES128_CM_HMAC_SHA1_80" => profiles.push(Profile::Aes128CmSha1_80),
                "SRTP_AEAD_AES_256_GCM" | "SRTP_AES128_CM_HMAC_SHA1_32" => {
                    r.warn(key, format!("{name} is not implemented and left out"));
                }
                _ => r.error(key, format!("`{name}` is not an SRTP protection profile")),
            }
        }
        if profiles.is_empty() {
            r.error(
                key,
                "needs SRTP_AEAD_AES_128_GCM or SRTP_AES128_CM_HMAC_SHA1_80",
            );
        } else {
            transport.srtp_profiles = profiles;
        }
    }
    let key = "jmt.dtls.cipher-suites";
    if let Some(names) = r.get(key, Value::to_texts) {
        for name in names {
            if !is_cipher_suite(&name) {
                r.error(key, format!("`{name}` is not a cipher suite"));
            }
        }
        r.warn(key, unused::LATER);
    }
    r.set(
        "jmt.dtls.handshake-timeout",
        &mut transport.handshake_timeout,
        period,
    );
    r.only(
        "jmt.dtls.local-fingerprint-hash-function",
        "sha-256",
        &["sha-1", "sha-384", "sha-512"],
    );
    let key = "jmt.dtls.accepted-fingerprint-hash-functions";
    if let Some(names) = r.get(key, Value::to_texts) {
        for name in names {
            match name.as_str() {
                "sha-1" => transport.accept_sha1_fingerprints = true,
                "sha-256" | "sha-384" | "sha-512" => {}
                _ => r.error(
                    key,
                    format!("`{name}` is not sha-1, sha-256, sha-384 or sha-512"),
                ),
            }
        }
    }
}

/// Whether a name is made as those of the cipher suites of TLS 1.2 are: `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`.
fn is_cipher_suite(name: &str) -> bool {
    const KEYS: [&str; 10] = [
        "ECDHE", "ECDH", "DHE", "DH", "ECDSA", "RSA", "DSS", "PSK", "anon", "NULL",
    ];
    const CIPHERS: [&str; 6] = ["AES_", "CHACHA20_", "CAMELLIA_", "ARIA_", "3DES_", "NULL_"];
    const ENDS: [&str; 5] = ["_SHA", "_SHA256", "_SHA384", "_CCM", "_CCM_8"];
    let parts = name
        .strip_prefix("TLS_")
        .and_then(|it| it.split_once("_WITH_"));
    parts.is_some_and(|(keys, cipher)| {
        keys.split('_').all(|word| KEYS.contains(&word))
            && CIPHERS.iter().any(|begin| cipher.starts_with(begin))
            && ENDS.iter().any(|end| cipher.ends_with(end))
    })
}

fn estimator(r: &mut Reader<'_>, estimator: &mut EstimatorConfig) {
    r.get("jmt.bwe.estimator.engine", |value, key| {
        match value.to_text(key)? {
            "GoogleCc" | "GoogleCc2" => Ok(()),
            other => Err(value.error(key, format!("`{other}` is not GoogleCc or GoogleCc2"))),
        }
    });
    r.set("jmt.bwe.estimator.initial-bw", &mut estimator.initial, rate);
    r.set("jmt.bwe.estimator.min-bw", &mut estimator.min, rate);
    r.set("jmt.bwe.estimator.max-bw", &mut estimator.max, rate);
    // Old names win.
    r.set_old("jmt.bwe.google-cc.min-bw", &mut estimator.min, rate);
    r.set_old("jmt.bwe.google-cc.max-bw", &mut estimator.max, rate);
    if estimator.min > estimator.max {
        for key in ["jmt.bwe.estimator.min-bw", "jmt.bwe.estimator.max-bw"] {
            r.error(key, "the minimum is above the maximum");
        }
        for key in ["jmt.bwe.google-cc.min-bw", "jmt.bwe.google-cc.max-bw"] {
            r.error(key, "the minimum is above the maximum");
        }
    } else {
        estimator.initial = estimator.initial.clamp(estimator.min, estimator.max);
    }
}

/// Of Causeway only: the Java bridge does not pace.
fn pacing(r: &mut Reader<'_>, pacing: &mut PacingConfig) {
    r.set(
        "videobridge.cc.pacing.factor",
        &mut pacing.factor,
        |value, key| match value.to_f64(key)? {
            0.0 => Ok(0.0),
            factor if (1.0..=100.0).contains(&factor) => Ok(factor),
            _ => Err(value.error(key, "must be 0, or 1 to 100")),
        },
    );
    r.set("videobridge.cc.pacing.burst", &mut pacing.burst, period);
}

fn allocation(r: &mut Reader<'_>, allocation: &mut AllocationConfig) {
    let threshold = &mut allocation.estimate_change_threshold;
    r.set(
        "videobridge.cc.bwe-change-threshold",
        threshold,
        positive(1.0),
    );
    r.set_old(
        "videobridge.cc.bwe-change-threshold-pct",
        threshold,
        |value, key| positive(100.0)(value, key).map(|percent| percent / 100.0),
    );
    let height = || number::<i32>(0, MAX_HEIGHT);
    r.set(
        "videobridge.cc.default-max-height-px",
        &mut allocation.default_max_height,
        height(),
    );
    r.set(
        "videobridge.cc.initial-max-height-px",
        &mut allocation.initial_max_height,
        height(),
    );
    if let Some(old) = r.get("videobridge.cc.thumbnail-max-height-px", height()) {
        allocation.default_max_height = old;
        allocation.initial_max_height = old;
    }
    let preferred = &mut allocation.onstage_preferred_height;
    r.set(
        "videobridge.cc.onstage-preferred-height-px",
        preferred,
        height(),
    );
    let preferred = &mut allocation.onstage_preferred_framerate;
    r.set(
        "videobridge.cc.onstage-preferred-framerate",
        preferred,
        positive(1_000.0),
    );
    let oversend = &mut allocation.allow_oversend_onstage;
    r.set(
        "videobridge.cc.allow-oversend-onstage",
        oversend,
        Value::to_bool,
    );
    r.set_old(
        "videobridge.cc.enable-onstage-video-suspend",
        oversend,
        |value, key| value.to_bool(key).map(|suspend| !suspend),
    );
    r.set(
        "videobridge.cc.max-oversend-bitrate",
        &mut allocation.max_oversend,
        rate,
    );
    r.set(
        "videobridge.cc.trust-bwe",
        &mut allocation.trust_estimate,
        Value::to_bool,
    );
    let longest = &mut allocation.max_time_between_runs;
    r.set(
        "videobridge.cc.max-time-between-calculations",
        longest,
        period,
    );
    r.set(
        "videobridge.cc.jvb-last-n",
        &mut allocation.last_n,
        number(-1, i64::from(i32::MAX)),
    );
    r.set(
        "videobridge.cc.initial-last-n",
        &mut allocation.initial_last_n,
        number(-1, i64::from(i32::MAX)),
    );
    let limit = r.get("videobridge.cc.assumed-bandwidth-limit", rate);
    allocation.assumed_bandwidth_limit = limit.or(allocation.assumed_bandwidth_limit);
    r.set(
        "videobridge.ssrc-limit.video",
        &mut allocation.video_slots,
        number(1, MAX_SLOTS),
    );
    r.set(
        "videobridge.ssrc-limit.audio",
        &mut allocation.audio_slots,
        number(1, MAX_SLOTS),
    );
    let limits = "videobridge.load-management.conference-last-n-limits";
    r.set(
        limits,
        &mut allocation.conference_last_n_limits,
        last_n_limits,
    );
    r.fixed("videobridge.cc.use-vla-target-bitrate", false);
}

fn last_n_limits(value: &Value, key: &str) -> Result<Vec<(usize, i32)>, Error> {
    let Some(fields) = value.as_object() else {
        return Err(value.error(key, "must be an object like { 20 = 20, 30 = 15 }"));
    };
    let mut limits = Vec::new();
    for (size, limit) in fields {
        let key = format!("{key}.{size}");
        let size = size
            .parse::<usize>()
            .map_err(|_| limit.error(&key, "the key must be a conference size"))?;
        limits.push((size, number(-1, i64::from(i32::MAX))(limit, &key)?));
    }
    limits.sort_unstable();
    Ok(limits)
}

fn audio(r: &mut Reader<'_>, audio: &mut AudioConfig) {
    r.set(
        "jmt.audio.level.discard-silence",
        &mut audio.discard_silence,
        Value::to_bool,
    );
    let forwarded = &mut audio.forwarded_silence;
    r.set(
        "jmt.audio.level.forwarded-silence-packets-limit",
        forwarded,
        number(0, 1_000_000),
    );
    let red = &mut audio.red;
    r.set(
        "jmt.audio.red.policy",
        &mut red.policy,
        |value, key| match value.to_text(key)?.to_ascii_uppercase().as_str() {
            "NOOP" => Ok(RedPolicy::Noop),
            "STRIP" => Ok(RedPolicy::Strip),
            "PROTECT_ALL" => Ok(RedPolicy::ProtectAll),
            _ => Err(value.error(key, "use NOOP, STRIP or PROTECT_ALL")),
        },
    );
    r.set(
        "jmt.audio.red.distance",
        &mut red.two_packets,
        |value, key| match value.to_text(key)?.to_ascii_uppercase().as_str() {
            "ONE" => Ok(false),
            "TWO" => Ok(true),
            _ => Err(value.error(key, "use ONE or TWO")),
        },
    );
    r.set("jmt.audio.red.vad-only", &mut red.vad_only, Value::to_bool);
    r.set(
        "videobridge.loudest.route-loudest-only",
        &mut audio.route_loudest_only,
        Value::to_bool,
    );
    r.set(
        "videobridge.loudest.num-loudest",
        &mut audio.num_loudest,
        number(1, MAX_SLOTS),
    );
    r.set(
        "videobridge.loudest.always-route-dominant",
        &mut audio.always_route_dominant,
        Value::to_bool,
    );
    r.set(
        "videobridge.loudest.energy-expire-time",
        &mut audio.energy_expire,
        Value::to_duration,
    );
    r.set(
        "videobridge.loudest.energy-alpha-pct",
        &mut audio.energy_alpha_pct,
        number(0, 100),
    );
    let recent = &mut audio.recent_speakers;
    r.set(
        "videobridge.speech-activity.recent-speakers-count",
        recent,
        number(0, MAX_SLOTS),
    );
    let silence = "videobridge.speech-activity.enable-silence-detection";
    r.set(silence, &mut audio.silence_detection, Value::to_bool);
    r.set(
        "videobridge.speech-activity.silence-detection-timeout",
        &mut audio.silence_timeout,
        period,
    );
}

fn liveness(r: &mut Reader<'_>, liveness: &mut LivenessConfig) {
    let first = &mut liveness.first_transfer_timeout;
    r.set(
        "videobridge.ep-connection-status.first-transfer-timeout",
        first,
        period,
    );
    r.set(
        "videobridge.ep-connection-status.max-inactivity-limit",
        &mut liveness.max_inactivity,
        period,
    );
    r.set(
        "videobridge.ep-connection-status.check-interval",
        &mut liveness.check_interval,
        period,
    );
    r.set(
        "videobridge.entity-expiration.timeout",
        &mut liveness.expiry_timeout,
        period,
    );
    r.set(
        "videobridge.entity-expiration.check-interval",
        &mut liveness.expiry_interval,
        period,
    );
}

fn http_server(r: &mut Reader<'_>, name: &str, default: Option<HttpServer>) -> Option<HttpServer> {
    let (host, port) = default.map_or((None, -1), |server| (server.host, i32::from(server.port)));
    let key = |member: &str| format!("videobridge.http-servers.{name}.{member}");
    let host = r.get(&key("host"), text).or(host);
    let clear_port = r.get(&key("port"), number(-1, 65_535)).unwrap_or(port);
    let tls_port = r.get(&key("tls-port"), number(-1, 65_535));
    let trusted_proxies = r.get(&key("trusted-proxies"), networks).unwrap_or_default();
    let key_store = r.get(&key("key-store-path"), text);
    let password = r.get(&key("key-store-password"), text);
    let versions = r.get(&key("tls-protocols"), tls_versions);
    let suites = tls_suites(r, &key("tls-cipher-suites"));
    r.known.insert(key("send-server-version"));
    // With a key store the clear-text port stays closed, whatever else is set.
    let (port, port_key) = match key_store {
        Some(_) => (tls_port.unwrap_or(TLS_PORT), key("tls-port")),
        None => (clear_port, key("port")),
    };
    let port = u16::try_from(port).ok().filter(|&port| port != 0);
    let tls = key_store.and_then(|path| {
        if port.is_none() {
            let reason = format!("has no effect, as {port_key} switches the server off");
            r.warn(&key("key-store-path"), reason);
            return None;
        }
        if r.get(&key("need-client-auth"), Value::to_bool) == Some(true) {
            let reason = "certificates of clients are not implemented; remove the key and let a reverse proxy ask for them";
            r.error(&key("need-client-auth"), reason);
        }
        let default = TlsOptions::new(path);
        let options = TlsOptions {
            password,
            versions: versions.unwrap_or(default.versions),
            suites: suites.unwrap_or(default.suites),
            path: default.path,
        };
        Tls::load(options)
            .map_err(|reason| r.error(&key("key-store-path"), reason))
            .ok()
    });
    port.map(|port| HttpServer {
        host,
        port,
        tls,
        trusted_proxies,
    })
}

/// Versions of TLS; those that are too old to be spoken can only be left out.
fn tls_versions(value: &Value, key: &str) -> Result<Vec<&'static SupportedProtocolVersion>, Error> {
    let names = value.to_texts(key)?;
    let versions: Vec<_> = tls::VERSIONS
        .into_iter()
        .filter(|(name, _)| names.iter().any(|wanted| wanted == name))
        .map(|(_, version)| version)
        .collect();
    if versions.is_empty() {
        return Err(value.error(key, "needs TLSv1.2 or TLSv1.3"));
    }
    Ok(versions)
}

/// The cipher suites that a list of names leaves. It chooses among those of the versions that it names any of: a list from the
/// times of TLS 1.2 does not switch TLS 1.3 off, which `tls-protocols` does.
fn tls_suites(r: &mut Reader<'_>, key: &str) -> Option<Vec<SupportedCipherSuite>> {
    let names = r.get(key, Value::to_texts)?;
    let (mut old, mut new) = (Vec::new(), Vec::new());
    let mut spoken = Vec::new();
    for (name, suite) in tls::suites() {
        let of_version = match suite.tls13() {
            Some(_) => &mut new,
            None => &mut old,
        };
        of_version.push((names.contains(&name), suite));
        spoken.push(name);
    }
    let others = names.iter().filter(|name| !spoken.contains(name));
    let others: Vec<&str> = others.map(String::as_str).collect();
    if others.len() == names.len() {
        r.error(key, "names no cipher suite that is spoken here");
        return None;
    }
    if !others.is_empty() {
        r.warn(key, format!("not spoken here: {}", others.join(", ")));
    }
    let chosen = [new, old].into_iter().flat_map(|suites| {
        let any = suites.iter().any(|(named, _)| *named);
        let chosen = suites.into_iter().filter(move |(named, _)| *named || !any);
        chosen.map(|(_, suite)| suite)
    });
    Some(chosen.collect())
}

fn websockets(r: &mut Reader<'_>, websockets: &mut Websockets) {
    r.set(
        "videobridge.websockets.enabled",
        &mut websockets.enabled,
        Value::to_bool,
    );
    r.set(
        "videobridge.websockets.server-id",
        &mut websockets.server_id,
        |value, key| {
            let id = text(value, key)?;
            if !id.is_empty()
                && id
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c))
            {
                Ok(id)
            } else {
                Err(value.error(
                    key,
                    "must be letters, digits and `-._~`, as it is part of a URL",
                ))
            }
        },
    );
    r.set(
        "videobridge.websockets.domains",
        &mut websockets.domains,
        Value::to_texts,
    );
    if let Some(domain) = r.get("videobridge.websockets.domain", text)
        && !websockets.domains.contains(&domain)
    {
        websockets.domains.insert(0, domain);
    }
    websockets.tls = r.get("videobridge.websockets.tls", Value::to_bool);
    r.set(
        "videobridge.websockets.enable-compression",
        &mut websockets.compression,
        Value::to_bool,
    );
    let interval = r.get("videobridge.websockets.keepalive-ping-interval", period);
    websockets.ping_interval = interval.or(websockets.ping_interval);
    if r.get(
        "videobridge.websockets.send-keepalive-pings",
        Value::to_bool,
    ) == Some(false)
    {
        websockets.ping_interval = None;
    }
    r.set(
        "videobridge.websockets.idle-timeout",
        &mut websockets.idle_timeout,
        period,
    );
}

fn daemon(r: &mut Reader<'_>, config: &mut DaemonConfig) {
    let rest = &mut config.rest;
    for (key, target) in [
        ("videobridge.apis.rest.enabled", &mut rest.colibri),
        ("videobridge.rest.debug.enabled", &mut rest.debug),
        ("videobridge.rest.drain.enabled", &mut rest.drain),
        ("videobridge.rest.health.enabled", &mut rest.health),
        ("videobridge.rest.prometheus.enabled", &mut rest.prometheus),
        ("videobridge.rest.rtcstats.enabled", &mut rest.rtcstats),
        ("videobridge.rest.shutdown.enabled", &mut rest.shutdown),
        ("videobridge.rest.version.enabled", &mut rest.version),
        (
            "videobridge.initial-drain-mode",
            &mut config.initial_drain_mode,
        ),
        (
            "videobridge.redact-remote-addresses",
            &mut config.bridge.net.redact_remote_addresses,
        ),
        (
            "videobridge.health.require-valid-address",
            &mut config.health.require_valid_address,
        ),
        (
            "videobridge.health.require-stun",
            &mut config.health.require_stun,
        ),
    ] {
        r.set(key, target, Value::to_bool);
    }
    config.rest.token = r.get("videobridge.apis.rest.token", token);
    r.set(
        "videobridge.apis.rest.allowed-networks",
        &mut config.rest.allowed_networks,
        networks,
    );
    r.set(
        "videobridge.health.interval",
        &mut config.health.interval,
        period,
    );
    r.set(
        "videobridge.health.timeout",
        &mut config.health.timeout,
        period,
    );
    r.set(
        "videobridge.health.max-check-duration",
        &mut config.health.max_check_duration,
        period,
    );
    if config.health.timeout <= config.health.interval {
        for key in ["videobridge.health.interval", "videobridge.health.timeout"] {
            r.error(key, "health.timeout must be longer than health.interval");
        }
    }
    let longest = &mut config.shutdown.graceful_max_duration;
    r.set(
        "videobridge.shutdown.graceful-shutdown-max-duration",
        longest,
        Value::to_duration,
    );
    let least = &mut config.shutdown.graceful_min_participants;
    r.set(
        "videobridge.shutdown.graceful-shutdown-min-participants",
        least,
        number(0, i64::from(i32::MAX)),
    );
    r.set(
        "videobridge.shutdown.shutting-down-delay",
        &mut config.shutdown.delay,
        Value::to_duration,
    );
    r.set(
        "videobridge.stats.interval",
        &mut config.stats.interval,
        period,
    );
    r.set("videobridge.version.as", &mut config.version, version);
    config.release = r.get("videobridge.version.release", text);
}

/// A secret that fits into a header and is not guessed.
fn token(value: &Value, key: &str) -> Result<Token, Error> {
    let secret = text(value, key)?;
    let plain = |letter: char| letter.is_ascii_graphic();
    if !(16..=256).contains(&secret.len()) || !secret.chars().all(plain) {
        return Err(value.error(key, "must be 16 to 256 ASCII characters without spaces"));
    }
    Ok(Token::new(secret))
}

/// What others compare letter by letter, and show.
fn version(value: &Value, key: &str) -> Result<String, Error> {
    let version = text(value, key)?;
    let plain = |letter: char| letter.is_ascii_graphic();
    if version.is_empty() || version.len() > 64 || !version.chars().all(plain) {
        return Err(value.error(key, "must be 1 to 64 ASCII characters without spaces"));
    }
    Ok(version)
}

fn exports(r: &mut Reader<'_>, exports: &mut ExportOptions) {
    let session = &mut exports.session;
    let attempts = "videobridge.exporter.max-reconnect-attempts";
    session.max_attempts = r.get(attempts, number(0, i64::from(u32::MAX)));
    r.set(
        "videobridge.exporter.base-delay",
        &mut session.base_delay,
        period,
    );
    r.set(
        "videobridge.exporter.max-delay",
        &mut session.max_delay,
        period,
    );
    r.set(
        "videobridge.exporter.stable-connection-threshold",
        &mut session.stable,
        Value::to_duration,
    );
    r.set(
        "videobridge.exporter.allowed-networks",
        &mut exports.allowed_networks,
        networks,
    );
    // Values of headers are never logged.
    r.fixed("videobridge.redact-colibri-http-headers", true);
}

fn captures(r: &mut Reader<'_>, captures: &mut CaptureOptions) {
    r.set(
        "jmt.debug.pcap.enabled",
        &mut captures.enabled,
        Value::to_bool,
    );
    r.set(
        "jmt.debug.pcap.directory",
        &mut captures.directory,
        |value, key| text(value, key).map(Into::into),
    );
    r.set(
        "jmt.debug.pcap.max-bytes",
        &mut captures.max_bytes,
        Value::to_bytes,
    );
    r.set(
        "jmt.debug.pcap.max-duration",
        &mut captures.max_duration,
        period,
    );
}

fn channel(r: &mut Reader<'_>, config: &mut DaemonConfig) {
    let bridge = &mut config.bridge;
    let channel = &mut bridge.channel;
    r.set(
        "videobridge.connection-stats.enabled",
        &mut channel.connection_stats,
        Value::to_bool,
    );
    r.set(
        "videobridge.connection-stats.interval",
        &mut channel.connection_stats_interval,
        period,
    );
    let timeline = &mut bridge.timeline;
    let most = i64::try_from(MAX_TIMELINE_ENTRIES).unwrap_or(i64::MAX);
    r.set(
        "videobridge.timeline.entries",
        &mut timeline.entries,
        number(0, most),
    );
    r.set(
        "videobridge.timeline.max-age",
        &mut timeline.max_age,
        period,
    );
    let threshold = &mut channel.stats_filter_threshold;
    r.set(
        "videobridge.stats-filter-threshold",
        threshold,
        number(0, i64::from(i32::MAX)),
    );
    if r.get("videobridge.version.announce", Value::to_bool) == Some(true) {
        let version = &config.version;
        channel.announce_version = Some(match &config.release {
            Some(release) => format!("{version}-{release}"),
            None => version.clone(),
        });
    }
}
