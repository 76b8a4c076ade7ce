//! The JSON of the demo's interface, and its translation to and from the bridge's types.

use std::collections::BTreeSet;

use causeway_bridge::control::api::{
    Candidate, CandidateKind, LocalTransport, NewSource, RemoteTransport,
};
use causeway_bridge::ids::{EndpointId, SourceName};
use causeway_bridge::limits::MAX_ENCODINGS;
use causeway_bridge::media::{EncodingDescription, MediaKind, VideoType};
use causeway_bridge::transport::ice::Credentials;
use causeway_bridge::transport::secure::{Fingerprint, Setup};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::ApiError;
use super::limits::MAX_SOURCES;

/// Body of `join`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Join {
    /// Display name.
    #[serde(default)]
    pub name: String,
    /// What the others are shown at first.
    #[serde(default)]
    pub state: State,
}

/// What a participant shows of itself to the others. The bridge does not see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// Microphone is off.
    #[serde(default)]
    pub audio_muted: bool,
    /// Camera is off.
    #[serde(default)]
    pub video_muted: bool,
    /// A screen is shared.
    #[serde(default)]
    pub screen: bool,
    /// Height of the camera's picture, from which receivers tell the layer that they get.
    #[serde(default)]
    pub camera_height: u16,
}

impl Default for State {
    fn default() -> State {
        State {
            audio_muted: true,
            video_muted: true,
            screen: false,
            camera_height: 0,
        }
    }
}

/// A body that proves who sends it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Secret from the answer to `join`.
    pub token: String,
}

/// Body of `state`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetState {
    /// Secret from the answer to `join`.
    pub token: String,
    /// Replaces what was known.
    pub state: State,
}

/// Body of `transport`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Transport {
    /// Secret from the answer to `join`.
    pub token: String,
    /// ICE user name fragment.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// Certificate.
    pub fingerprint: FingerprintText,
    /// DTLS role: the page answers, so it is `active` as a rule.
    pub setup: SetupText,
    /// Of the restart that this answers.
    #[serde(default)]
    pub ice_generation: Option<u32>,
}

/// `setup` of an SDP answer.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetupText {
    /// DTLS client.
    Active,
    /// DTLS server.
    Passive,
}

/// A fingerprint as SDP writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FingerprintText {
    /// Hash function.
    pub hash: String,
    /// Digest as hexadecimal bytes with colons.
    pub value: String,
}

impl Transport {
    /// Checks the texts.
    pub fn into_remote(self) -> Result<RemoteTransport, ApiError> {
        let ice = |text: &str, shortest: usize| {
            (shortest..=256).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        };
        if !ice(&self.ufrag, 4) || !ice(&self.pwd, 22) {
            return Err(ApiError::invalid("The ICE credentials are malformed."));
        }
        Ok(RemoteTransport {
            credentials: Some(Credentials {
                ufrag: self.ufrag.into(),
                password: self.pwd.into(),
            }),
            // A browser hides its addresses; the bridge learns them from its connectivity checks.
            candidates: Vec::new(),
            ice_generation: self.ice_generation,
            fingerprints: vec![self.fingerprint.parse()?],
            setup: Some(match self.setup {
                SetupText::Active => Setup::Active,
                SetupText::Passive => Setup::Passive,
            }),
        })
    }
}

impl FingerprintText {
    fn parse(&self) -> Result<Fingerprint, ApiError> {
        let hash = self.hash.to_ascii_lowercase();
        let length = match hash.as_str() {
            "sha-256" => 32,
            "sha-384" => 48,
            "sha-512" => 64,
            _ => return Err(ApiError::invalid("The certificate's hash must be SHA-2.")),
        };
        let bytes = self.value.split(':').take(length + 1).map(|pair| {
            Some(pair)
                .filter(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()))
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        });
        match bytes.collect::<Option<Vec<u8>>>() {
            Some(digest) if digest.len() == length => Ok(Fingerprint { hash, digest }),
            _ => Err(ApiError::invalid(
                "The certificate's fingerprint is malformed.",
            )),
        }
    }
}

/// Body of `sources`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sources {
    /// Secret from the answer to `join`.
    pub token: String,
    /// All sources; those that are not in it end.
    pub sources: Vec<Source>,
}

/// One source.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// Which of the participant's sources.
    pub slot: Slot,
    /// What a video source shows now.
    #[serde(default)]
    pub video_type: Option<VideoTypeText>,
    /// Encodings, lowest first.
    pub encodings: Vec<Encoding>,
}

/// The sources that a participant can have. They are named `{endpoint}-{slot}`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// Microphone.
    A0,
    /// Camera.
    V0,
    /// Screen.
    V1,
}

/// What a video source shows.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoTypeText {
    /// A camera.
    Camera,
    /// A screen.
    Desktop,
    /// Nothing.
    None,
}

/// One encoding.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoding {
    /// Media.
    pub ssrc: u32,
    /// Retransmissions.
    #[serde(default)]
    pub rtx: Option<u32>,
}

impl Sources {
    /// The sources under their owner's name, checked.
    pub fn into_new(self, owner: &EndpointId) -> Result<Vec<NewSource>, ApiError> {
        if self.sources.len() > MAX_SOURCES {
            return Err(ApiError::invalid("There are too many sources."));
        }
        let (mut slots, mut ssrcs) = (BTreeSet::new(), BTreeSet::new());
        for source in &self.sources {
            if !slots.insert(source.slot) {
                return Err(ApiError::invalid("A source is listed twice."));
            }
            let most = if source.slot == Slot::A0 {
                1
            } else {
                MAX_ENCODINGS
            };
            if !(1..=most).contains(&source.encodings.len()) {
                return Err(ApiError::invalid("A source has no or too many encodings."));
            }
            for ssrc in source
                .encodings
                .iter()
                .flat_map(|e| [Some(e.ssrc), e.rtx])
                .flatten()
            {
                if ssrc == 0 || !ssrcs.insert(ssrc) {
                    return Err(ApiError::invalid("An SSRC is zero or listed twice."));
                }
            }
        }
        Ok(self
            .sources
            .into_iter()
            .map(|source| source.into_new(owner))
            .collect())
    }
}

impl Source {
    fn into_new(self, owner: &EndpointId) -> NewSource {
        let (suffix, kind, shows) = match self.slot {
            Slot::A0 => ("a0", MediaKind::Audio, None),
            Slot::V0 => ("v0", MediaKind::Video, Some(VideoType::Camera)),
            Slot::V1 => ("v1", MediaKind::Video, Some(VideoType::Desktop)),
        };
        let signaled = self.video_type.map(|shows| match shows {
            VideoTypeText::Camera => VideoType::Camera,
            VideoTypeText::Desktop => VideoType::Desktop,
            VideoTypeText::None => VideoType::None,
        });
        NewSource {
            name: SourceName::new(format!("{}-{suffix}", owner.as_str())),
            kind,
            video_type: shows.and_then(|usual| signaled.or(Some(usual))),
            encodings: self
                .encodings
                .iter()
                .map(|e| EncodingDescription {
                    ssrc: e.ssrc,
                    rtx_ssrc: e.rtx,
                })
                .collect(),
            synthetic: false,
        }
    }
}

/// The bridge's side of a transport as the page writes it into its offer.
pub fn transport_json(transport: &LocalTransport) -> Value {
    let digest: Vec<String> = transport
        .fingerprint
        .digest
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let setup = match transport.setup {
        Setup::Active => "active",
        Setup::Passive => "passive",
        Setup::ActPass => "actpass",
    };
    json!({
        "ufrag": &*transport.credentials.ufrag,
        "pwd": &*transport.credentials.password,
        "fingerprint": {
            "hash": transport.fingerprint.hash,
            "value": digest.join(":"),
            "setup": setup,
        },
        "candidates": transport.candidates.iter().map(candidate_json).collect::<Vec<_>>(),
        "iceGeneration": transport.ice_generation,
    })
}

fn candidate_json(candidate: &Candidate) -> Value {
    json!({
        "foundation": candidate.foundation,
        "priority": candidate.priority,
        "address": candidate.address.ip(),
        "port": candidate.address.port(),
        "type": match candidate.kind {
            CandidateKind::Host => "host",
            CandidateKind::ServerReflexive => "srflx",
        },
        "relatedAddress": candidate.related.map(|related| related.ip()),
        "relatedPort": candidate.related.map(|related| related.port()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(ufrag: &str, pwd: &str, hash: &str, value: &str) -> Transport {
        serde_json::from_value(json!({
            "token": "t", "ufrag": ufrag, "pwd": pwd, "setup": "active",
            "fingerprint": { "hash": hash, "value": value },
        }))
        .unwrap()
    }

    fn sources(list: Value) -> Result<Vec<NewSource>, ApiError> {
        serde_json::from_value::<Sources>(json!({ "token": "t", "sources": list }))
            .unwrap()
            .into_new(&EndpointId::from("abcd1234"))
    }

    #[test]
    fn a_browsers_transport_is_understood() {
        let value = vec!["Ab"; 32].join(":");
        let remote = transport("kWPC", "POGRRgXGhUOnic+BdJvh3oZG", "SHA-256", &value)
            .into_remote()
            .unwrap();
        assert_eq!(remote.fingerprints[0].hash, "sha-256");
        assert_eq!(remote.fingerprints[0].digest, [0xab; 32]);
        assert_eq!(remote.setup, Some(Setup::Active));
        assert_eq!(&*remote.credentials.unwrap().ufrag, "kWPC");
    }

    #[test]
    fn malformed_transports_are_refused() {
        let (ufrag, pwd) = ("kWPC", "POGRRgXGhUOnic+BdJvh3oZG");
        let good = vec!["AB"; 32].join(":");
        let long = vec!["AB"; 33].join(":");
        let signed = good.replacen("AB", "+B", 1);
        for bad in [
            transport("abc", pwd, "sha-256", &good),
            transport("a b c", pwd, "sha-256", &good),
            transport(ufrag, "short", "sha-256", &good),
            transport(ufrag, &"x".repeat(257), "sha-256", &good),
            transport(ufrag, pwd, "md5", &good),
            transport(ufrag, pwd, "sha-1", &good),
            transport(ufrag, pwd, "sha-256", ""),
            transport(ufrag, pwd, "sha-256", &long),
            transport(ufrag, pwd, "sha-256", &signed),
        ] {
            let what = format!("{bad:?}");
            assert!(bad.into_remote().is_err(), "{what} was accepted");
        }
    }

    #[test]
    fn sources_get_their_owners_name_whatever_the_page_says() {
        let list = sources(json!([
            { "slot": "a0", "encodings": [{ "ssrc": 1 }] },
            { "slot": "v0", "videoType": "none", "encodings": [{ "ssrc": 2, "rtx": 3 }, { "ssrc": 4, "rtx": 5 }] },
            { "slot": "v1", "encodings": [{ "ssrc": 6, "rtx": 7 }] },
        ]))
        .unwrap();
        let names: Vec<_> = list.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["abcd1234-a0", "abcd1234-v0", "abcd1234-v1"]);
        let shows: Vec<_> = list.iter().map(|source| source.video_type).collect();
        assert_eq!(
            shows,
            [None, Some(VideoType::None), Some(VideoType::Desktop)]
        );
        assert_eq!(
            list[1].encodings[1],
            EncodingDescription {
                ssrc: 4,
                rtx_ssrc: Some(5)
            }
        );
    }

    #[test]
    fn impossible_sources_are_refused() {
        let five: Vec<_> = (1..=5).map(|ssrc| json!({ "ssrc": ssrc })).collect();
        for bad in [
            json!([{ "slot": "a0", "encodings": [] }]),
            json!([{ "slot": "a0", "encodings": [{ "ssrc": 1 }, { "ssrc": 2 }] }]),
            json!([{ "slot": "v0", "encodings": five }]),
            json!([{ "slot": "v0", "encodings": [{ "ssrc": 0 }] }]),
            json!([{ "slot": "v0", "encodings": [{ "ssrc": 1, "rtx": 1 }] }]),
            json!([{ "slot": "v0", "encodings": [{ "ssrc": 1 }] }, { "slot": "v1", "encodings": [{ "ssrc": 1 }] }]),
            json!([{ "slot": "v0", "encodings": [{ "ssrc": 1 }] }, { "slot": "v0", "encodings": [{ "ssrc": 2 }] }]),
        ] {
            assert!(sources(bad.clone()).is_err(), "{bad} was accepted");
        }
    }
}
