//! Property names of older releases that are still honoured (config spec §6).

use std::collections::BTreeMap;

use causeway_hocon::{Config, Error};

use super::Warning;

/// How the value of a legacy property becomes that of a key.
#[derive(Clone, Copy)]
enum As {
    /// As it is.
    Same,
    /// `true` means `false`.
    Inverted,
    /// A number of seconds.
    Seconds,
    /// A number of percent.
    Percent,
    /// `a;b;c` or `a,b,c`.
    List,
    /// Can only switch off.
    OnlyOff,
}

const BRIDGE: &str = "org.jitsi.videobridge.";
const ICE4J: &str = "org.ice4j.";

/// Name without its prefix, the key that it replaces, how.
const BRIDGE_NAMES: &[(&str, &str, As)] = &[
    (
        "SINGLE_PORT_HARVESTER_PORT",
        "videobridge.ice.udp.port",
        As::Same,
    ),
    ("ICE_UFRAG_PREFIX", "videobridge.ice.ufrag-prefix", As::Same),
    (
        "KEEP_ALIVE_STRATEGY",
        "videobridge.ice.keep-alive-strategy",
        As::Same,
    ),
    ("REGION", "videobridge.relay.region", As::Same),
    (
        "ENABLE_REST_COLIBRI",
        "videobridge.apis.rest.enabled",
        As::OnlyOff,
    ),
    (
        "ENABLE_REST_SHUTDOWN",
        "videobridge.rest.shutdown.enabled",
        As::Same,
    ),
    (
        "rest.COLIBRI_WS_DISABLE",
        "videobridge.websockets.enabled",
        As::Inverted,
    ),
    (
        "rest.COLIBRI_WS_DOMAIN",
        "videobridge.websockets.domain",
        As::Same,
    ),
    (
        "rest.COLIBRI_WS_TLS",
        "videobridge.websockets.tls",
        As::Same,
    ),
    (
        "rest.COLIBRI_WS_SERVER_ID",
        "videobridge.websockets.server-id",
        As::Same,
    ),
    (
        "rest.jetty.port",
        "videobridge.http-servers.public.port",
        As::Same,
    ),
    (
        "rest.jetty.host",
        "videobridge.http-servers.public.host",
        As::Same,
    ),
    (
        "rest.jetty.tls.port",
        "videobridge.http-servers.public.tls-port",
        As::Same,
    ),
    (
        "rest.private.jetty.port",
        "videobridge.http-servers.private.port",
        As::Same,
    ),
    (
        "rest.private.jetty.host",
        "videobridge.http-servers.private.host",
        As::Same,
    ),
    (
        "rest.private.jetty.tls.port",
        "videobridge.http-servers.private.tls-port",
        As::Same,
    ),
    ("health.INTERVAL", "videobridge.health.interval", As::Same),
    ("health.TIMEOUT", "videobridge.health.timeout", As::Same),
    (
        "health.STICKY_FAILURES",
        "videobridge.health.sticky-failures",
        As::Same,
    ),
    (
        "EndpointConnectionStatus.FIRST_TRANSFER_TIMEOUT",
        "videobridge.ep-connection-status.first-transfer-timeout",
        As::Same,
    ),
    (
        "EndpointConnectionStatus.MAX_INACTIVITY_LIMIT",
        "videobridge.ep-connection-status.max-inactivity-limit",
        As::Same,
    ),
    (
        "EXPIRE_CHECK_SLEEP_SEC",
        "videobridge.entity-expiration.check-interval",
        As::Seconds,
    ),
    (
        "BWE_CHANGE_THRESHOLD_PCT",
        "videobridge.cc.bwe-change-threshold",
        As::Percent,
    ),
    (
        "ONSTAGE_PREFERRED_HEIGHT",
        "videobridge.cc.onstage-preferred-height-px",
        As::Same,
    ),
    (
        "ONSTAGE_PREFERRED_FRAME_RATE",
        "videobridge.cc.onstage-preferred-framerate",
        As::Same,
    ),
    (
        "ENABLE_ONSTAGE_VIDEO_SUSPEND",
        "videobridge.cc.allow-oversend-onstage",
        As::Inverted,
    ),
    ("TRUST_BWE", "videobridge.cc.trust-bwe", As::Same),
    (
        "PADDING_PERIOD_MS",
        "videobridge.cc.padding-period",
        As::Same,
    ),
];

const ICE4J_NAMES: &[(&str, &str, As)] = &[
    (
        "ice.harvest.STUN_MAPPING_HARVESTER_ADDRESSES",
        "ice4j.harvest.mapping.stun.addresses",
        As::List,
    ),
    (
        "ice.harvest.DISABLE_AWS_HARVESTER",
        "ice4j.harvest.mapping.aws.enabled",
        As::Inverted,
    ),
    (
        "ice.harvest.ALLOWED_ADDRESSES",
        "ice4j.harvest.allowed-addresses",
        As::List,
    ),
    (
        "ice.harvest.BLOCKED_ADDRESSES",
        "ice4j.harvest.blocked-addresses",
        As::List,
    ),
    (
        "ice.harvest.ALLOWED_INTERFACES",
        "ice4j.harvest.allowed-interfaces",
        As::List,
    ),
    (
        "ice.harvest.BLOCKED_INTERFACES",
        "ice4j.harvest.blocked-interfaces",
        As::List,
    ),
    (
        "ice.harvest.DISABLE_LINK_LOCAL_ADDRESSES",
        "ice4j.harvest.use-link-local-addresses",
        As::Inverted,
    ),
    ("ipv6.DISABLED", "ice4j.harvest.use-ipv6", As::Inverted),
    (
        "ice.harvest.USE_DYNAMIC_HOST_HARVESTER",
        "ice4j.harvest.udp.use-dynamic-ports",
        As::Same,
    ),
    (
        "ice.harvest.AbstractUdpListener.SO_RCVBUF",
        "ice4j.harvest.udp.receive-buffer-size",
        As::Same,
    ),
    (
        "ice.harvest.HARVESTING_TIMEOUT",
        "ice4j.harvest.timeout",
        As::Seconds,
    ),
    (
        "ice.CONSENT_FRESHNESS_INTERVAL",
        "ice4j.consent-freshness.interval",
        As::Same,
    ),
    (
        "ice.CONSENT_FRESHNESS_WAIT_INTERVAL",
        "ice4j.consent-freshness.original-wait-interval",
        As::Same,
    ),
    (
        "ice.CONSENT_FRESHNESS_MAX_WAIT_INTERVAL",
        "ice4j.consent-freshness.max-wait-interval",
        As::Same,
    ),
    (
        "ice.CONSENT_FRESHNESS_MAX_RETRANSMISSIONS",
        "ice4j.consent-freshness.max-retransmissions",
        As::Same,
    ),
    ("SOFTWARE", "ice4j.software", As::Same),
    (
        "REDACT_REMOTE_ADDRESSES",
        "ice4j.redact-remote-addresses",
        As::Same,
    ),
];

/// Both are needed, and give one more static mapping.
pub(super) const NAT_LOCAL: &str = "org.ice4j.ice.harvest.NAT_HARVESTER_LOCAL_ADDRESS";
/// See [`NAT_LOCAL`].
pub(super) const NAT_PUBLIC: &str = "org.ice4j.ice.harvest.NAT_HARVESTER_PUBLIC_ADDRESS";

/// Names that old files have and nothing reads any more.
const WITHOUT_EFFECT: &[&str] = &[
    "TCP_HARVESTER_PORT",
    "TCP_HARVESTER_MAPPED_PORT",
    "TCP_HARVESTER_SSLTCP",
    "DISABLE_TCP_HARVESTER",
    "ENABLE_STATISTICS",
    "STATISTICS_TRANSPORT",
    "STATISTICS_INTERVAL",
    "octo.BIND_PORT",
    "AUTHORIZED_SOURCE_REGEXP",
];

const XMPP: &str = "xmpp.user.";
const XMPP_CONFIGS: &str = "videobridge.apis.xmpp-client.configs";
/// Members without which a connection is not complete.
const XMPP_REQUIRED: [&str; 5] = [
    "HOSTNAME",
    "USERNAME",
    "PASSWORD",
    "MUC_JIDS",
    "MUC_NICKNAME",
];

/// Puts the legacy properties (name → value and origin) on top of `config`.
pub(super) fn apply(
    mut config: Config,
    properties: &BTreeMap<String, (String, String)>,
    warnings: &mut Vec<Warning>,
) -> Result<Config, Error> {
    let mut xmpp: BTreeMap<&str, BTreeMap<String, (&str, &str)>> = BTreeMap::new();
    for (name, (value, origin)) in properties {
        if name == NAT_LOCAL || name == NAT_PUBLIC {
            config = Config::single(name, value, origin)?.with_fallback(config);
        } else if let Some(short) = name.strip_prefix(BRIDGE) {
            if let Some(member) = short.strip_prefix(XMPP) {
                let (id, member) = member.split_once('.').unwrap_or(("default", member));
                let members = xmpp.entry(id).or_default();
                members.insert(member.to_ascii_uppercase(), (value, origin));
            } else if let Some((_, key, how)) = BRIDGE_NAMES.iter().find(|(n, ..)| *n == short) {
                config = set(config, key, value, *how, origin)?;
            } else if WITHOUT_EFFECT.contains(&short) {
                let origin = causeway_hocon::Origin::new(origin, 0);
                warnings.push(Warning(Error::new(&origin, name, super::unused::REMOVED)));
            }
        } else if let Some(short) = name.strip_prefix(ICE4J)
            && let Some((_, key, how)) = ICE4J_NAMES.iter().find(|(n, ..)| *n == short)
        {
            config = set(config, key, value, *how, origin)?;
        }
    }
    xmpp.retain(|_, members| {
        XMPP_REQUIRED
            .iter()
            .all(|member| members.contains_key(*member))
    });
    if !xmpp.is_empty() {
        // One complete legacy connection replaces all those of the file.
        let none = Config::parse(
            &format!("{XMPP_CONFIGS} = null"),
            "",
            &causeway_hocon::no_includes,
        )?;
        config = none.with_fallback(config);
    }
    for (id, members) in xmpp {
        for (member, (value, origin)) in members {
            let path = format!("{XMPP_CONFIGS}.\"{id}\".{member}");
            config = Config::single(&path, value, origin)?.with_fallback(config);
        }
    }
    Ok(config)
}

fn set(config: Config, key: &str, value: &str, how: As, origin: &str) -> Result<Config, Error> {
    let value = value.trim();
    let truth = value.eq_ignore_ascii_case("true");
    let text = match how {
        As::Same => value.to_owned(),
        As::Inverted => (!truth).to_string(),
        As::OnlyOff if truth => return Ok(config),
        As::OnlyOff => "false".to_owned(),
        As::Seconds => format!("{value} s"),
        As::Percent => format!("{value} %"),
        As::List => {
            let items = value
                .split([';', ','])
                .map(str::trim)
                .filter(|item| !item.is_empty());
            // The list of the file must not shine through.
            let none = Config::parse(&format!("{key} = null"), "", &causeway_hocon::no_includes)?;
            return items.enumerate().try_fold(
                none.with_fallback(config),
                |config, (index, item)| {
                    Ok(Config::single(&format!("{key}.{index}"), item, origin)?
                        .with_fallback(config))
                },
            );
        }
    };
    Ok(Config::single(key, &text, origin)?.with_fallback(config))
}
