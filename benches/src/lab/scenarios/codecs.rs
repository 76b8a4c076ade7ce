//! The same paths with other codecs: other layers, other costs, other ways to switch.

use super::{Bounds, CHANGING, Part, STABLE, Scenario, change, one, path};
use crate::load::codec::Codec;

pub fn all() -> Vec<Scenario> {
    let variable = |name, what, codec| Scenario {
        part: Part::Codecs,
        codec,
        lifted_at: 40.0,
        bounds: Bounds {
            freezes: 8,
            queue: 320.0,
            audio_lost: 0.01,
            switches: 15.0,
            ..CHANGING
        },
        ..one(
            name,
            what,
            100,
            vec![
                change(0.0, path(1_000, 300, 50)),
                change(40.0, path(3_500, 300, 50)),
                change(60.0, path(600, 300, 50)),
                change(80.0, path(1_000, 300, 50)),
            ],
        )
    };
    let stable = |name, what, codec| Scenario {
        part: Part::Codecs,
        codec,
        bounds: Bounds {
            utilisation: 0.6,
            ..STABLE
        },
        ..one(name, what, 60, vec![change(0.0, path(1_000, 300, 25))])
    };
    vec![
        variable(
            "variable-vp9-svc",
            "VP9, spatial layers (L3T3_KEY): 1, 3.5, 0.6 and 1 Mbit/s",
            Codec::Vp9Svc,
        ),
        variable(
            "variable-av1-svc",
            "AV1, spatial layers with dependency descriptor (L3T3): 1, 3.5, 0.6 and 1 Mbit/s",
            Codec::Av1Svc,
        ),
        variable(
            "variable-h264",
            "H.264, three encodings without dependency descriptor: 1, 3.5, 0.6 and 1 Mbit/s",
            Codec::H264,
        ),
        stable(
            "stable-vp9-svc",
            "VP9, spatial layers: 1 Mbit/s, buffer 300 ms",
            Codec::Vp9Svc,
        ),
        stable(
            "stable-av1-svc",
            "AV1, spatial layers: 1 Mbit/s, buffer 300 ms",
            Codec::Av1Svc,
        ),
        stable(
            "stable-h264",
            "H.264, three encodings: 1 Mbit/s, buffer 300 ms",
            Codec::H264,
        ),
    ]
}
