//! A sender and an allocator that obey nothing: the outgoing stream never repeats a sequence number
//! (T29), never leaps further than SRTP can follow (T40), and frames stay in order.
//!
//! Ten bytes are a step: kind and encoding, form of the packet, then steps of index, timestamp, picture
//! id, TL0PICIDX and time.

#![no_main]

use std::collections::BTreeMap;

use causeway_bridge::limits;
use causeway_bridge::projection::{LayerIndex, Payload, Projection, Start, Verdict, VideoFacts};
use causeway_bridge::time::Time;
use causeway_bridge::wire::vp8::Vp8Descriptor;
use libfuzzer_sys::fuzz_target;

#[derive(Clone, Copy, Default)]
struct Counters {
    index: i64,
    timestamp: u32,
    picture_id: u16,
    tl0picidx: u8,
}

fuzz_target!(|data: &[u8]| {
    let mut projection = Projection::new(Start {
        sequence: 65_000,
        timestamp: 1,
    });
    projection.set_target(LayerIndex::new(1, 0, 2));
    let mut encodings = [Counters::default(); limits::MAX_ENCODINGS + 1];
    let mut sent = BTreeMap::new();
    let mut now = 0;
    // Streams without frame numbers may order frames as they like.
    let mut ordered = true;
    for step in data.chunks_exact(10) {
        let kind = step[0];
        match kind >> 6 {
            3 if kind & 0x20 == 0 => {
                projection.set_target(LayerIndex(i32::from(step[1]) - 1));
                continue;
            }
            3 => {
                projection.rebind();
                continue;
            }
            _ => {}
        }
        let encoding = usize::from(kind) % encodings.len();
        let counters = &mut encodings[encoding];
        let signed = |at: usize| i64::from(i16::from_le_bytes([step[at], step[at + 1]]));
        counters.index = (counters.index + signed(2)).max(0);
        counters.timestamp = counters
            .timestamp
            .wrapping_add((signed(4) << (kind >> 3 & 3)) as u32);
        counters.picture_id = counters.picture_id.wrapping_add(signed(6) as u16) & 0x7fff;
        counters.tl0picidx = counters.tl0picidx.wrapping_add(step[8]);
        now += u64::from(step[9]);

        let form = step[1];
        let mut payload = vec![0x80 | (form & 1) << 4, 0xe0];
        if form & 2 == 0 {
            payload.extend((0x8000 | counters.picture_id).to_be_bytes());
        } else {
            payload.push(counters.picture_id as u8 & 0x7f);
        }
        payload.extend([counters.tl0picidx, form & 0xc0 | form << 1 & 0x20]);
        payload.extend([form >> 3 & 1, 0, 0]);
        if form & 4 != 0 && kind & 0x40 != 0 {
            // Without a temporal id.
            payload[1] = 0xc0;
            payload.remove(payload.len() - 4);
            ordered = false;
        }
        let vp8 = Vp8Descriptor::parse(&payload).expect("well-formed");
        let opaque = kind & 0xc0 == 0x80;
        ordered &= !opaque;
        let facts = VideoFacts {
            encoding: encoding as u8,
            index: counters.index as u64,
            timestamp: counters.timestamp,
            marker: form & 0x20 != 0,
            payload_type: 100,
        };
        let payload = if opaque {
            Payload::Opaque
        } else {
            Payload::Vp8(vp8)
        };
        let highest = projection.highest_sequence();
        let verdict = projection.offer(Time::from_millis(now), &facts, &payload);
        let _ = (
            projection.needs_keyframe(),
            projection.project_timestamp(facts.encoding, facts.timestamp),
        );
        if let Verdict::Forward(rewrite) = verdict {
            assert!(rewrite.sequence <= highest + 1 + limits::MAX_HOLE, "leaps");
            let before = sent.insert(rewrite.sequence, rewrite);
            assert!(before.is_none(), "{} used twice", rewrite.sequence);
        }
    }
    if !ordered {
        return;
    }
    for ((_, from), (_, to)) in sent.iter().zip(sent.iter().skip(1)) {
        let ticks = to.timestamp.wrapping_sub(from.timestamp) as i32;
        assert!(ticks >= 0, "{from:?} {to:?}");
        let base = from
            .tl0picidx
            .zip(to.tl0picidx)
            .map(|(from, to)| to.wrapping_sub(from) as i8);
        assert!(base.is_none_or(|step| step >= 0), "{from:?} {to:?}");
        if ticks == 0 {
            let low = |id: Option<u16>| id.map(|id| id & 0x7f);
            assert_eq!(low(from.picture_id), low(to.picture_id), "{from:?} {to:?}");
        } else {
            assert_ne!(from.picture_id, to.picture_id, "{from:?} {to:?}");
        }
    }
});
