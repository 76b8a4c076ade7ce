//! Why does one participant not see or hear another? The first link of the chain that is broken, in words.
//!
//! The chain: both are in the conference, both are connected, the sender announced a source, sends packets of it, the viewer wants it,
//! the path to the viewer carries it, and what is sent arrives.

use serde_json::{Value, json};

use super::Control;
use super::endpoint::Endpoint;
use super::timeline::stall_name;
use super::transport_state::{DtlsState, IceState};
use crate::allocation::Reason;
use crate::endpoint::formats::kind_of;
use crate::ids::{ConferenceKey, EndpointId};
use crate::media::{MediaKind, SourceDescription};
use crate::speech::wants_audio;
use crate::stats::{EndpointStats, Sending};
use crate::timeline::Stall;

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
            .or_else(|| unconnected(sending))
            .or_else(|| self.without_consent(viewing))
            .or_else(|| self.without_consent(sending))
            .or_else(|| without_channel(viewing));
        if let Some(common) = common {
            return answer(vec![(None, common)]);
        }
        if sending.options.visitor {
            let text = format!("{} is a visitor: visitors send nothing", sender.as_str());
            return answer(vec![(None, finding("visitor", text))]);
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
        if !has_codec_for(viewer, sender, source.kind) {
            let text = format!(
                "{viewing} negotiated none of the codecs that {sending} may send: the bridge does not transcode"
            );
            return finding("codec", text);
        }
        let subscription = viewer.subscription.as_ref();
        if !video && !wants_audio(subscription, &source.name, source.synthetic) {
            let text = format!("{viewing} did not subscribe to it (ReceiverAudioSubscription)");
            return finding("not-subscribed", text);
        }
        let reports = (
            self.endpoint_stats_of(viewer.key),
            self.endpoint_stats_of(sender.key),
        );
        let (Some(received), Some(sent)) = reports else {
            return no_report();
        };
        let problem = if video {
            not_shown(viewing, sending, received, sent, source)
        } else {
            let silent = !sent.media.sending_audio && !source.synthetic;
            silent.then(|| not_sent(sending))
        };
        if let Some(problem) = problem {
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
            "it is sent to {viewing}: if nothing is seen or heard, the cause is in the client"
        );
        finding("sent", text)
    }

    /// Whether an endpoint with a path and keys stopped to answer.
    fn without_consent(&self, endpoint: &Endpoint) -> Option<Finding> {
        let stats = self.endpoint_stats_of(endpoint.key)?;
        (!stats.connected).then(|| {
            let id = endpoint.id().as_str();
            let text = format!(
                "{id} was connected and does not answer any more: its network is gone, or it moved to another and is not back yet"
            );
            finding("no-consent", text)
        })
    }
}

fn no_report() -> Finding {
    finding(
        "no-report",
        "the workers have not reported about it yet: ask again in a second".to_owned(),
    )
}

fn not_sent(sender: &str) -> Finding {
    let text = format!("no packets of it arrive from {sender}: it is muted, or they are lost");
    finding("not-sent", text)
}

/// A receiver whose SSRCs are rewritten learns over the bridge channel what is on them.
fn without_channel(viewer: &Endpoint) -> Option<Finding> {
    let deaf = viewer.options.ssrc_rewriting && viewer.channel.active().is_none();
    deaf.then(|| {
        let id = viewer.id().as_str();
        let text = format!(
            "{id} has no bridge channel, so it was never told which SSRC is whose, and can ask for nothing"
        );
        finding("no-channel", text)
    })
}

/// Whether the sender may send in a codec that the viewer takes.
fn has_codec_for(viewer: &Endpoint, sender: &Endpoint, kind: MediaKind) -> bool {
    let codecs = |endpoint: &Endpoint| {
        let types = endpoint.formats.payload_types.iter();
        let codecs = types.map(|format| format.codec);
        let codecs = codecs.filter(move |codec| kind_of(*codec) == Some(kind));
        codecs.collect::<Vec<_>>()
    };
    let taken = codecs(viewer);
    codecs(sender).iter().any(|codec| taken.contains(codec))
}

/// What keeps a video source from the viewer: the wish, the sender, the bandwidth, or the stream itself.
fn not_shown(
    viewer: &str,
    sender: &str,
    received: &EndpointStats,
    sent: &EndpointStats,
    source: &SourceDescription,
) -> Option<Finding> {
    if !source.video_type.is_enabled() {
        let text = format!("{sender} switched it off");
        return Some(finding("switched-off", text));
    }
    let forwarded = received.forwarded.iter();
    let Some(layers) = forwarded.clone().find(|it| it.source == source.name) else {
        return Some(no_report());
    };
    let others = || forwarded.clone().filter(|it| it.target >= 0).count();
    let estimate = received.estimate.map_or(0, |rate| rate.as_bps() / 1_000);
    let problem = match layers.reason {
        Reason::SwitchedOff => finding("switched-off", format!("{sender} switched it off")),
        Reason::NotWanted => finding(
            "not-wanted",
            format!("{viewer} does not want it: its constraints ask for height 0"),
        ),
        Reason::LastN => finding(
            "last-n",
            format!(
                "it is beyond the last-n of {viewer}: {} others come first",
                others()
            ),
        ),
        Reason::Silent => not_sent(sender),
        _ if !sent.media.sending_video => not_sent(sender),
        Reason::Stage if layers.target < 0 => finding(
            "stage-first",
            format!(
                "the estimate for {viewer} is {estimate} kbit/s: less than the source on its stage should have, which comes first"
            ),
        ),
        _ if layers.target < 0 => finding(
            "no-bandwidth",
            format!(
                "the path to {viewer} does not carry it: the estimate is {estimate} kbit/s, of which {} other sources are sent first",
                others()
            ),
        ),
        _ => return not_forwarded(viewer, sender, layers.sending),
    };
    Some(problem)
}

/// What keeps a source from the viewer that it is to get.
fn not_forwarded(viewer: &str, sender: &str, sending: Sending) -> Option<Finding> {
    let stall = match sending {
        Sending::Sent => return None,
        Sending::Stalled(stall) => stall,
        Sending::NoSlot => {
            let text = format!("all video slots of {viewer} are taken (videobridge.ssrc-limit)");
            return Some(finding("no-slot", text));
        }
        Sending::Nothing | Sending::Beginning => {
            let text = "it was chosen just now, and its first packet is not sent yet: ask again in a second";
            return Some(finding("beginning", text.to_owned()));
        }
    };
    let text = match stall {
        Stall::NotConnected => {
            let text = format!("{viewer} does not answer on any path");
            return Some(finding("no-consent", text));
        }
        Stall::NoPackets => return Some(not_sent(sender)),
        Stall::NoKeyframe => format!(
            "{sender} was asked for a keyframe of it, from which it could be shown, and has not sent one"
        ),
        Stall::Codec => format!("{viewer} did not negotiate the codec in which {sender} sends it"),
        Stall::NoLayer => format!(
            "packets of it arrive from {sender}, but none of a layer that {viewer} is to get"
        ),
    };
    Some(finding(stall_name(stall), text))
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
