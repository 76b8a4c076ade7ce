//! What the demo negotiates: Opus, also redundant, and VP8, VP9, AV1 and H.264 with retransmission, and the header extensions they need.
//!
//! One table serves both sides: the bridge gets it as [`MediaFormats`], the page as JSON from which it
//! writes SDP. The numbers are those that Jitsi's conference focus uses.

use causeway_bridge::media::{
    Codec, Extension, ExtensionMap, Feedback, MediaFormats, MediaKind, PayloadType,
};
use serde_json::{Value, json};

/// Audio codecs in order of preference: payload type, codec, name, parameters.
const AUDIO: [(u8, Codec, &str, &str); 2] = [
    (
        111,
        Codec::Opus,
        "opus/48000/2",
        "minptime=10;useinbandfec=1",
    ),
    (112, Codec::Red, "red/48000/2", "111/111"),
];
/// Video codecs in order of preference: payload type, payload type of its retransmissions, codec, name, parameters.
const VIDEO: [(u8, u8, Codec, &str, &str); 4] = [
    (100, 96, Codec::Vp8, "VP8/90000", ""),
    (101, 97, Codec::Vp9, "VP9/90000", "profile-id=0"),
    (41, 42, Codec::Av1, "AV1/90000", ""),
    (
        107,
        99,
        Codec::H264,
        "H264/90000",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    ),
];

/// Header extensions: which, its id, and for which kinds of media it is negotiated.
const EXTENSIONS: [(Extension, u8, &[MediaKind]); 5] = [
    (Extension::AudioLevel, 1, &[MediaKind::Audio]),
    (Extension::AbsSendTime, 3, &[MediaKind::Video]),
    (
        Extension::TransportCc,
        5,
        &[MediaKind::Audio, MediaKind::Video],
    ),
    (Extension::Mid, 10, &[MediaKind::Audio, MediaKind::Video]),
    (Extension::DependencyDescriptor, 11, &[MediaKind::Video]),
];

/// The formats as the bridge takes them.
pub fn for_bridge() -> MediaFormats {
    let video = Feedback {
        transport_cc: true,
        nack: true,
        pli: true,
        fir: true,
        remb: false,
    };
    let audio = Feedback {
        transport_cc: true,
        ..Feedback::default()
    };
    let payload = |number, codec, clock_rate, associated, feedback| PayloadType {
        number,
        codec,
        clock_rate,
        associated,
        feedback,
    };
    let mut extensions = ExtensionMap::default();
    for (extension, id, _) in EXTENSIONS {
        extensions.set(extension, id);
    }
    let mut payload_types: Vec<PayloadType> = AUDIO
        .iter()
        .map(|(number, codec, ..)| payload(*number, *codec, 48_000, None, audio))
        .collect();
    for (number, rtx, codec, ..) in VIDEO {
        payload_types.push(payload(number, codec, 90_000, None, video));
        let repeats = Feedback::default();
        payload_types.push(payload(rtx, Codec::Rtx, 90_000, Some(number), repeats));
    }
    MediaFormats {
        payload_types,
        extensions,
        extmap_allow_mixed: true,
    }
}

/// The same as the page takes them: payload types and extensions per kind of media.
pub fn for_page() -> Value {
    let formats = for_bridge();
    let extensions = |kind: MediaKind| -> Vec<Value> {
        EXTENSIONS
            .iter()
            .filter(|(_, _, kinds)| kinds.contains(&kind))
            .map(|(extension, id, _)| json!({ "id": id, "uri": extension.uri() }))
            .collect()
    };
    let payload_types = |kind: MediaKind| -> Vec<Value> {
        formats
            .payload_types
            .iter()
            .filter(|payload| is_audio(payload.number) == (kind == MediaKind::Audio))
            .map(payload_json)
            .collect()
    };
    json!({
        "audio": {
            "payloadTypes": payload_types(MediaKind::Audio),
            "extensions": extensions(MediaKind::Audio),
        },
        "video": {
            "payloadTypes": payload_types(MediaKind::Video),
            "extensions": extensions(MediaKind::Video),
        },
    })
}

fn is_audio(number: u8) -> bool {
    AUDIO.iter().any(|(audio, ..)| *audio == number)
}

fn payload_json(payload: &PayloadType) -> Value {
    let (name, parameters) = match payload.associated {
        Some(apt) => ("rtx/90000", format!("apt={apt}")),
        None => {
            let audio = AUDIO.iter().map(|it| (it.0, it.2, it.3));
            let video = VIDEO.iter().map(|it| (it.0, it.3, it.4));
            audio
                .chain(video)
                .find(|(number, ..)| *number == payload.number)
                .map_or(("", String::new()), |(_, name, parameters)| {
                    (name, parameters.to_owned())
                })
        }
    };
    let known = payload.feedback;
    let feedback: Vec<&str> = [
        (known.transport_cc, "transport-cc"),
        (known.nack, "nack"),
        (known.pli, "nack pli"),
        (known.fir, "ccm fir"),
    ]
    .into_iter()
    .filter_map(|(wanted, name)| wanted.then_some(name))
    .collect();
    json!({
        "number": payload.number,
        "encoding": name,
        "parameters": parameters,
        "feedback": feedback,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_and_bridge_get_the_same_numbers() {
        let page = for_page();
        let numbers = |kind: &str| -> Vec<u64> {
            let list = page[kind]["payloadTypes"].as_array().unwrap();
            list.iter()
                .map(|payload| payload["number"].as_u64().unwrap())
                .collect()
        };
        assert_eq!(numbers("audio"), [111, 112]);
        assert_eq!(numbers("video"), [100, 96, 101, 97, 41, 42, 107, 99]);
        let bridge = for_bridge();
        for kind in ["audio", "video"] {
            for extension in page[kind]["extensions"].as_array().unwrap() {
                let known = Extension::from_uri(extension["uri"].as_str().unwrap()).unwrap();
                let id = bridge.extensions.id(known).unwrap();
                assert_eq!(u64::from(id), extension["id"].as_u64().unwrap());
            }
        }
    }
}
