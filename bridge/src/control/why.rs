//! Why does one participant not see or hear another? The first link of the chain that is broken, in words.
//!
//! The chain: both are in the conference, both are connected, the sender announced a source, sends packets of it, the viewer wants it,
//! the path to the viewer carries it, and what is sent arrives.

use serde_json::{Value, json};

use super::Control;
use super::endpoint::Endpoint;
use super::transport_state::{DtlsState, IceState};
use crate::ids::{ConferenceKey, EndpointId};
use crate::media::{MediaKind, SourceDescription};
use crate::stats::EndpointStats;
use crate::units::Bitrate;

/// A viewer who loses more than this sees it.
const MUCH_LOSS: f32 = 0.1;

/// A broken link, or that there is none.
struct Finding {
    /// For programs.
    code: &'static str,
    /// For people: what is so, and what to look at.
    text: String,
}

fn finding(code: &'static str, text: String) -> Finding {
    Finding { code, text }
}

impl Control {
    /// Answers the question for each source of `sender`, or once if it is not about a source: `code`, `text`. `null` if the conference
    /// does not exist. Rates and losses are those of the last report of the workers, at most a second or two old.
    pub fn why(
        &self,
        conference: ConferenceKey,
        viewer: &EndpointId,
        sender: &EndpointId,
    ) -> Value {
        let Some(conference) = self.conferences.get(&conference) else {
            return Value::Null;
        };
        let member = |id: &EndpointId| {
            let key = conference.members.get(id)?;
            self.endpoints.get(key)
        };
        let answer = |findings: Vec<(Option<&SourceDescription>, Finding)>| {
            let findings = findings.into_iter().map(|(source, Finding { code, text })| {
                json!({ "source": source.map(|source| source.name.as_str()), "code": code, "text": text })
            });
            json!({
                "viewer": viewer.as_str(),
                "sender": sender.as_str(),
                "findings": findings.collect::<Vec<_>>(),
            })
        };
        let both = (member(viewer), member(sender));
        let (Some(viewing), Some(sending)) = both else {
            let missing = if both.0.is_none() { viewer } else { sender };
            let text = format!(
                "{} is not in this conference of {}: it left, or its focus did not add it here",
                missing.as_str(),
                conference.members.len()
            );
            return answer(vec![(None, finding("not-here", text))]);
        };
        let common = (viewer == sender)
            .then(|| finding("same", "nobody is sent their own media".to_owned()))
            .or_else(|| unconnected(viewing))
            .or_else(|| unconnected(sending));
        if let Some(common) = common {
            return answer(vec![(None, common)]);
        }
        if sending.sources.sources.is_empty() {
            let text = format!(
                "{} announced no sources: camera and microphone are off",
                sender.as_str()
            );
            return answer(vec![(None, finding("no-source", text))]);
        }
        let sources = sending.sources.sources.iter();
        answer(
            sources
                .map(|source| (Some(source), self.about_source(viewing, sending, source)))
                .collect(),
        )
    }

    fn about_source(
        &self,
        viewer: &Endpoint,
        sender: &Endpoint,
        source: &SourceDescription,
    ) -> Finding {
        let (viewing, sending) = (viewer.id().as_str(), sender.id().as_str());
        let video = source.kind == MediaKind::Video;
        let muted = if video {
            sender.force_mute.video
        } else {
            sender.force_mute.audio
        };
        if muted {
            return finding("force-muted", format!("a moderator muted {sending}"));
        }
        let reports = (
            self.endpoint_stats_of(viewer.key),
            self.endpoint_stats_of(sender.key),
        );
        let (Some(received), Some(sent)) = reports else {
            return finding(
                "no-report",
                "the workers have not reported yet: ask again in a second".to_owned(),
            );
        };
        let sends = if video {
            sent.media.sending_video
        } else {
            sent.media.sending_audio
        };
        if !sends {
            let wanted = self.conferences.get(&sender.conference);
            let wanted = wanted.and_then(|known| known.constraints.max_height(source.key));
            let because = match wanted {
                Some(0) if video => "nobody wants it, so it was asked to send nothing",
                _ => "it is muted, or its packets do not arrive",
            };
            return finding(
                "not-sent",
                format!("{sending} sends nothing of it: {because}"),
            );
        }
        if let Some(problem) = video
            .then(|| not_forwarded(viewing, received, source))
            .flatten()
        {
            return problem;
        }
        if received.outgoing_loss > MUCH_LOSS {
            let percent = 100.0 * received.outgoing_loss;
            let text = format!(
                "it is sent, but {viewing} reports that {percent:.0} % of what it is sent is lost"
            );
            return finding("lost", text);
        }
        let text = format!(
            "it is sent to {viewing}: if nothing is seen or heard, the cause is in the client, such as a decoder that waits for a keyframe"
        );
        finding("sent", text)
    }
}

/// What keeps a video source from the viewer, by the last allocation.
fn not_forwarded(
    viewer: &str,
    stats: &EndpointStats,
    source: &SourceDescription,
) -> Option<Finding> {
    let forwarded = stats.forwarded.iter();
    let layers = forwarded.clone().find(|it| it.source == source.name);
    let Some(layers) = layers.filter(|layers| layers.ideal >= 0) else {
        let text = format!(
            "{viewer} does not want it: it is beyond its last-n, or its constraints ask for height 0"
        );
        return Some(finding("not-wanted", text));
    };
    if layers.target >= 0 {
        return None;
    }
    let kbps = |rate: Bitrate| rate.as_bps() / 1_000;
    let others = forwarded.filter(|it| it.target >= 0).count();
    let text = format!(
        "the path to {viewer} does not carry it: the estimate is {} kbit/s, of which {others} other sources are sent first",
        stats.estimate.map_or(0, kbps)
    );
    Some(finding("no-bandwidth", text))
}

/// What keeps an endpoint from any media.
fn unconnected(endpoint: &Endpoint) -> Option<Finding> {
    let id = endpoint.id().as_str();
    match (endpoint.transport.ice, endpoint.transport.dtls) {
        (IceState::Checking, _) => Some(finding(
            "ice-checking",
            format!(
                "{id} has no path to the bridge yet: do its UDP packets reach the advertised addresses? (causeway doctor)"
            ),
        )),
        (IceState::Failed, _) => Some(finding(
            "ice-failed",
            format!(
                "{id} lost its path to the bridge, or found none in time: a firewall, or it is gone"
            ),
        )),
        (IceState::Connected, DtlsState::Handshaking) => Some(finding(
            "dtls",
            format!("{id} has a path, but its DTLS handshake is not complete"),
        )),
        (IceState::Connected, DtlsState::Failed(reason)) => Some(finding(
            "dtls-failed",
            format!("the DTLS handshake with {id} failed: {reason:?}"),
        )),
        (IceState::Connected, DtlsState::Connected) => None,
    }
}
