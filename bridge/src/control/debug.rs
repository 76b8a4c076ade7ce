//! A view for operators. Never in it: passwords, keys, message bodies (T63).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Control;
use super::channel_state::Transport;
use super::conference::Conference;
use super::endpoint::Endpoint;
use crate::ids::{ConferenceKey, EndpointKey, SourceName};
use crate::media::MediaKind;
use crate::time::Time;

impl Control {
    /// What is known about all conferences, one of them, or one endpoint: ids, counts, states. `null` if it
    /// does not exist.
    ///
    /// Without a conference each is listed with its numbers only; with one its endpoints are described.
    pub fn debug_json(
        &self,
        conference: Option<ConferenceKey>,
        endpoint: Option<EndpointKey>,
    ) -> Value {
        if let Some(key) = endpoint {
            let endpoint = self.endpoints.get(&key);
            return endpoint
                .filter(|endpoint| {
                    conference.is_none_or(|conference| conference == endpoint.conference)
                })
                .map_or(Value::Null, |endpoint| self.describe_endpoint(endpoint));
        }
        if let Some(key) = conference {
            return self
                .conferences
                .get(&key)
                .map_or(Value::Null, |conference| self.describe(conference, true));
        }
        let conferences: serde_json::Map<String, Value> = self
            .conferences
            .values()
            .map(|conference| {
                (
                    self.local_id(conference.key),
                    self.describe(conference, false),
                )
            })
            .collect();
        json!({
            "conference_count": self.conferences.len(),
            "endpoint_count": self.endpoints.len(),
            "endpoints_per_worker": self.loads,
            "conferences": conferences,
        })
    }

    fn describe(&self, conference: &Conference, with_endpoints: bool) -> Value {
        let ids = |keys: &[EndpointKey]| -> Vec<&str> {
            keys.iter()
                .filter_map(|key| self.endpoint_id(*key))
                .map(|id| id.as_str())
                .collect()
        };
        let shards: BTreeMap<String, usize> = conference
            .shards
            .iter()
            .map(|(worker, count)| (worker.0.to_string(), *count))
            .collect();
        let mut described = json!({
            "id": self.local_id(conference.key),
            "meeting_id": conference.options.meeting_id.as_str(),
            "name": conference.options.name,
            "created_ms": conference.created.as_millis(),
            "home_worker": conference.home.0,
            "endpoints_per_worker": shards,
            "endpoint_count": conference.members.len(),
            "silence": conference.silence,
        });
        if with_endpoints {
            let endpoints: serde_json::Map<String, Value> = conference
                .members
                .iter()
                .filter_map(|(id, key)| {
                    Some((
                        id.as_str().to_owned(),
                        self.describe_endpoint(self.endpoints.get(key)?),
                    ))
                })
                .collect();
            described["recent_speakers"] = json!(ids(conference.speech.recent_speakers()));
            described["order"] = json!(ids(&conference.order));
            described["inactive"] = conference.inactive.iter().map(|id| id.as_str()).collect();
            described["endpoints"] = Value::Object(endpoints);
        }
        described
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

fn names(names: &[SourceName]) -> Vec<&str> {
    names.iter().map(SourceName::as_str).collect()
}
