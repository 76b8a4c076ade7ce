//! Redundant audio per receiver (media-plane spec §2.16): RED is made for those who take it, and taken
//! apart, with what it repairs, for those who do not.

use std::sync::Arc;

use crate::config::{RedConfig, RedPolicy};
use crate::media::Codec;
use crate::projection::{AudioProjection, AudioRewrite, Payload};
use crate::time::Time;
use crate::wire::red::{MAX_BLOCKS, MAX_OFFSET, NewBlock};
use crate::worker::packet::{AUDIO_LEVEL, MediaPacket};

/// The sender believes that there is speech (RFC 6464 §3).
const VOICE: u8 = 0x80;

/// Bytes that a packet with redundancy may have, as in libwebrtc: blocks that do not fit are left out.
const MOST_BYTES: usize = 1024;

/// What is done with an audio packet for one receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Treatment {
    /// Sent as it is.
    Unchanged,
    /// Sent as RED with the packets before it.
    Protect,
    /// RED is taken apart.
    Strip,
}

/// Chooses by what comes and what the receiver takes.
pub(crate) fn treatment(policy: RedPolicy, codec: Codec, receiver_takes_red: bool) -> Treatment {
    match (codec, receiver_takes_red) {
        (Codec::Opus, true) if policy == RedPolicy::ProtectAll => Treatment::Protect,
        (Codec::Red, true) if policy != RedPolicy::Strip => Treatment::Unchanged,
        (Codec::Red, _) => Treatment::Strip,
        _ => Treatment::Unchanged,
    }
}

/// The latest plain packets of an audio source.
#[derive(Default, Debug)]
pub(crate) struct AudioHistory {
    /// The newest first.
    recent: [Option<Arc<MediaPacket>>; MAX_BLOCKS],
}

impl AudioHistory {
    /// Keeps a packet, after it was fanned out; the one that makes room for it is returned.
    pub fn push(&mut self, packet: &Arc<MediaPacket>) -> Option<Arc<MediaPacket>> {
        let newest = self.recent[0].as_ref().map(|packet| packet.index);
        if packet.codec != Codec::Opus || newest.is_some_and(|newest| newest >= packet.index) {
            return None;
        }
        self.recent.rotate_right(1);
        self.recent[0].replace(Arc::clone(packet))
    }

    fn by_index(&self, index: u64) -> Option<&MediaPacket> {
        let mut recent = self.recent.iter().flatten();
        recent.find(|packet| packet.index == index).map(|it| &**it)
    }

    /// What protects the packets before `packet`, oldest first; `is_sent` tells whether an index belongs to the
    /// receiver's stream.
    pub fn redundancy(
        &self,
        config: RedConfig,
        packet: &MediaPacket,
        is_sent: impl Fn(u64) -> bool,
    ) -> [Option<NewBlock<'_>>; MAX_BLOCKS] {
        let before = |distance| {
            let index = packet.index.checked_sub(distance)?;
            self.by_index(index).filter(|_| is_sent(index))
        };
        let passes = |packet: &MediaPacket| {
            let voice = packet.kept(AUDIO_LEVEL).and_then(|level| level.first());
            !config.vad_only || voice.is_some_and(|level| level & VOICE != 0)
        };
        let block = |old: &'_ MediaPacket| {
            let offset = packet.header.timestamp.wrapping_sub(old.header.timestamp);
            (1..=MAX_OFFSET).contains(&offset).then_some(offset)
        };
        let Some(one) = before(1) else {
            return [None; MAX_BLOCKS];
        };
        let two = before(2).filter(|two| config.two_packets && passes(two));
        if two.is_none() && !passes(one) {
            return [None; MAX_BLOCKS];
        }
        let mut room = MOST_BYTES.saturating_sub(packet.payload().len());
        // The nearest is worth the most.
        let [one, two] = [Some(one), two].map(|old| {
            let old = old?;
            room = room.checked_sub(old.payload().len())?;
            Some((block(old)?, old.payload()))
        });
        [two, one]
    }
}

/// Takes RED apart for one receiver: the packets that it lacks, oldest first, and the primary, each with its
/// content. Nothing is sent twice, whichever way it comes.
pub(crate) fn strip<'a>(
    projection: &mut AudioProjection,
    now: Time,
    packet: &'a MediaPacket,
) -> [Option<(AudioRewrite, &'a [u8])>; MAX_BLOCKS + 1] {
    let Payload::Red(red) = &packet.descriptor else {
        return [None; MAX_BLOCKS + 1];
    };
    let payload = packet.payload();
    let mut out = [None; MAX_BLOCKS + 1];
    for (place, distance) in out.iter_mut().zip((1..=MAX_BLOCKS).rev()) {
        let block = red
            .block(distance)
            .filter(|block| block.payload_type == red.payload_type && block.offset > 0);
        let index = packet.index.checked_sub(distance as u64);
        if let Some((block, index)) = block.zip(index)
            && let content = block.content(payload)
            && !content.is_empty()
            && projection.is_within(index)
        {
            let timestamp = packet.header.timestamp.wrapping_sub(block.offset.into());
            *place = projection
                .offer(now, index, timestamp)
                .map(|rewrite| (rewrite, content));
        }
    }
    out[MAX_BLOCKS] = projection
        .offer(now, packet.index, packet.header.timestamp)
        .map(|rewrite| (rewrite, red.primary(payload)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::Start;
    use crate::wire::red::{self, RedPacket};

    #[test]
    fn media_plane_case_114_what_comes_and_what_the_receiver_takes() {
        use RedPolicy::{Noop, ProtectAll, Strip};
        use Treatment::{Protect, Unchanged};
        for (codec, takes_red, expected) in [
            (Codec::Opus, true, [Unchanged, Unchanged, Protect]),
            (Codec::Opus, false, [Unchanged; 3]),
            (Codec::Red, true, [Unchanged, Treatment::Strip, Unchanged]),
            (Codec::Red, false, [Treatment::Strip; 3]),
        ] {
            let got = [Noop, Strip, ProtectAll].map(|policy| treatment(policy, codec, takes_red));
            assert_eq!(got, expected, "{codec:?} {takes_red}");
        }
    }

    /// An Opus packet of 20 ms whose only byte is its index.
    fn opus(index: u64, voice: bool) -> MediaPacket {
        let mut packet = MediaPacket::empty();
        packet.codec = Codec::Opus;
        packet.index = index;
        packet.header.timestamp = index as u32 * 960;
        packet.header.payload_start = 20;
        packet.data[16] = if voice { VOICE | 30 } else { 30 };
        packet.kept[AUDIO_LEVEL] = (16, 1);
        packet.data[20] = index as u8;
        packet.payload_end = 21;
        packet
    }

    /// The same with the packets before it.
    fn redundant(index: u64, before: &[u64]) -> MediaPacket {
        let mut packet = opus(index, true);
        packet.codec = Codec::Red;
        let contents: Vec<_> = before.iter().map(|it| [*it as u8]).collect();
        let blocks: Vec<_> = before
            .iter()
            .zip(&contents)
            .map(|(it, content)| Some(((index - it) as u32 * 960, &content[..])))
            .collect();
        let mut payload = [0; 40];
        let len = red::write(&mut payload, 111, &blocks, &[index as u8]).unwrap();
        packet.data[20..20 + len].copy_from_slice(&payload[..len]);
        packet.payload_end = 20 + len as u16;
        packet.descriptor = Payload::Red(RedPacket::parse(&payload[..len]).unwrap());
        packet
    }

    fn stripped(projection: &mut AudioProjection, packet: &MediaPacket) -> Vec<(u64, u32, u8)> {
        let sent = strip(projection, Time::ZERO, packet).into_iter().flatten();
        sent.map(|(it, content)| (it.sequence, it.timestamp, content[0]))
            .collect()
    }

    fn projection() -> AudioProjection {
        AudioProjection::new(Start {
            sequence: 500,
            timestamp: 40,
        })
    }

    #[test]
    fn media_plane_case_115_what_was_lost_is_repaired_once_and_in_order() {
        let mut audio = projection();
        let first = stripped(&mut audio, &redundant(10, &[8, 9]));
        assert_eq!(first, [(501, 1000, 10)], "what was before is not missed");
        // Packet 11 is lost.
        let packet = redundant(12, &[10, 11]);
        assert_eq!(
            stripped(&mut audio, &packet),
            [(502, 1960, 11), (503, 2920, 12)]
        );
        assert_eq!(stripped(&mut audio, &packet), []);
        assert_eq!(
            stripped(&mut audio, &redundant(11, &[9, 10])),
            [],
            "late, and recovered before"
        );
        assert_eq!(
            stripped(&mut audio, &redundant(15, &[13, 14])),
            [(504, 3880, 13), (505, 4840, 14), (506, 5800, 15)]
        );
    }

    /// What is written before packet 3, by the contents of the blocks.
    fn protection(config: RedConfig, voice: [bool; 2]) -> Vec<u8> {
        let mut history = AudioHistory::default();
        for (index, voice) in (1..).zip(voice) {
            history.push(&Arc::new(opus(index, voice)));
        }
        let blocks = history.redundancy(config, &opus(3, true), |_| true);
        let contents = blocks.into_iter().flatten();
        contents.map(|(_, content)| content[0]).collect()
    }

    #[test]
    fn media_plane_case_116_speech_is_protected() {
        let two = RedConfig {
            policy: RedPolicy::ProtectAll,
            ..RedConfig::default()
        };
        assert_eq!(protection(two, [true, false]), [1, 2]);
        assert!(protection(two, [false, false]).is_empty());
        assert_eq!(protection(two, [false, true]), [2]);
        let one = RedConfig {
            two_packets: false,
            ..two
        };
        assert!(protection(one, [true, false]).is_empty());
        assert_eq!(protection(one, [true, true]), [2]);
        let all = RedConfig {
            vad_only: false,
            ..two
        };
        assert_eq!(protection(all, [false, false]), [1, 2]);
    }

    #[test]
    fn only_what_is_near_and_in_the_stream_protects() {
        let config = RedConfig {
            policy: RedPolicy::ProtectAll,
            ..RedConfig::default()
        };
        let mut history = AudioHistory::default();
        history.push(&Arc::new(opus(1, true)));
        history.push(&Arc::new(opus(2, true)));
        history.push(&Arc::new(opus(1, true)));
        let all = |packet: &MediaPacket, from: u64| {
            let blocks = history.redundancy(config, packet, |index| index >= from);
            blocks.map(|block| block.map(|(offset, _)| offset))
        };
        assert_eq!(all(&opus(3, true), 0), [Some(1920), Some(960)]);
        assert_eq!(all(&opus(3, true), 2), [None, Some(960)]);
        assert_eq!(all(&opus(4, true), 0), [None; 2], "3 is missing");
        let mut after_a_pause = opus(3, true);
        after_a_pause.header.timestamp += MAX_OFFSET;
        assert_eq!(all(&after_a_pause, 0), [None; 2]);
        let mut long = opus(3, true);
        long.payload_end = 20 + MOST_BYTES as u16 - 1;
        assert_eq!(all(&long, 0), [None, Some(960)]);
    }
}
