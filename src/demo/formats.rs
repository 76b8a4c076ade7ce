//! What the demo negotiates: Opus and VP8 with retransmission, and the header extensions they need.
//!
//! One table serves both sides: the bridge gets it as [`MediaFormats`], the page as JSON from which it
//! writes SDP. The numbers are those that Jitsi's conference focus uses.

use causeway_bridge::media::{
    Codec, Extension, ExtensionMap, Feedback, MediaFormats, MediaKind, PayloadType,
};
use serde_json::{Value, json};

const OPUS: u8 = 111;
const VP8: u8 = 100;
const VP8_RTX: u8 = 96;

/// Header extensions: which, its id, and for which kinds of media it is negotiated.
const EXTENSIONS: [(Extension, u8, &[MediaKind]); 4] = [
    (Extension::AudioLevel, 1, &[MediaKind::Audio]),
    (Extension::AbsSendTime, 3, &[MediaKind::Video]),
    (
        Extension::TransportCc,
        5,
        &[MediaKind::Audio, MediaKind::Video],
    ),
    (Extension::Mid, 10, &[MediaKind::Audio, MediaKind::Video]),
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
    MediaFormats {
        payload_types: vec![
            payload(OPUS, Codec::Opus, 48_000, None, audio),
            payload(VP8, Codec::Vp8, 90_000, None, video),
            payload(VP8_RTX, Codec::Rtx, 90_000, Some(VP8), Feedback::default()),
        ],
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
            .filter(|payload| (payload.number == OPUS) == (kind == MediaKind::Audio))
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

fn payload_json(payload: &PayloadType) -> Value {
    let (name, parameters) = match payload.associated {
        Some(apt) => ("rtx/90000", format!("apt={apt}")),
        None if payload.number == OPUS => ("opus/48000/2", "minptime=10;useinbandfec=1".to_owned()),
        None => ("VP8/90000", String::new()),
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
        assert_eq!(numbers("audio"), [111]);
        assert_eq!(numbers("video"), [100, 96]);
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
