//! What a receiver must be able to rely on, per outgoing SSRC (media-plane spec §3.10).

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Time;
use crate::wire::vp8::Vp8Descriptor;

/// What a model sender writes behind the payload descriptor: who sent it, and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label {
    pub ssrc: u32,
    pub frame: u32,
    pub part: u8,
    pub parts: u8,
}

impl Label {
    pub const LEN: usize = 10;

    pub fn write(&self) -> [u8; Label::LEN] {
        let mut bytes = [0; Label::LEN];
        bytes[..4].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.frame.to_be_bytes());
        bytes[8] = self.part;
        bytes[9] = self.parts;
        bytes
    }

    pub fn read(bytes: &[u8]) -> Option<Label> {
        let bytes: &[u8; Label::LEN] = bytes.first_chunk()?;
        Some(Label {
            ssrc: u32::from_be_bytes(*bytes.first_chunk()?),
            frame: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            part: bytes[8],
            parts: bytes[9],
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    pub timestamp: u32,
    pub marker: bool,
    pub label: Label,
    pub keyframe: bool,
    pub picture: u16,
    pub tl0: u8,
}

impl Seen {
    pub fn video(timestamp: u32, marker: bool, payload: &[u8]) -> Option<Seen> {
        let descriptor = Vp8Descriptor::parse(payload)?;
        // Ten bytes of VP8 header, then the label.
        let label = Label::read(payload.get(descriptor.len() + 10..)?)?;
        Some(Seen {
            timestamp,
            marker,
            label,
            keyframe: descriptor.is_keyframe_start(),
            picture: descriptor.picture_id()?,
            tl0: descriptor.tl0picidx()?,
        })
    }

    pub fn audio(timestamp: u32, payload: &[u8]) -> Option<Seen> {
        Some(Seen {
            timestamp,
            marker: true,
            label: Label::read(payload)?,
            keyframe: true,
            picture: 0,
            tl0: 0,
        })
    }
}

/// Packets remembered per stream.
const WINDOW: usize = 600;

/// One outgoing SSRC as its receiver sees it.
#[derive(Default)]
pub struct Stream {
    pub video: bool,
    packets: BTreeMap<u64, Seen>,
    /// Senders of what came.
    sources: BTreeSet<u32>,
    /// The last packet of the last frame that could be decoded, and that frame.
    decoded: Option<(u64, Label)>,
    /// Missing: when first noticed, when asked for, how often.
    pub missing: BTreeMap<u64, (Time, u32)>,
    pub highest: Option<u64>,
    pub last_progress: Time,
    pub last_pli: Time,
    /// When a frame of a source (its SSRC) was last decoded.
    pub played: BTreeMap<u32, Time>,
}

impl Stream {
    /// Takes in a packet; an error is a broken promise of the bridge.
    pub fn receive(&mut self, now: Time, index: u64, seen: Seen) -> Result<(), String> {
        if let Some(before) = self.packets.get(&index) {
            return match *before == seen {
                true => Ok(()),
                false => Err(format!("sequence {index} used twice: {before:?}, {seen:?}")),
            };
        }
        let before = self.packets.range(..index).next_back();
        let after = self.packets.range(index + 1..).next();
        for (low, high) in [
            before.map(|(at, before)| ((*at, *before), (index, seen))),
            after.map(|(at, after)| ((index, seen), (*at, *after))),
        ]
        .into_iter()
        .flatten()
        {
            in_order(self.video, low, high)?;
        }
        self.packets.insert(index, seen);
        self.sources.insert(seen.label.ssrc);
        self.missing.remove(&index);
        match self.highest {
            Some(highest) if index > highest => {
                for lost in (highest + 1..index).rev().take(100) {
                    self.missing.insert(lost, (now, 0));
                }
                self.highest = Some(index);
            }
            None => self.highest = Some(index),
            _ => {}
        }
        while self.packets.len() > WINDOW {
            self.packets.pop_first();
        }
        while self.missing.len() > WINDOW {
            self.missing.pop_first();
        }
        if self.video {
            self.decode(now, index);
        } else {
            self.played.insert(seen.label.ssrc, now);
        }
        Ok(())
    }

    /// The SSRCs of the senders of what is in sight.
    pub fn sources(&self) -> impl Iterator<Item = u32> + '_ {
        self.sources.iter().copied()
    }

    /// Decodes on from where it stands, or from a keyframe that `index` completed.
    fn decode(&mut self, now: Time, index: u64) {
        if let Some(start) = self.frame_start(index)
            && self.packets[&start].keyframe
            && self.decoded.is_none_or(|(last, _)| start > last)
            && let Some(end) = self.frame_end(start)
        {
            self.play(now, end);
        }
        while let Some((last, label)) = self.decoded
            && let Some(next) = self.packets.get(&(last + 1))
            && next.label.part == 0
            && (next.keyframe
                || next.label.ssrc == label.ssrc && next.label.frame == label.frame + 1)
            && let Some(end) = self.frame_end(last + 1)
        {
            self.play(now, end);
        }
    }

    fn play(&mut self, now: Time, end: u64) {
        let label = self.packets[&end].label;
        self.decoded = Some((end, label));
        self.last_progress = now;
        self.played.insert(label.ssrc, now);
    }

    fn frame_start(&self, index: u64) -> Option<u64> {
        index
            .checked_sub(u64::from(self.packets[&index].label.part))
            .filter(|at| self.packets.contains_key(at))
    }

    fn frame_end(&self, start: u64) -> Option<u64> {
        let first = self.packets[&start].label;
        let end = start + u64::from(first.parts) - 1;
        (start..=end)
            .all(|at| {
                self.packets.get(&at).is_some_and(|seen| {
                    seen.label.ssrc == first.ssrc && seen.label.frame == first.frame
                })
            })
            .then_some(end)
    }
}

/// Two packets of a stream with nothing received in between.
fn in_order(video: bool, (at, low): (u64, Seen), (to, high): (u64, Seen)) -> Result<(), String> {
    let fail = |what: &str| Err(format!("{what}: {at} {low:?}, {to} {high:?}"));
    let ticks = high.timestamp.wrapping_sub(low.timestamp) as i32;
    let same = low.label.ssrc == high.label.ssrc && low.label.frame == high.label.frame;
    if ticks < 0 {
        return fail("the timestamp goes back");
    }
    if same != (ticks == 0) {
        return fail("timestamps do not tell frames apart");
    }
    if !video {
        return Ok(());
    }
    let pictures = high.picture.wrapping_sub(low.picture) & 0x7fff;
    if pictures >= 0x4000 || same != (pictures == 0) {
        return fail("picture ids do not follow the frames");
    }
    // Eight bits: comparable as long as the sender can not have gone half way round.
    if to - at < 64 && ticks < 90_000 * 10 && (high.tl0.wrapping_sub(low.tl0) as i8) < 0 {
        return fail("TL0PICIDX goes back");
    }
    if to == at + 1 && !same {
        if low.label.ssrc != high.label.ssrc && !high.keyframe {
            return fail("a switch does not begin with a keyframe");
        }
        if high.label.part != 0 || low.label.part + 1 != low.label.parts {
            return fail("a frame is cut short and no sequence number tells");
        }
        // Nothing is missing here, so the receiver will decode on.
        if !high.keyframe && high.label.frame != low.label.frame + 1 {
            return fail("frames are missing and no sequence number tells");
        }
    }
    Ok(())
}
