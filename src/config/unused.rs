//! Warnings about keys that nothing reads.

use super::Warning;
use super::reader::Reader;

pub(super) const REMOVED: &str = "has no effect any more and can be removed";
const JAVA: &str = "belongs to the Java implementation and has no effect";
const NOT_STICKY: &str = "has no effect, as in Jitsi Videobridge: the next check that passes makes the bridge healthy again";
const ALWAYS: &str = "has no effect: it is always on";
const NOT_ALL: &str = "has no effect: captures are switched on for one endpoint at a time";
pub(super) const LATER: &str = "is not implemented in this version and has no effect";

/// Keys and groups of keys that are known and have no effect. One warning for each.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("videobridge.sctp.use-usrsctp", REMOVED),
    ("videobridge.ice.tcp", REMOVED),
    ("videobridge.stats.enabled", REMOVED),
    ("videobridge.stats.transports", REMOVED),
    ("videobridge.stats.callstats", REMOVED),
    ("ice4j.harvest.mapping.stun.enabled", REMOVED),
    ("videobridge.stats.jvm", JAVA),
    ("videobridge.apis.xmpp-client.jid-cache-size", JAVA),
    ("ice4j.use-component-socket", JAVA),
    ("ice4j.harvest.udp.socket-pool-size", JAVA),
    ("jmt.srtp.factory-class", JAVA),
    ("jmt.bwe.send-side", JAVA),
    ("jmt.bwe.overuse-detector", JAVA),
    ("jmt.transceiver", JAVA),
    ("jmt.debug", JAVA),
    ("jmt.debug.pcap.start-enabled", NOT_ALL),
    ("videobridge.transport.send.queue-size", JAVA),
    ("videobridge.apis.xmpp-client", LATER),
    ("videobridge.http-servers.private", LATER),
    ("videobridge.http-servers.public", LATER),
    ("videobridge.websockets.relay-domain", LATER),
    ("videobridge.websockets.relay-domains", LATER),
    ("videobridge.relay", LATER),
    ("videobridge.octo", LATER),
    ("videobridge.stats.transit-time", ALWAYS),
    ("videobridge.health.sticky-failures", NOT_STICKY),
    ("videobridge.sctp.max-channels", LATER),
    ("videobridge.cc.padding-period", LATER),
    ("videobridge.cc.initial-ignore-bwe-period", LATER),
    ("ice4j.harvest.timeout", LATER),
    ("ice4j.ice", LATER),
    ("ice4j.software", LATER),
    ("ice4j.send-to-last-received-from-address", LATER),
    ("ice4j.redact-remote-addresses", LATER),
    ("ice4j.consent-freshness.max-wait-interval", LATER),
    ("jmt.bwe.estimator.GoogleCc", JAVA),
    ("jmt.bwe.estimator.GoogleCc2", LATER),
    ("jmt.dtls", LATER),
    ("jmt.keyframe", LATER),
    ("jmt.srtp.max-consecutive-packets-discarded-early", LATER),
    ("jmt.rtp.bitrate-calculator", LATER),
];

/// Wrong characters in a key up to which another one is suggested.
const LONGEST_MISTAKE: usize = 3;

pub(super) fn check(r: &mut Reader<'_>) {
    let mut warned: Vec<&str> = Vec::new();
    for (path, value) in r.settings.leaves() {
        let ours = ["videobridge", "jmt", "ice4j"]
            .iter()
            .any(|root| is_within(&path, root));
        if !ours || is_known(r, &path) {
            continue;
        }
        let group = WITHOUT_EFFECT
            .iter()
            .filter(|(group, _)| is_within(&path, group));
        let reason = match group.max_by_key(|(group, _)| group.len()) {
            Some((group, _)) if warned.contains(group) => continue,
            Some((group, reason)) => {
                warned.push(group);
                r.warnings.push(Warning(value.error(group, *reason)));
                continue;
            }
            None => match nearest(r, &path) {
                Some(near) => format!("is not known and has no effect; is `{near}` meant?"),
                None => "is not known and has no effect".to_owned(),
            },
        };
        r.warnings.push(Warning(value.error(&path, reason)));
    }
}

/// Whether something reads `path` or the object around it.
fn is_known(r: &Reader<'_>, path: &str) -> bool {
    let mut end = Some(path.len());
    while let Some(at) = end {
        let prefix = path.get(..at).unwrap_or("");
        if r.known.contains(prefix) {
            return true;
        }
        end = prefix.rfind('.');
    }
    false
}

fn is_within(path: &str, group: &str) -> bool {
    path.strip_prefix(group)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The known key that differs least, or that has the same last part.
fn nearest<'a>(r: &'a Reader<'_>, path: &str) -> Option<&'a str> {
    let known = r
        .known
        .iter()
        .map(|key| (distance(path, key), key.as_str()));
    if let Some((_, key)) = known
        .filter(|&(distance, _)| distance <= LONGEST_MISTAKE)
        .min()
    {
        return Some(key);
    }
    let last = |path: &str| path.rsplit('.').next().map(str::to_owned);
    let mut same_end = r.known.iter().filter(|key| last(key) == last(path));
    match (same_end.next(), same_end.next()) {
        (Some(key), None) => Some(key),
        _ => None,
    }
}

/// Characters to insert, remove or replace to get from one to the other; more than a mistake if far apart.
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > LONGEST_MISTAKE {
        return LONGEST_MISTAKE + 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (&above, to) in row.iter().skip(1).zip(b.bytes()) {
            left = (diagonal + usize::from(from != to))
                .min(above + 1)
                .min(left + 1);
            diagonal = above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}
