//! What a receiver must be able to rely on, per outgoing SSRC (media-plane spec §3.10).

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Time;

/// What a model sender writes behind the payload descriptor: who sent it, and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label {
    pub ssrc: u32,
    pub frame: u32,
    pub part: u8,
    pub parts: u8,
    /// Spatial layer.
    pub layer: u8,
}

impl Label {
    pub const LEN: usize = 11;

    pub fn write(&self) -> [u8; Label::LEN] {
        let mut bytes = [0; Label::LEN];
        bytes[..4].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.frame.to_be_bytes());
        bytes[8] = self.part;
        bytes[9] = self.parts;
        bytes[10] = self.layer;
        bytes
    }

    pub fn read(bytes: &[u8]) -> Option<Label> {
        let bytes: &[u8; Label::LEN] = bytes.first_chunk()?;
        Some(Label {
            ssrc: u32::from_be_bytes(*bytes.first_chunk()?),
            frame: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            part: bytes[8],
            parts: bytes[9],
            layer: bytes[10],
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    pub timestamp: u32,
    pub marker: bool,
    pub label: Label,
    /// A keyframe begins here.
    pub keyframe: bool,
    /// It refers to the picture before.
    pub inter: bool,
    /// Picture id or frame number, and its bits.
    pub picture: Option<(u16, u8)>,
    pub tl0: Option<u8>,
    /// Template id and, with a structure, its offset.
    pub template: Option<(u8, Option<u8>)>,
}

impl Seen {
    pub fn audio(timestamp: u32, payload: &[u8]) -> Option<Seen> {
        Some(Seen {
            timestamp,
            marker: true,
            label: Label::read(payload)?,
            keyframe: true,
            inter: false,
            picture: None,
            tl0: None,
            template: None,
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
    decoded: Option<(u64, Seen)>,
    /// Offset of the structure that the decoder goes by.
    structure: Option<u8>,
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
            self.decode(now, index)?;
        } else {
            self.played.insert(seen.label.ssrc, now);
        }
        Ok(())
    }

    /// The SSRCs of the senders of what is in sight.
    pub fn sources(&self) -> impl Iterator<Item = u32> + '_ {
        self.sources.iter().copied()
    }

    /// Whether nothing is known of a packet that contradicts this.
    pub fn agrees(&self, index: u64, seen: Seen) -> bool {
        let known = self.packets.get(&index);
        known.is_none_or(|known| (known.label, known.timestamp) == (seen.label, seen.timestamp))
    }

    /// Decodes on from where it stands, or from a keyframe that `index` completed.
    fn decode(&mut self, now: Time, index: u64) -> Result<(), String> {
        if let Some(start) = self.frame_start(index)
            && self.packets[&start].keyframe
            && self.decoded.is_none_or(|(last, _)| start > last)
            && let Some(end) = self.frame_end(start)
        {
            self.play(now, start, end)?;
        }
        while let Some((last, before)) = self.decoded
            && let Some(next) = self.packets.get(&(last + 1))
            && next.label.part == 0
            && follows(before, *next)
            && let Some(end) = self.frame_end(last + 1)
        {
            self.play(now, last + 1, end)?;
        }
        Ok(())
    }

    fn play(&mut self, now: Time, start: u64, end: u64) -> Result<(), String> {
        for at in start..=end {
            let Some((template, offset)) = self.packets[&at].template else {
                continue;
            };
            let first = self.packets[&start].keyframe;
            self.structure = offset.or(self.structure);
            let expected = self
                .structure
                .map(|offset| (offset + u8::from(!first)) % 64);
            if expected != Some(template) {
                return Err(format!(
                    "template {template} instead of {expected:?} at {at}"
                ));
            }
        }
        let last = self.packets[&end];
        self.decoded = Some((end, last));
        self.last_progress = now;
        self.played.insert(last.label.ssrc, now);
        Ok(())
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
                    (seen.label.ssrc, seen.label.frame, seen.label.layer)
                        == (first.ssrc, first.frame, first.layer)
                })
            })
            .then_some(end)
    }
}

/// Whether a frame that begins with `next` can be decoded after the one that ended with `before`, with nothing
/// in between.
fn follows(before: Seen, next: Seen) -> bool {
    let (old, new) = (before.label, next.label);
    if next.keyframe {
        return true;
    }
    if old.ssrc != new.ssrc {
        return false;
    }
    if old.frame == new.frame {
        return new.layer == old.layer + 1 && !next.inter;
    }
    // Layers refer to the same layer of the picture before; of a key picture, all up to the last one came.
    let has_layer = new.layer == old.layer || !before.inter && new.layer < old.layer;
    new.frame == old.frame + 1 && has_layer
}

/// Two packets of a stream with nothing received in between.
fn in_order(video: bool, (at, low): (u64, Seen), (to, high): (u64, Seen)) -> Result<(), String> {
    let fail = |what: &str| Err(format!("{what}: {at} {low:?}, {to} {high:?}"));
    let ticks = high.timestamp.wrapping_sub(low.timestamp) as i32;
    let one_picture = low.label.ssrc == high.label.ssrc && low.label.frame == high.label.frame;
    if ticks < 0 {
        return fail("the timestamp goes back");
    }
    if one_picture != (ticks == 0) {
        return fail("timestamps do not tell pictures apart");
    }
    if !video {
        return Ok(());
    }
    if let (Some((before, bits)), Some((after, same_bits))) = (low.picture, high.picture)
        && bits == same_bits
    {
        let room = 1u32 << bits;
        let pictures = u32::from(after).wrapping_sub(before.into()) & (room - 1);
        if pictures >= room / 2 || one_picture != (pictures == 0) {
            return fail("picture ids do not follow the pictures");
        }
    }
    // Eight bits: comparable as long as the sender can not have gone half way round.
    if let (Some(before), Some(after)) = (low.tl0, high.tl0)
        && to - at < 64
        && ticks < 90_000 * 10
    {
        let step = after.wrapping_sub(before) as i8;
        // All pictures are of the base layer.
        if step < 0 || one_picture != (step == 0) {
            return fail("TL0PICIDX does not follow the pictures");
        }
    }
    if to == at + 1 {
        // One that is left within a picture, by a suspension or a switch, goes on with a keyframe.
        let left = !one_picture && high.keyframe;
        if low.marker == one_picture && !left {
            return fail("the marker is not where the picture ends");
        }
        let one_frame = one_picture && low.label.layer == high.label.layer;
        if one_frame {
            return match high.label.part == low.label.part + 1 {
                true => Ok(()),
                false => fail("a frame is out of order"),
            };
        }
        if low.label.ssrc != high.label.ssrc && !high.keyframe {
            return fail("a switch does not begin with a keyframe");
        }
        if high.label.part != 0 || low.label.part + 1 != low.label.parts {
            return fail("a frame is cut short and no sequence number tells");
        }
        // Nothing is missing here, so the receiver will decode on.
        if !follows(low, high) {
            return fail("frames are missing and no sequence number tells");
        }
    }
    Ok(())
}
