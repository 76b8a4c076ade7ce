//! A view for operators. Never in it: passwords, keys, message bodies (T63).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Control;
use super::channel_state::Transport;
use super::conference::Conference;
use super::endpoint::Endpoint;
use crate::ids::{ConferenceKey, EndpointId, EndpointKey, SourceName};
use crate::media::MediaKind;
use crate::stats::EndpointStats;
use crate::time::Time;
use crate::units::Bitrate;

/// How much to tell, and in which time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DebugView {
    /// Everything rather than an overview.
    pub full: bool,
    /// Milliseconds since 1970 at which the bridge's clock showed zero.
    pub epoch_ms: u64,
}

impl Control {
    /// What is known about a conference (rest-and-stats spec §2.8): ids, counts, states; of its endpoints all or only
    /// one. `null` if the conference does not exist.
    pub fn debug_conference(
        &self,
        conference: ConferenceKey,
        only: Option<&EndpointId>,
        view: DebugView,
    ) -> Value {
        let Some(conference) = self.conferences.get(&conference) else {
            return Value::Null;
        };
        let endpoints = conference
            .members
            .iter()
            .filter(|(id, _)| only.is_none_or(|only| only == *id))
            .filter_map(|(id, key)| Some((id, self.endpoints.get(key)?)));
        let endpoints: Map<String, Value> = endpoints
            .map(|(id, endpoint)| {
                let described = if view.full {
                    self.describe_endpoint(endpoint)
                } else {
                    json!(endpoint.options.stats_id)
                };
                (id.as_str().to_owned(), described)
            })
            .collect();
        let mut described = json!({
            "id": self.local_id(conference.key),
            "rtcstatsEnabled": conference.rtcstats,
        });
        if let Some(name) = &conference.options.name {
            described["name"] = name.as_str().into();
        }
        described["meeting_id"] = conference.options.meeting_id.as_str().into();
        if view.full {
            self.describe_fully(conference, view.epoch_ms, &mut described);
        }
        described["endpoints"] = Value::Object(endpoints);
        described["relays"] = json!({});
        described
    }

    fn describe_fully(&self, conference: &Conference, epoch_ms: u64, described: &mut Value) {
        let id = |key: &EndpointKey| self.endpoint_id(*key).map(EndpointId::as_str);
        let ids = |keys: &[EndpointKey]| -> Vec<&str> { keys.iter().filter_map(id).collect() };
        let shards: BTreeMap<String, usize> = conference
            .shards
            .iter()
            .map(|(worker, count)| (worker.0.to_string(), *count))
            .collect();
        described["expired"] = false.into();
        described["creation_time"] = (epoch_ms + conference.created.as_millis()).into();
        described["speech_activity"] = self.speech_activity(conference.key);
        described["recent_speakers"] = json!(ids(conference.speech.recent_speakers()));
        described["silence"] = conference.silence.into();
        described["inactive"] = conference.inactive.iter().map(|id| id.as_str()).collect();
        described["home_worker"] = conference.home.0.into();
        described["endpoints_per_worker"] = json!(shards);
    }

    /// Who speaks, and who spoke last: `dominantEndpoint` is a text in any case, as existing clients expect. `null` if
    /// the conference does not exist.
    pub fn speech_activity(&self, conference: ConferenceKey) -> Value {
        let Some(conference) = self.conferences.get(&conference) else {
            return Value::Null;
        };
        let id = |key: &EndpointKey| self.endpoint_id(*key).map(EndpointId::as_str);
        let ids = |keys: &[EndpointKey]| -> Vec<&str> { keys.iter().filter_map(id).collect() };
        json!({
            "dominantEndpoint": conference.speech.dominant().as_ref().and_then(id).unwrap_or("null"),
            "dominantSpeakerIdentification": null,
            "endpointsBySpeechActivity": ids(conference.speech.by_speech()),
            "endpointsInLastNOrder": ids(conference.speech.last_n_order()),
        })
    }

    fn describe_endpoint(&self, endpoint: &Endpoint) -> Value {
        let conference = self.conferences.get(&endpoint.conference);
        let sources: Vec<Value> = endpoint
            .sources
            .sources
            .iter()
            .map(|source| {
                let video = source.kind == MediaKind::Video;
                json!({
                    "name": source.name.as_str(),
                    "kind": if video { "video" } else { "audio" },
                    "video_type": video.then(|| source.video_type.name()),
                    "ssrcs": source.encodings.iter().map(|encoding| encoding.ssrc).collect::<Vec<_>>(),
                    "synthetic": source.synthetic,
                    "max_height_wanted": conference.and_then(|known| known.constraints.max_height(source.key)),
                })
            })
            .collect();
        let channel = &endpoint.channel;
        let stats = self.endpoint_stats_of(endpoint.key);
        json!({
            "id": endpoint.id().as_str(),
            "conference": self.local_id(endpoint.conference),
            "stats_id": endpoint.options.stats_id,
            "worker": endpoint.worker.0,
            "pool_thread": endpoint.pool,
            "created_ms": endpoint.created.as_millis(),
            "last_activity_ms": endpoint.last_activity.map(Time::as_millis),
            "visitor": endpoint.options.visitor,
            "ssrc_rewriting": endpoint.options.ssrc_rewriting,
            "force_mute": { "audio": endpoint.force_mute.audio, "video": endpoint.force_mute.video },
            "transport": {
                "ice": format!("{:?}", endpoint.transport.ice),
                "dtls": format!("{:?}", endpoint.transport.dtls),
                "pending_restart": endpoint.transport.pending.as_ref().map(|pending| pending.generation),
                "remote_address": endpoint.transport.path.map(|path| path.remote.to_string()),
                "local_address": endpoint
                    .transport
                    .path
                    .and_then(|path| self.env.locals.get(usize::from(path.socket.0)))
                    .map(ToString::to_string),
                "rtt_ms": endpoint.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
                "sctp": endpoint.options.sctp,
            },
            "payload_types": endpoint.formats.payload_types.len(),
            "sources": sources,
            "on_stage": names(&endpoint.on_stage),
            "selected": names(&endpoint.selected),
            "estimate_bps": endpoint.estimate,
            "media": stats.map(describe_media),
            "channel": {
                "active": channel.active().map(|transport| match transport {
                    Transport::WebSocket => "websocket",
                    Transport::DataChannel => "data_channel",
                }),
                "websocket": channel.websocket,
                "data_channel": channel.data_channel,
                "numOutgoingMessagesDropped": channel.dropped,
                "malformed": channel.malformed,
                "over_budget": channel.over_budget,
                "received_counts": channel.received,
                "sent_counts": channel.sent,
            },
        })
    }
}

fn describe_media(stats: &EndpointStats) -> Value {
    let forwarded: Map<String, Value> = stats
        .forwarded
        .iter()
        .map(|it| {
            let layers = json!({ "target": it.target, "ideal": it.ideal, "height": it.height });
            (it.source.as_str().to_owned(), layers)
        })
        .collect();
    json!({
        "connected": stats.connected,
        "incoming_bps": stats.incoming.as_bps(),
        "outgoing_bps": stats.outgoing.as_bps(),
        "packets_received": stats.packets_in,
        "packets_sent": stats.packets_out,
        "incoming_loss": stats.incoming_loss,
        "outgoing_loss": stats.outgoing_loss,
        "sending_audio": stats.media.sending_audio,
        "sending_video": stats.media.sending_video,
        "oversending": stats.media.oversending,
        "has_suspended_sources": stats.media.has_suspended,
        "estimate_bps": stats.estimate.map(Bitrate::as_bps),
        "forwarded_sources": forwarded,
    })
}

fn names(names: &[SourceName]) -> Vec<&str> {
    names.iter().map(SourceName::as_str).collect()
}
