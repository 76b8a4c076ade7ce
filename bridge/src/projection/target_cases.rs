//! The numbered cases of media-plane spec §7.6: dependency descriptors.

use super::testing::Packet;
use super::*;
use crate::wire::dependency::{DependencyParser, MAX_ELEMENT};

/// Three temporal layers: offset 0, five templates (T0 key, T0, T1, T2, T2), three decode targets.
const L1T3: &str = "800214eaa860414d141020842701df010d";
/// Two spatial layers that meet at keyframes only, with two temporal layers each.
const L2T2_KEY: &str = "80e3061eaa82804028280514d14134518010a091889a09409fc059c13fc0b3c0";
/// Offset of the template ids of [`L2T2_KEY`].
const L2T2_OFFSET: u8 = 7;
/// Templates of [`L1T3`] in the order of its frames after the keyframe: T2 T1 T2 T0.
const L1T3_PATTERN: [u8; 4] = [3, 2, 4, 1];

/// A frame of one packet; its timestamp is 3000 times its frame number.
#[derive(Clone, Debug)]
struct Frame {
    encoding: u8,
    index: u64,
    number: u16,
    template: u8,
    /// What follows the mandatory part.
    extended: Vec<u8>,
}

/// Frame `number` of the L1T3 stream, the keyframe being frame `number` − `since` of it.
fn l1t3(number: u16, since: u16) -> Frame {
    let template = match since {
        0 => 0,
        _ => L1T3_PATTERN[usize::from(since - 1) % 4],
    };
    Frame {
        encoding: 0,
        index: 1000 + u64::from(number),
        number,
        template,
        extended: if since == 0 { bytes(L1T3) } else { Vec::new() },
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

/// What a receiver reads of a packet.
#[derive(Debug, PartialEq)]
struct Sent {
    sequence: u64,
    timestamp: u32,
    number: u16,
    template: u8,
    /// Active decode targets, if written.
    active: Option<u32>,
    /// Offset of the structure, if there is one.
    offset: Option<u8>,
}

struct Receiver {
    projection: Projection,
    parsers: [DependencyParser; 2],
    /// How the receiver itself reads what it gets.
    reader: DependencyParser,
    now: u64,
}

impl Receiver {
    fn wanting(encoding: u8, decode_target: u8) -> Receiver {
        let mut projection = Projection::new(Start {
            sequence: 1,
            timestamp: 1,
        });
        projection.set_target(target(encoding, decode_target));
        Receiver {
            projection,
            parsers: [DependencyParser::new(), DependencyParser::new()],
            reader: DependencyParser::new(),
            now: 0,
        }
    }

    fn want(&mut self, encoding: u8, decode_target: u8) {
        self.projection.set_target(target(encoding, decode_target));
    }

    fn offer(&mut self, frame: &Frame) -> Option<Sent> {
        self.now += 33;
        let mut element = vec![0xc0 | frame.template];
        element.extend(frame.number.to_be_bytes());
        element.extend(&frame.extended);
        let parser = &mut self.parsers[usize::from(frame.encoding)];
        let descriptor = parser.parse(frame.index, &element)?;
        let facts = VideoFacts {
            encoding: frame.encoding,
            index: frame.index,
            timestamp: 3000u32.wrapping_mul(u32::from(frame.number)),
            marker: true,
            payload_type: 41,
        };
        let now = Time::from_millis(self.now);
        let payload = Payload::Dependency(descriptor.clone());
        let Verdict::Forward(it) = self.projection.offer(now, &facts, &payload) else {
            return None;
        };
        let numbers = it.dependency.expect("with a descriptor");
        let mut out = [0; MAX_ELEMENT];
        let len = descriptor.rewrite(&element, &numbers, &mut out).unwrap();
        let read = self.reader.parse(it.sequence, &out[..len]).unwrap();
        assert_eq!(
            read.dependencies(),
            descriptor.dependencies(),
            "the receiver understands the frame as its sender meant it"
        );
        Some(Sent {
            sequence: it.sequence,
            timestamp: it.timestamp,
            number: read.frame_number(),
            template: out[0] & 0x3f,
            active: read.tells_active_targets().then(|| read.active_targets()),
            offset: read
                .structure()
                .filter(|_| read.is_keyframe())
                .map(|structure| structure.offset()),
        })
    }

    /// Offers frames `from`..=`to` of the L1T3 stream: frame numbers that were sent.
    fn play(&mut self, frames: std::ops::RangeInclusive<u16>) -> Vec<u16> {
        let sent = frames.filter_map(|number| self.offer(&l1t3(number, number)));
        sent.map(|sent| sent.number).collect()
    }
}

fn target(encoding: u8, decode_target: u8) -> LayerIndex {
    LayerIndex(i32::from(encoding) << 6 | i32::from(decode_target))
}

#[test]
fn media_plane_case_88_the_lowest_decode_target_is_told_beside_the_structure() {
    let mut receiver = Receiver::wanting(0, 0);
    let sent: Vec<_> = (0..=4)
        .filter_map(|number| receiver.offer(&l1t3(number, number)))
        .collect();
    let numbers: Vec<_> = sent
        .iter()
        .map(|sent| (sent.sequence, sent.number))
        .collect();
    assert_eq!(numbers, [(2, 0), (3, 4)]);
    assert_eq!((sent[0].active, sent[0].offset), (Some(0b001), Some(0)));
    assert_eq!((sent[1].active, sent[1].offset), (None, None));
}

#[test]
fn media_plane_case_89_all_decode_targets_need_not_be_told() {
    let mut receiver = Receiver::wanting(0, 2);
    let sent = receiver.offer(&l1t3(0, 0)).unwrap();
    assert_eq!((sent.active, sent.offset), (None, Some(0)));
    assert_eq!(receiver.play(1..=4), [1, 2, 3, 4]);
}

/// `frame` with custom indications: SWITCH for the best decode target, not part of the others.
fn switching(mut frame: Frame) -> Frame {
    frame.extended = vec![0b0010_0000, 0b0100_0000];
    frame
}

#[test]
fn media_plane_case_90_up_where_a_frame_allows_it_and_its_references_were_sent() {
    let mut receiver = Receiver::wanting(0, 0);
    assert_eq!(receiver.play(0..=4), [0, 4]);
    receiver.want(0, 2);
    let sent = receiver.offer(&switching(l1t3(5, 5))).unwrap();
    assert_eq!((sent.sequence, sent.number), (4, 5));
    assert_eq!(sent.active, Some(0b111));
    assert!(!receiver.projection.needs_keyframe());

    // Frame 3 refers to frame 2, which was left out: the next switch is frame 4.
    let mut receiver = Receiver::wanting(0, 0);
    assert_eq!(receiver.play(0..=2), [0]);
    receiver.want(0, 2);
    assert_eq!(receiver.offer(&switching(l1t3(3, 3))), None);
    let sent = receiver.offer(&l1t3(4, 4)).unwrap();
    assert_eq!((sent.number, sent.active), (4, Some(0b111)));
    assert_eq!(receiver.play(5..=8), [5, 6, 7, 8]);
}

#[test]
fn down_to_a_lower_decode_target_is_told_at_the_next_frame_that_allows_it() {
    let mut receiver = Receiver::wanting(0, 2);
    receiver.play(0..=4);
    receiver.want(0, 0);
    let sent: Vec<_> = (5..=12)
        .filter_map(|number| receiver.offer(&l1t3(number, number)))
        .map(|sent| (sent.number, sent.active))
        .collect();
    // Until frame 8 the receiver expects all; from there on the lowest alone.
    let told = sent.iter().position(|sent| sent.1 == Some(0b001)).unwrap();
    assert_eq!(sent[told].0, 8);
    assert_eq!(sent[told + 1..], [(12, None)]);
}

#[test]
fn a_frame_of_the_base_layer_that_comes_late_is_sent() {
    let mut receiver = Receiver::wanting(0, 2);
    let order = [0, 1, 2, 3, 5, 4, 6];
    let sent: Vec<_> = order
        .into_iter()
        .filter_map(|number| receiver.offer(&l1t3(number, number)))
        .map(|sent| sent.number)
        .collect();
    assert_eq!(sent, order);
}

#[test]
fn media_plane_case_91_without_switches_between_a_keyframe_is_asked_for() {
    let mut receiver = Receiver::wanting(0, 0);
    let key = Frame {
        encoding: 0,
        index: 1000,
        number: 100,
        template: L2T2_OFFSET,
        extended: bytes(L2T2_KEY),
    };
    assert!(receiver.offer(&key).is_some());
    assert!(!receiver.projection.needs_keyframe());
    // A delta frame of the lowest layer, whichever template that is.
    let delta = (1..8)
        .find_map(|template| {
            let mut parser = receiver.parsers[0].clone();
            let first = 0xc0 | (L2T2_OFFSET + template);
            let descriptor = parser.parse(1001, &[first, 0, 101])?;
            let frame = descriptor.dependencies()?;
            let [distance] = *frame.references() else {
                return None;
            };
            let lowest = (frame.spatial_id, frame.temporal_id) == (0, 0);
            lowest.then_some((template, distance))
        })
        .expect("there is one");
    receiver.want(0, 3);
    let frame = Frame {
        index: 1001,
        number: 100 + delta.1,
        template: L2T2_OFFSET + delta.0,
        extended: Vec::new(),
        ..key
    };
    let sent = receiver.offer(&frame).expect("the lower target goes on");
    assert_eq!(sent.number, 100 + delta.1);
    assert!(receiver.projection.needs_keyframe());
}

#[test]
fn media_plane_cases_92_and_93_template_ids_go_on_over_switches_modulo_64() {
    let mut receiver = Receiver::wanting(0, 2);
    let first = receiver.offer(&l1t3(0, 0)).unwrap();
    assert_eq!((first.offset, first.template), (Some(0), 0));
    let mut last = first.number;
    // Each encoding begins with offset 0 and five templates, time and again.
    for switch in 1..=14u16 {
        let encoding = (switch % 2) as u8;
        receiver.want(encoding, 2);
        receiver.now += 1000;
        let number = 40 * switch;
        let key = Frame {
            encoding,
            ..l1t3(number, 0)
        };
        let sent = receiver.offer(&key).unwrap();
        let expected = (5 * switch % 64) as u8;
        assert_eq!((sent.offset, sent.template), (Some(expected), expected));
        assert_eq!(sent.number, last + 1);
        let delta = Frame {
            encoding,
            ..l1t3(number + 1, 1)
        };
        let sent = receiver.offer(&delta).unwrap();
        assert_eq!(sent.template, (expected + 3) % 64);
        last = sent.number;
    }
}

#[test]
fn media_plane_case_94_a_stream_without_structure_asks_for_a_keyframe() {
    let mut receiver = Receiver::wanting(0, 2);
    assert_eq!(receiver.offer(&l1t3(1, 1)), None);
    assert!(receiver.projection.needs_keyframe());
    assert!(receiver.offer(&l1t3(2, 0)).is_some());
    assert!(receiver.offer(&l1t3(3, 1)).is_some());
    assert!(!receiver.projection.needs_keyframe());
}

#[test]
fn media_plane_case_95_numbers_survive_another_codec_between() {
    let mut receiver = Receiver::wanting(0, 2);
    receiver.play(0..=4);
    let vp8 = Packet::of(0, 1005, 15_000, 77, 8).key();
    receiver.now += 33;
    let now = Time::from_millis(receiver.now);
    let Verdict::Forward(sent) = receiver
        .projection
        .offer(now, &vp8.facts(), &vp8.descriptor())
    else {
        panic!("a keyframe of another codec is sent");
    };
    assert_eq!((sent.sequence, sent.timestamp), (7, 15_001 + 3000));
    assert_eq!(sent.dependency, None);
    // Back again: the encoder begins with frame 6 here and offset 0.
    assert_eq!(receiver.offer(&l1t3(6, 1)), None, "not without a keyframe");
    assert!(receiver.projection.needs_keyframe());
    let sent = receiver.offer(&l1t3(7, 0)).unwrap();
    assert_eq!((sent.sequence, sent.timestamp), (8, 24_001));
    assert_eq!((sent.number, sent.template, sent.offset), (5, 5, Some(5)));
    let sent = receiver.offer(&l1t3(8, 1)).unwrap();
    assert_eq!((sent.sequence, sent.number, sent.template), (9, 6, 8));
}

#[test]
fn media_plane_case_96_frame_numbers_wrap() {
    let mut receiver = Receiver::wanting(0, 2);
    let sent: Vec<_> = (0..8u16)
        .map(|since| {
            let number = 65_532u16.wrapping_add(since);
            let frame = Frame {
                index: 1000 + u64::from(since),
                ..l1t3(number, since)
            };
            receiver
                .offer(&frame)
                .map(|sent| (sent.sequence, sent.number))
        })
        .collect();
    let expected: Vec<_> = (0..8u16)
        .map(|since| Some((2 + u64::from(since), 65_532u16.wrapping_add(since))))
        .collect();
    assert_eq!(sent, expected);
}

#[test]
fn media_plane_case_97_a_target_beyond_the_structure_means_its_best() {
    let mut receiver = Receiver::wanting(0, 63);
    let sent = receiver.offer(&l1t3(0, 0)).unwrap();
    assert_eq!(sent.active, None, "all of them");
    let outside = Frame {
        template: 40,
        ..l1t3(1, 1)
    };
    assert_eq!(receiver.offer(&outside), None);
    assert!(
        receiver.projection.needs_keyframe(),
        "nobody knows what it was"
    );
}

/// There is no TL0PICIDX that could be in the way.
#[test]
fn a_frame_of_the_base_layer_that_comes_after_the_next_one_takes_its_place() {
    for decode_target in [0, 2] {
        let mut receiver = Receiver::wanting(0, decode_target);
        let numbers = (0..12).filter(|number| *number != 4);
        let sent: Vec<u64> = numbers
            .filter_map(|number| receiver.offer(&l1t3(number, number)))
            .map(|sent| sent.sequence)
            .collect();
        let late = receiver.offer(&l1t3(4, 4)).expect("it is sent");
        assert_eq!(late.timestamp, 3001 + 4 * 3000);
        assert!(!sent.contains(&late.sequence));
        assert!(sent[0] < late.sequence && late.sequence < *sent.last().unwrap());
    }
}
