//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//!
//! [`Feedback`] is the checked view of the feedback control information (FCI) of an RTCP transport
//! feedback packet, FMT 15. [`write_feedback`] makes whole RTCP packets.

use crate::limits::{MAX_FEEDBACK_BYTES, MAX_TWCC_WINDOW};
use crate::time::Time;

/// RTCP packet type of transport layer feedback (RFC 4585 §6.1).
pub const PACKET_TYPE: u8 = 205;
/// Feedback message type of transport-wide congestion control.
pub const FORMAT: u8 = 15;
/// Unit of the reference time in µs (draft §3.1).
pub const REFERENCE_MICROS: i64 = 64_000;
/// Unit of the receive deltas in µs (draft §3.1.5).
pub const DELTA_MICROS: i64 = 250;

/// Offsets in the FCI.
mod field {
    pub(super) const BASE: usize = 0;
    pub(super) const COUNT: usize = 2;
    pub(super) const REFERENCE: usize = 4;
    pub(super) const FEEDBACK_COUNT: usize = 7;
    pub(super) const CHUNKS: usize = 8;
}

/// Longest run of a run length chunk (13 bits).
const MAX_RUN: usize = 0x1fff;
/// RTCP header and the two SSRCs.
const RTCP_HEADER: usize = 12;
/// Symbols of a status vector chunk with one bit for each.
const ONE_BIT_SYMBOLS: usize = 14;
/// Symbols of a status vector chunk with two bits for each.
const TWO_BIT_SYMBOLS: usize = 7;

/// Why an FCI is not feedback.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FeedbackError {
    /// Shorter than the fixed fields.
    #[error("feedback is shorter than its fixed fields")]
    Short,
    /// It promises the status of more packets than its chunks describe.
    #[error("feedback has fewer status chunks than its packet count needs")]
    Chunks,
    /// It promises more arrivals than there are receive deltas.
    #[error("feedback has fewer receive deltas than its chunks need")]
    Deltas,
}

/// A status symbol (draft §3.1.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Symbol {
    NotReceived,
    Small,
    Large,
}

impl Symbol {
    /// The reserved symbol 3 carries no delta; libwebrtc takes it for "not received" as well.
    const fn from_bits(bits: u16) -> Symbol {
        match bits & 3 {
            1 => Symbol::Small,
            2 => Symbol::Large,
            _ => Symbol::NotReceived,
        }
    }

    const fn bits(self) -> u16 {
        match self {
            Symbol::NotReceived => 0,
            Symbol::Small => 1,
            Symbol::Large => 2,
        }
    }

    const fn delta_bytes(self) -> usize {
        self.bits() as usize
    }
}

/// A packet status chunk (draft §3.1.2 to §3.1.4).
#[derive(Clone, Copy)]
struct Chunk(u16);

impl Chunk {
    fn len(self) -> usize {
        match self.0 >> 14 {
            0 | 1 => usize::from(self.0) & MAX_RUN,
            2 => ONE_BIT_SYMBOLS,
            _ => TWO_BIT_SYMBOLS,
        }
    }

    /// The symbol at `at` < [`Chunk::len`].
    fn symbol(self, at: usize) -> Symbol {
        match self.0 >> 14 {
            0 | 1 => Symbol::from_bits(self.0 >> 13),
            2 => Symbol::from_bits(self.0 >> (ONE_BIT_SYMBOLS - 1 - at) & 1),
            _ => Symbol::from_bits(self.0 >> (2 * (TWO_BIT_SYMBOLS - 1 - at))),
        }
    }

    /// Bytes of receive deltas that belong to the first `used` symbols.
    fn delta_bytes(self, used: usize) -> usize {
        match self.0 >> 14 {
            0 | 1 => self.symbol(0).delta_bytes() * used,
            _ => (0..used).map(|at| self.symbol(at).delta_bytes()).sum(),
        }
    }
}

/// One line of a feedback: what became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketStatus {
    /// Its transport-wide sequence number.
    pub sequence: u16,
    /// When it arrived, in µs on the receiver's clock (whose origin is that of
    /// [`Feedback::reference_time`]); `None` = not received.
    pub arrival: Option<i64>,
}

/// Checked view of the FCI of one feedback packet.
///
/// The check walks the chunks, not the packets, so its cost is bounded by the bytes that are there and
/// not by the counts that they claim (T47).
#[derive(Clone, Copy, Debug)]
pub struct Feedback<'a> {
    fci: &'a [u8],
    deltas_at: usize,
}

impl<'a> Feedback<'a> {
    /// Checks the FCI, the part of the RTCP packet after both SSRCs. Bytes after the last delta are padding.
    pub fn parse(fci: &'a [u8]) -> Result<Feedback<'a>, FeedbackError> {
        if fci.len() < field::CHUNKS {
            return Err(FeedbackError::Short);
        }
        let mut left = usize::from(be16(fci, field::COUNT));
        let mut at = field::CHUNKS;
        let mut delta_bytes = 0;
        while left > 0 {
            if at + 2 > fci.len() {
                return Err(FeedbackError::Chunks);
            }
            let chunk = Chunk(be16(fci, at));
            let used = chunk.len().min(left);
            delta_bytes += chunk.delta_bytes(used);
            left -= used;
            at += 2;
        }
        if at + delta_bytes > fci.len() {
            return Err(FeedbackError::Deltas);
        }
        Ok(Feedback { fci, deltas_at: at })
    }

    /// Sequence number of the first packet.
    pub fn base_sequence(&self) -> u16 {
        be16(self.fci, field::BASE)
    }

    /// Number of packets that this feedback is about.
    pub fn status_count(&self) -> u16 {
        be16(self.fci, field::COUNT)
    }

    /// Reference time in units of 64 ms, 24 bits signed.
    pub fn reference_time(&self) -> i32 {
        // Three bytes into the upper part, so that the shift extends the sign.
        let upper = be16(self.fci, field::REFERENCE);
        let lower = self.fci.get(field::REFERENCE + 2).copied().unwrap_or(0);
        i32::from_be_bytes([(upper >> 8) as u8, upper as u8, lower, 0]) >> 8
    }

    /// Counter of the feedback packets of this receiver.
    pub fn feedback_count(&self) -> u8 {
        self.fci.get(field::FEEDBACK_COUNT).copied().unwrap_or(0)
    }

    /// What became of each packet, in order of sequence numbers.
    pub fn packets(&self) -> Packets<'a> {
        let (head, deltas) = self
            .fci
            .split_at_checked(self.deltas_at)
            .unwrap_or_default();
        Packets {
            chunks: head.get(field::CHUNKS..).unwrap_or_default(),
            deltas,
            sequence: self.base_sequence(),
            left: usize::from(self.status_count()),
            chunk: Chunk(0),
            symbol: 0,
            symbols: 0,
            clock: i64::from(self.reference_time()) * REFERENCE_MICROS,
        }
    }
}

/// Iterator of [`Feedback::packets`].
#[derive(Clone)]
pub struct Packets<'a> {
    chunks: &'a [u8],
    deltas: &'a [u8],
    sequence: u16,
    left: usize,
    chunk: Chunk,
    /// Next symbol of the chunk.
    symbol: usize,
    /// Symbols in the chunk.
    symbols: usize,
    clock: i64,
}

impl Iterator for Packets<'_> {
    type Item = PacketStatus;

    fn next(&mut self) -> Option<PacketStatus> {
        if self.left == 0 {
            return None;
        }
        // A loop, because runs of length 0 are legal and say nothing.
        while self.symbol == self.symbols {
            let (chunk, rest) = self.chunks.split_first_chunk()?;
            self.chunk = Chunk(u16::from_be_bytes(*chunk));
            self.chunks = rest;
            self.symbol = 0;
            self.symbols = self.chunk.len();
        }
        let symbol = self.chunk.symbol(self.symbol);
        let delta = match symbol {
            Symbol::NotReceived => None,
            Symbol::Small => {
                let (delta, rest) = self.deltas.split_first()?;
                self.deltas = rest;
                Some(i64::from(*delta))
            }
            Symbol::Large => {
                let (delta, rest) = self.deltas.split_first_chunk()?;
                self.deltas = rest;
                Some(i64::from(i16::from_be_bytes(*delta)))
            }
        };
        self.clock += delta.unwrap_or(0) * DELTA_MICROS;
        let status = PacketStatus {
            sequence: self.sequence,
            arrival: delta.map(|_| self.clock),
        };
        self.symbol += 1;
        self.left -= 1;
        self.sequence = self.sequence.wrapping_add(1);
        Some(status)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Packets<'_> {}

/// Fixed fields of a feedback packet to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FeedbackHeader {
    /// SSRC of the sender of the feedback.
    pub sender_ssrc: u32,
    /// SSRC of (any of) the media.
    pub media_ssrc: u32,
    /// Sequence number of the first packet.
    pub base_sequence: u16,
    /// Counter of feedback packets.
    pub feedback_count: u8,
}

/// Appends one RTCP transport feedback packet to `out` and returns how many of `arrivals` it covers.
///
/// `arrivals` are the arrival times of the packets from `header.base_sequence` on, `None` = not received.
/// The packet ends before the first one that would make it larger than [`MAX_FEEDBACK_BYTES`], whose delta
/// does not fit into 16 bits, or that is number [`MAX_TWCC_WINDOW`] + 1 (T46): the caller goes on there
/// with the next packet. Covers at least one packet unless there is none; without any, nothing is
/// appended.
pub fn write_feedback(
    header: &FeedbackHeader,
    arrivals: impl Iterator<Item = Option<Time>>,
    out: &mut Vec<u8>,
) -> usize {
    let mut symbols = [Symbol::NotReceived; MAX_TWCC_WINDOW];
    let mut deltas = [0i16; MAX_TWCC_WINDOW];
    let mut count = 0usize;
    let mut delta_bytes = 0;
    let mut reference: Option<i64> = None;
    let mut clock = 0i64;
    for (arrival, (symbol, delta)) in arrivals.zip(symbols.iter_mut().zip(deltas.iter_mut())) {
        let mut next = Symbol::NotReceived;
        if let Some(arrival) = arrival {
            let arrival = i64::try_from(arrival.as_micros()).unwrap_or(i64::MAX / 2);
            if reference.is_none() {
                let start = arrival / REFERENCE_MICROS;
                reference = Some(start);
                clock = start * REFERENCE_MICROS;
            }
            // Rounded from the sum of what was written before, so that errors do not add up.
            let ticks = (arrival - clock + DELTA_MICROS / 2).div_euclid(DELTA_MICROS);
            let Ok(ticks) = i16::try_from(ticks) else {
                break;
            };
            next = if (0..=255).contains(&ticks) {
                Symbol::Small
            } else {
                Symbol::Large
            };
            *delta = ticks;
            clock += i64::from(ticks) * DELTA_MICROS;
        }
        // Every chunk but the last covers at least seven packets.
        let chunk_bytes = 2 * (count + 1).div_ceil(TWO_BIT_SYMBOLS);
        let bytes = field::CHUNKS + chunk_bytes + delta_bytes + next.delta_bytes();
        if RTCP_HEADER + bytes.next_multiple_of(4) > MAX_FEEDBACK_BYTES {
            break;
        }
        *symbol = next;
        delta_bytes += next.delta_bytes();
        count += 1;
    }
    if count == 0 {
        return 0;
    }

    let start = out.len();
    out.extend_from_slice(&[0x80 | FORMAT, PACKET_TYPE, 0, 0]);
    out.extend_from_slice(&header.sender_ssrc.to_be_bytes());
    out.extend_from_slice(&header.media_ssrc.to_be_bytes());
    out.extend_from_slice(&header.base_sequence.to_be_bytes());
    out.extend_from_slice(&(count as u16).to_be_bytes());
    // The reference time wraps after 24 bits; receivers of feedback use differences only.
    out.extend_from_slice(&(reference.unwrap_or(0) as u32).to_be_bytes()[1..]);
    out.push(header.feedback_count);
    let symbols = &symbols[..count];
    write_chunks(symbols, out);
    for (symbol, delta) in symbols.iter().zip(deltas) {
        match symbol {
            Symbol::NotReceived => {}
            Symbol::Small => out.push(delta as u8),
            Symbol::Large => out.extend_from_slice(&delta.to_be_bytes()),
        }
    }
    // Zero padding as the draft draws it, without the P bit: that is legal only at the end of a compound.
    out.resize(start + (out.len() - start).next_multiple_of(4), 0);
    let words = (out.len() - start) / 4 - 1;
    out[start + 2..start + 4].copy_from_slice(&(words as u16).to_be_bytes());
    count
}

/// Chooses for each position the chunk that covers most.
fn write_chunks(mut symbols: &[Symbol], out: &mut Vec<u8>) {
    while let Some(&first) = symbols.first() {
        let run = symbols
            .iter()
            .take(MAX_RUN)
            .take_while(|symbol| **symbol == first)
            .count();
        let one_bit = symbols.iter().take(ONE_BIT_SYMBOLS);
        let (chunk, covered) = if run > ONE_BIT_SYMBOLS || run == symbols.len() {
            (first.bits() << 13 | run as u16, run)
        } else if one_bit.clone().all(|symbol| *symbol != Symbol::Large) {
            let covered = one_bit.len();
            let bits = one_bit.fold(0, |bits, symbol| bits << 1 | symbol.bits());
            (0x8000 | bits << (ONE_BIT_SYMBOLS - covered), covered)
        } else if run > TWO_BIT_SYMBOLS {
            (first.bits() << 13 | run as u16, run)
        } else {
            let two_bit = symbols.iter().take(TWO_BIT_SYMBOLS);
            let covered = two_bit.len();
            let bits = two_bit.fold(0, |bits, symbol| bits << 2 | symbol.bits());
            (0xc000 | bits << (2 * (TWO_BIT_SYMBOLS - covered)), covered)
        };
        out.extend_from_slice(&chunk.to_be_bytes());
        symbols = &symbols[covered..];
    }
}

/// Two bytes at `at`; 0 beyond the end (which the checks exclude).
fn be16(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(&[a, b]) => u16::from_be_bytes([a, b]),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: FeedbackHeader = FeedbackHeader {
        sender_ssrc: 1,
        media_ssrc: 2,
        base_sequence: 1,
        feedback_count: 9,
    };

    fn millis(at: u64) -> Option<Time> {
        Some(Time::from_millis(at))
    }

    fn fci(chunks: &[u16], count: u16, deltas: &[u8]) -> Vec<u8> {
        let mut fci = vec![0, 1];
        fci.extend_from_slice(&count.to_be_bytes());
        fci.extend_from_slice(&[0, 0, 1, 0]);
        chunks
            .iter()
            .for_each(|chunk| fci.extend_from_slice(&chunk.to_be_bytes()));
        fci.extend_from_slice(deltas);
        fci
    }

    #[test]
    fn media_plane_case_53_one_lost_packet_between_three_arrivals() {
        let mut out = Vec::new();
        let arrivals = [millis(640), millis(641), None, millis(643)];
        assert_eq!(write_feedback(&HEADER, arrivals.into_iter(), &mut out), 4);

        assert_eq!(out[..4], [0x8f, 205, 0, 6]);
        assert_eq!(out[4..12], [0, 0, 0, 1, 0, 0, 0, 2]);
        // Base 1, four packets, reference 10 × 64 ms, feedback 9.
        assert_eq!(out[12..20], [0, 1, 0, 4, 0, 0, 10, 9]);
        // One bit each: received, received, lost, received.
        assert_eq!(out[20..22], [0b1011_0100, 0]);
        // Deltas of 0, 1 and 2 ms, then padding.
        assert_eq!(out[22..], [0, 4, 8, 0, 0, 0]);
    }

    #[test]
    fn t47_counts_beyond_the_bytes_are_refused() {
        assert_eq!(Feedback::parse(&[0; 7]).err(), Some(FeedbackError::Short));
        assert_eq!(
            Feedback::parse(&fci(&[], 1, &[])).err(),
            Some(FeedbackError::Chunks)
        );
        assert_eq!(
            Feedback::parse(&fci(&[0x2000 | 100], 65_535, &[0; 100])).err(),
            Some(FeedbackError::Chunks)
        );
        // 14 small deltas, but only 13 bytes.
        assert_eq!(
            Feedback::parse(&fci(&[0xbfff], 14, &[0; 13])).err(),
            Some(FeedbackError::Deltas)
        );
        assert!(Feedback::parse(&fci(&[0xbfff], 13, &[0; 13])).is_ok());
    }

    #[test]
    fn symbols_of_every_kind_of_chunk_are_read() {
        // A run of 3 small ones, two bits each for [large, lost, small, reserved, …], a run of 0.
        let chunks = [0x2003, 0xc000 | 0b10_00_01_11_00_00_00, 0x0000, 0x2001];
        let fci = fci(&chunks, 11, &[1, 2, 3, 0xff, 0xfe, 4, 5]);
        let feedback = Feedback::parse(&fci).expect("well formed");
        let start = REFERENCE_MICROS;
        let ticks: Vec<_> = feedback
            .packets()
            .map(|packet| packet.arrival.map(|at| (at - start) / DELTA_MICROS))
            .collect();
        let expected = [
            Some(1),
            Some(3),
            Some(6),
            Some(4),
            None,
            Some(8),
            None,
            None,
            None,
            None,
            Some(13),
        ];
        assert_eq!(ticks, expected);
        assert_eq!(
            feedback.packets().last().map(|packet| packet.sequence),
            Some(11)
        );
    }

    #[test]
    fn the_reference_time_is_signed() {
        let mut fci = fci(&[0x2001], 1, &[0]);
        fci[4..7].copy_from_slice(&[0xff, 0xff, 0xff]);
        let feedback = Feedback::parse(&fci).expect("well formed");
        assert_eq!(feedback.reference_time(), -1);
        assert_eq!(
            feedback.packets().next().and_then(|packet| packet.arrival),
            Some(-REFERENCE_MICROS)
        );
    }

    #[test]
    fn t46_a_feedback_ends_at_a_delta_that_does_not_fit() {
        let mut out = Vec::new();
        let arrivals = [millis(0), millis(8_191), None, millis(30_000)];
        assert_eq!(write_feedback(&HEADER, arrivals.into_iter(), &mut out), 3);
        out.clear();
        assert_eq!(
            write_feedback(&HEADER, arrivals.into_iter().skip(3), &mut out),
            1
        );
    }

    #[test]
    fn t46_a_feedback_never_exceeds_its_bytes_or_its_window() {
        // Every delta is large: two bytes each.
        let worst = (0..2_000).map(|at| millis(at * 100));
        let mut out = Vec::new();
        let covered = write_feedback(&HEADER, worst, &mut out);
        assert!((450..MAX_TWCC_WINDOW).contains(&covered), "{covered}");
        assert!(out.len() <= MAX_FEEDBACK_BYTES);
        out.clear();
        assert_eq!(
            write_feedback(&HEADER, std::iter::repeat_n(None, 2_000), &mut out),
            MAX_TWCC_WINDOW
        );
        assert_eq!(out.len(), 24, "one run is enough");
    }

    fn arrivals() -> impl Strategy<Value = Vec<Option<Time>>> {
        let step = prop_oneof![
            6 => (0u64..20_000).prop_map(|step| Some(step as i64)),
            2 => (-30_000i64..0).prop_map(Some),
            1 => (-9_000_000i64..9_000_000).prop_map(Some),
            4 => Just(None),
        ];
        (0u64..1 << 42, proptest::collection::vec(step, 0..1_200)).prop_map(|(start, steps)| {
            let mut clock = start;
            let mut next = |step: i64| {
                clock = clock.saturating_add_signed(step);
                Time::from_micros(clock)
            };
            steps.into_iter().map(|step| step.map(&mut next)).collect()
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(arrivals in arrivals(), base: u16) {
            let (mut at, mut out) = (0, Vec::new());
            while at < arrivals.len() {
                out.clear();
                let base_sequence = base.wrapping_add(at as u16);
                let header = FeedbackHeader { base_sequence, ..HEADER };
                let covered = write_feedback(&header, arrivals[at..].iter().copied(), &mut out);
                prop_assert!(covered > 0);
                prop_assert!(out.len() <= MAX_FEEDBACK_BYTES && out.len() % 4 == 0);
                prop_assert_eq!(usize::from(be16(&out, 2)), out.len() / 4 - 1);

                let feedback = Feedback::parse(&out[RTCP_HEADER..]).expect("own feedback");
                prop_assert_eq!(usize::from(feedback.status_count()), covered);
                for (status, written) in feedback.packets().zip(&arrivals[at..]) {
                    prop_assert_eq!(status.sequence, base.wrapping_add(at as u16));
                    prop_assert_eq!(status.arrival.is_some(), written.is_some());
                    if let (Some(read), Some(written)) = (status.arrival, written) {
                        let wrap = REFERENCE_MICROS << 24;
                        let error = (read - written.as_micros() as i64).rem_euclid(wrap);
                        prop_assert!(error.min(wrap - error) <= DELTA_MICROS / 2, "{}", error);
                    }
                    at += 1;
                }
            }
        }

        #[test]
        fn t47_arbitrary_bytes_are_refused_or_read_to_the_end(fci: Vec<u8>) {
            if let Ok(feedback) = Feedback::parse(&fci) {
                prop_assert_eq!(feedback.packets().count(), usize::from(feedback.status_count()));
            }
        }
    }
}
