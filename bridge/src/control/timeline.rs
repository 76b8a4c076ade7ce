//! The timelines of endpoints: what goes in, and how they are told.

use serde_json::{Value, json};

use super::Control;
use super::endpoint::Endpoint;
use crate::config::TimelineConfig;
use crate::ids::EndpointKey;
use crate::projection::LayerIndex;
use crate::stats::EndpointStats;
use crate::time::Time;
use crate::timeline::{ChannelKind, Decision, Happened, Sample, Stall, Totals, What};
use crate::units::Bitrate;

impl Endpoint {
    /// Takes in what its worker reported.
    pub(super) fn remember(
        &mut self,
        config: &TimelineConfig,
        now: Time,
        stats: &EndpointStats,
        happened: Vec<Happened>,
    ) {
        let timeline = &mut self.timeline;
        timeline.take_in(config, happened, stats.missed);
        if let Some(estimate) = stats.estimate {
            timeline.note_estimate(config, now, estimate.as_bps());
        }
        let totals = Totals {
            packets_in: stats.packets_in,
            packets_out: stats.packets_out,
            incoming: stats.incoming,
            outgoing: stats.outgoing,
            incoming_loss: stats.incoming_loss,
            outgoing_loss: stats.outgoing_loss,
            rtt: stats.rtt,
            nacks_in: stats.media.nacks_in,
            resent: stats.media.resent,
            nacks_out: stats.media.nacks_out,
            repaired: stats.media.repaired,
            keyframe_requests: stats.media.keyframe_requests,
        };
        timeline.sample(config, now, totals);
        timeline.expire(config, now);
    }
}

impl Control {
    /// Notes something in an endpoint's timeline.
    pub(super) fn note(&mut self, now: Time, endpoint: EndpointKey, what: What) {
        if let Some(endpoint) = self.endpoints.get_mut(&endpoint) {
            endpoint.timeline.note(&self.config.timeline, now, what);
        }
    }

    /// What happened to an endpoint lately, from the entry with number `since` on: `events`, and `samples` of what was
    /// counted. `next` is the `since` of the next question. Times are in milliseconds: `time` since 1970, given that
    /// the bridge's clock showed zero at `epoch_ms`, and `monotonic_ms` by the bridge's clock. `null` if there is
    /// no such endpoint. What workers noted is at most a second or two old.
    pub fn timeline(&self, now: Time, endpoint: EndpointKey, since: u32, epoch_ms: u64) -> Value {
        let Some(endpoint) = self.endpoints.get(&endpoint) else {
            return Value::Null;
        };
        let timeline = &endpoint.timeline;
        let stamped = |number: u32, at: Time, mut entry: Value| {
            entry["number"] = number.into();
            entry["time"] = (epoch_ms + at.as_millis()).into();
            entry["monotonic_ms"] = (at.as_micros() as f64 / 1e3).into();
            entry
        };
        let events = timeline.events(since);
        let events = events.into_iter().map(|(number, happened)| {
            let described = self.describe(&happened.what);
            stamped(number, happened.at, described)
        });
        let samples = timeline.samples(since);
        let samples =
            samples.map(|(number, sample)| stamped(number, sample.at, describe_sample(sample)));
        json!({
            "conference": self.local_id(endpoint.conference),
            "endpoint": endpoint.id().as_str(),
            "time": epoch_ms + now.as_millis(),
            "monotonic_ms": now.as_micros() as f64 / 1e3,
            "next": timeline.next(),
            "missed": timeline.missed(),
            "events": events.collect::<Vec<_>>(),
            "samples": samples.collect::<Vec<_>>(),
        })
    }

    fn describe(&self, what: &What) -> Value {
        match what {
            What::Created => json!({ "event": "created" }),
            What::IceConnected(path) | What::PathChanged(path) => {
                let local = self.env.locals.get(usize::from(path.socket.0));
                let first = matches!(what, What::IceConnected(_));
                json!({
                    "event": if first { "ice-connected" } else { "path-changed" },
                    "remote_address": path.remote.to_string(),
                    "local_address": local.map(ToString::to_string),
                })
            }
            What::ConsentLost => json!({ "event": "consent-lost" }),
            What::ConsentRegained => json!({ "event": "consent-regained" }),
            What::IceFailed => json!({ "event": "ice-failed" }),
            What::IceRestart(generation) => {
                json!({ "event": "ice-restart", "generation": generation })
            }
            What::IceRestartEnded(generation, cut_over) => {
                json!({ "event": "ice-restart-ended", "generation": generation, "cut_over": cut_over })
            }
            What::DtlsConnected => json!({ "event": "dtls-connected" }),
            What::DtlsFailed(reason) => {
                json!({ "event": "dtls-failed", "reason": format!("{reason:?}") })
            }
            What::ChannelOpened(kind) => {
                json!({ "event": "channel-opened", "kind": channel_name(*kind) })
            }
            What::ChannelClosed(kind) => {
                json!({ "event": "channel-closed", "kind": channel_name(*kind) })
            }
            What::Active(active) => {
                json!({ "event": if *active { "active" } else { "inactive" } })
            }
            What::Announced(sources) => json!({ "event": "announced", "sources": sources }),
            What::VideoType(source, video_type) => {
                json!({ "event": "video-type", "source": source.as_str(), "video_type": video_type.name() })
            }
            What::ForceMuted { audio, video } => {
                json!({ "event": "force-muted", "audio": audio, "video": video })
            }
            What::Wishes {
                last_n,
                default_height,
                on_stage,
                selected,
            } => json!({
                "event": "wishes",
                "last_n": last_n,
                "default_max_height": default_height,
                "on_stage": on_stage,
                "selected": selected,
            }),
            What::SenderConstraint(source, max_height) => {
                json!({ "event": "sender-constraint", "source": source.as_str(), "max_height": max_height })
            }
            What::Estimate(bps) => json!({ "event": "estimate", "estimate_bps": bps }),
            What::Allocated(decision) => describe_decision(decision),
            What::Switched(source, before, after) => json!({
                "event": "switched",
                "source": source.as_str(),
                "from": layer(*before),
                "to": layer(*after),
            }),
            What::KeyframeWanted(source, count) => {
                json!({ "event": "keyframe-wanted", "source": source.as_str(), "count": count })
            }
            What::KeyframeRequested(source, count) => {
                json!({ "event": "keyframe-requested", "source": source.as_str(), "count": count })
            }
            What::KeyframeCame(source) => {
                json!({ "event": "keyframe-came", "source": source.as_str() })
            }
            What::Stalled(source, cause) => {
                json!({ "event": "stalled", "source": source.as_str(), "cause": stall_name(*cause) })
            }
            What::Resumed(source, millis) => {
                json!({ "event": "resumed", "source": source.as_str(), "after_ms": millis })
            }
        }
    }
}

fn channel_name(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::WebSocket => "websocket",
        ChannelKind::DataChannel => "data_channel",
    }
}

/// For programs: why a stream stands still.
pub(super) fn stall_name(cause: Stall) -> &'static str {
    match cause {
        Stall::NotConnected => "not-connected",
        Stall::NoPackets => "no-packets",
        Stall::NoKeyframe => "no-keyframe",
        Stall::Codec => "codec",
        Stall::NoLayer => "no-layer",
    }
}

/// A layer by its index; `null` = nothing.
fn layer(index: i32) -> Value {
    let layer = LayerIndex(index);
    match layer.encoding() {
        None => Value::Null,
        Some(encoding) => json!({
            "index": index,
            "encoding": encoding,
            "spatial": layer.spatial(),
            "temporal": layer.temporal(),
        }),
    }
}

fn describe_decision(decision: &Decision) -> Value {
    let Decision {
        source,
        ideal,
        target,
        height,
        reason,
        bandwidth_kbps,
        held,
    } = decision;
    json!({
        "event": "allocated",
        "source": source.as_str(),
        "wanted": layer(*ideal),
        "given": layer(*target),
        "height": (*height >= 0).then_some(height),
        "reason": reason.name(),
        "bandwidth_bps": (*bandwidth_kbps != u32::MAX)
            .then(|| Bitrate::kbps(u64::from(*bandwidth_kbps)).as_bps()),
        "held": held,
    })
}

fn describe_sample(sample: &Sample) -> Value {
    json!({
        "duration_ms": sample.millis,
        "incoming_bps": u64::from(sample.incoming_kbps) * 1_000,
        "outgoing_bps": u64::from(sample.outgoing_kbps) * 1_000,
        "incoming_loss": sample.incoming_loss,
        "outgoing_loss": sample.outgoing_loss,
        "rtt_ms": (sample.rtt_ms > 0).then_some(sample.rtt_ms),
        "nacks_received": sample.nacks_in,
        "retransmitted": sample.resent,
        "nacks_sent": sample.nacks_out,
        "repaired": sample.repaired,
        "keyframe_requests": sample.keyframe_requests,
    })
}
