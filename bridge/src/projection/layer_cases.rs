//! The numbered cases of media-plane spec §7.5: VP9 with spatial layers.

use super::*;

/// A layer frame of one packet. Picture `p` has timestamp 3000·`p` and arrives 33·`p` ms after the start.
#[derive(Clone, Copy)]
struct LayerFrame {
    encoding: u8,
    index: u64,
    picture: u16,
    spatial: u8,
    temporal: u8,
    inter_picture: bool,
    inter_layer: bool,
    /// Upper layers refer to it.
    reference: bool,
    start: bool,
    end: bool,
    marker: bool,
    /// Spatial layers that a scalability structure tells.
    layers: Option<u8>,
}

impl LayerFrame {
    fn of(index: u64, picture: u16, spatial: u8) -> LayerFrame {
        LayerFrame {
            encoding: 0,
            index,
            picture,
            spatial,
            temporal: 0,
            inter_picture: true,
            inter_layer: false,
            reference: false,
            start: true,
            end: true,
            marker: true,
            layers: None,
        }
    }

    fn descriptor(&self) -> Payload {
        let mut flags = 0x80 | 0x20;
        flags |= u8::from(self.inter_picture) << 6;
        flags |= u8::from(self.start) << 3;
        flags |= u8::from(self.end) << 2;
        flags |= u8::from(self.layers.is_some()) << 1;
        flags |= u8::from(!self.reference);
        let mut payload = vec![flags];
        payload.extend((0x8000 | self.picture).to_be_bytes());
        payload.push(self.temporal << 5 | self.spatial << 1 | u8::from(self.inter_layer));
        payload.push(self.picture as u8);
        if let Some(layers) = self.layers {
            payload.push((layers - 1) << 5);
        }
        payload.push(0);
        Payload::Vp9(Vp9Descriptor::parse(&payload).unwrap())
    }
}

/// What the receiver gets: sequence, marker, picture id, timestamp.
type Sent = (u64, bool, u16, u32);

struct Receiver(Projection);

impl Receiver {
    fn wanting(target: LayerIndex) -> Receiver {
        let mut projection = Projection::new(Start {
            sequence: 1,
            timestamp: 1,
        });
        projection.set_target(target);
        Receiver(projection)
    }

    fn want(&mut self, spatial: u8) {
        self.0.set_target(LayerIndex::new(0, spatial, 0));
    }

    fn offer_at(&mut self, millis: u64, frame: LayerFrame) -> Option<Sent> {
        let facts = VideoFacts {
            encoding: frame.encoding,
            index: frame.index,
            timestamp: 3000 * u32::from(frame.picture),
            marker: frame.marker,
            payload_type: 101,
        };
        let now = Time::from_millis(millis);
        match self.0.offer(now, &facts, &frame.descriptor()) {
            Verdict::Forward(it) => Some((it.sequence, it.marker, it.picture_id?, it.timestamp)),
            Verdict::Drop => None,
        }
    }

    fn offer(&mut self, frame: LayerFrame) -> Option<Sent> {
        self.offer_at(33 * u64::from(frame.picture), frame)
    }

    /// Offers the three layers of a picture: sequence and marker of each that was sent.
    fn picture(&mut self, picture: u16, shape: Shape) -> [Option<(u64, bool)>; 3] {
        superframe(picture, shape).map(|frame| self.offer(frame).map(|sent| (sent.0, sent.1)))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Key,
    /// Spatial layers refer to each other in key pictures only.
    KeySvcDelta,
    SvcDelta,
}

/// Picture `p` of §7.5: three layer frames, the first picture is 10 with packets 100 to 102.
fn superframe(picture: u16, shape: Shape) -> [LayerFrame; 3] {
    [0, 1, 2].map(|spatial| LayerFrame {
        inter_picture: shape != Shape::Key,
        inter_layer: shape != Shape::KeySvcDelta && spatial > 0,
        reference: shape != Shape::KeySvcDelta && spatial < 2,
        marker: spatial == 2,
        layers: (shape == Shape::Key && spatial == 0).then_some(3),
        ..LayerFrame::of(
            100 + 3 * u64::from(picture - 10) + u64::from(spatial),
            picture,
            spatial,
        )
    })
}

#[test]
fn media_plane_case_76_the_lowest_layer_alone_ends_its_pictures() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 0));
    for (picture, sequence) in [(10, 2), (11, 3), (12, 4)] {
        let shape = if picture == 10 {
            Shape::Key
        } else {
            Shape::KeySvcDelta
        };
        let sent = superframe(picture, shape).map(|frame| receiver.offer(frame));
        let timestamp = 3001 + 3000 * (u32::from(picture) - 10);
        assert_eq!(
            sent,
            [Some((sequence, true, picture, timestamp)), None, None]
        );
    }
}

#[test]
fn media_plane_case_77_k_svc_needs_lower_layers_in_key_pictures_only() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 2, 0));
    assert_eq!(
        receiver.picture(10, Shape::Key),
        [Some((2, false)), Some((3, false)), Some((4, true))]
    );
    assert_eq!(
        receiver.picture(11, Shape::KeySvcDelta),
        [None, None, Some((5, true))]
    );
}

#[test]
fn media_plane_case_78_full_svc_needs_all_layers() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 2, 0));
    receiver.picture(10, Shape::Key);
    assert_eq!(
        receiver.picture(11, Shape::SvcDelta),
        [Some((5, false)), Some((6, false)), Some((7, true))]
    );
}

#[test]
fn media_plane_case_79_k_svc_goes_up_at_key_pictures_only() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 0));
    receiver.picture(10, Shape::Key);
    receiver.want(1);
    assert_eq!(
        receiver.picture(11, Shape::KeySvcDelta),
        [Some((3, true)), None, None]
    );
    assert!(receiver.0.needs_keyframe());
    assert_eq!(
        receiver.picture(12, Shape::Key),
        [Some((4, false)), Some((5, true)), None]
    );
    assert!(!receiver.0.needs_keyframe());
    assert_eq!(
        receiver.picture(13, Shape::KeySvcDelta),
        [None, Some((6, true)), None]
    );
}

#[test]
fn full_svc_goes_up_at_any_picture_whose_lower_layers_were_sent() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 0));
    receiver.picture(10, Shape::Key);
    receiver.want(2);
    // The upper layers refer to pictures of their own, which were not sent.
    assert_eq!(receiver.picture(11, Shape::SvcDelta)[1..], [None, None]);
    assert!(receiver.0.needs_keyframe());
    let [base, mut middle, mut top] = superframe(12, Shape::SvcDelta);
    (middle.inter_picture, top.inter_picture) = (false, false);
    assert_eq!(receiver.offer(base).map(|sent| sent.0), Some(4));
    assert_eq!(receiver.offer(middle).map(|sent| sent.0), Some(5));
    assert_eq!(
        receiver.offer(top).map(|sent| (sent.0, sent.1)),
        Some((6, true))
    );
}

#[test]
fn fewer_spatial_and_temporal_layers_at_once_need_no_key_picture() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 2, 1));
    receiver.picture(10, Shape::Key);
    receiver.want(1);
    for frame in superframe(11, Shape::SvcDelta) {
        let frame = LayerFrame {
            temporal: 1,
            ..frame
        };
        assert_eq!(receiver.offer(frame), None);
    }
    assert!(!receiver.0.needs_keyframe());
    assert_eq!(
        receiver.picture(12, Shape::SvcDelta),
        [Some((5, false)), Some((6, true)), None]
    );
}

#[test]
fn media_plane_case_80_k_svc_goes_down_at_once() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 2, 0));
    receiver.picture(10, Shape::Key);
    receiver.want(1);
    assert_eq!(
        receiver.picture(11, Shape::KeySvcDelta),
        [None, Some((5, true)), None]
    );
    assert!(!receiver.0.needs_keyframe());
}

#[test]
fn media_plane_case_81_a_suspended_stream_resumes_with_a_key_picture() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 2, 0));
    receiver.picture(10, Shape::Key);
    receiver.0.set_target(LayerIndex::SUSPENDED);
    assert_eq!(receiver.picture(11, Shape::KeySvcDelta), [None; 3]);
    receiver.want(2);
    assert_eq!(receiver.picture(12, Shape::KeySvcDelta), [None; 3]);
    let sent = superframe(13, Shape::Key).map(|frame| receiver.offer(frame));
    assert_eq!(
        sent,
        [
            Some((5, false, 11, 12_001)),
            Some((6, false, 11, 12_001)),
            Some((7, true, 11, 12_001))
        ]
    );
}

/// A stream with one spatial layer.
fn single(picture: u16, temporal: u8) -> LayerFrame {
    LayerFrame {
        temporal,
        inter_picture: picture != 10,
        ..LayerFrame::of(90 + u64::from(picture), picture, 0)
    }
}

#[test]
fn media_plane_case_82_picture_ids_keep_their_distance() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 0));
    let sent = [single(10, 0), single(11, 1), single(12, 0)].map(|frame| receiver.offer(frame));
    assert_eq!(
        sent,
        [Some((2, true, 10, 3001)), None, Some((3, true, 12, 9001))]
    );
}

#[test]
fn media_plane_case_83_a_lost_picture_leaves_one_hole() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 0));
    receiver.offer(single(10, 0));
    assert_eq!(receiver.offer(single(11, 1)), None);
    assert_eq!(receiver.offer(single(13, 1)), None);
    assert_eq!(receiver.offer(single(14, 0)), Some((4, true, 14, 15_001)));
}

/// A key picture of the second encoding.
fn other_key(index: u64, picture: u16, start: bool) -> LayerFrame {
    LayerFrame {
        encoding: 1,
        inter_picture: false,
        start,
        ..LayerFrame::of(index, picture, 0)
    }
}

#[test]
fn media_plane_case_84_room_is_left_for_an_unseen_start() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 0));
    receiver.offer(single(10, 0));
    receiver.0.set_target(LayerIndex::new(1, 0, 0));
    let sent = receiver.offer_at(1000, other_key(7000, 50, false));
    assert_eq!(sent.map(|sent| sent.0), Some(2 + 16));
    let first = LayerFrame {
        end: false,
        marker: false,
        ..other_key(6999, 50, true)
    };
    let late = receiver.offer_at(1005, first);
    assert_eq!(
        late.map(|sent| sent.0),
        Some(2 + 15),
        "its first packet finds its place"
    );
}

#[test]
fn media_plane_case_85_fewer_layers_are_followed_down() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 2, 0));
    receiver.picture(10, Shape::Key);
    receiver.picture(11, Shape::SvcDelta);
    let told = |picture: u16, index: u64| LayerFrame {
        layers: Some(1),
        ..LayerFrame::of(index, picture, 0)
    };
    let sent = receiver.offer(told(12, 106));
    assert_eq!(sent.map(|sent| (sent.0, sent.1)), Some((8, true)));

    // With K-SVC the lowest layer was not sent before: nothing to go on from.
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 2, 0));
    receiver.picture(10, Shape::Key);
    receiver.picture(11, Shape::KeySvcDelta);
    assert_eq!(receiver.offer(told(12, 106)), None);
    assert!(receiver.0.needs_keyframe());
}

#[test]
fn media_plane_case_87_a_switch_after_a_pause_steps_by_the_time_that_passed() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 0));
    let (_, _, _, before) = receiver.offer_at(1000, single(10, 0)).unwrap();
    receiver.0.set_target(LayerIndex::new(1, 0, 0));
    let (_, _, _, after) = receiver.offer_at(3000, other_key(7000, 50, true)).unwrap();
    assert!((179_000..=181_000).contains(&(after - before)));
}

#[test]
fn a_target_that_rises_within_a_picture_adds_nothing_to_what_was_ended() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 0, 0));
    let [base, middle, top] = superframe(10, Shape::Key);
    assert_eq!(receiver.offer(base).map(|sent| sent.1), Some(true));
    receiver.want(2);
    assert_eq!(receiver.offer(middle), None);
    assert_eq!(receiver.offer(top), None);
    assert_eq!(
        receiver.picture(11, Shape::KeySvcDelta),
        [Some((3, true)), None, None]
    );
    assert!(receiver.0.needs_keyframe());
}

#[test]
fn a_target_that_falls_within_a_key_picture_still_ends_it() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 2, 0));
    receiver.picture(10, Shape::Key);
    receiver.picture(11, Shape::KeySvcDelta);
    let [base, middle, top] = superframe(12, Shape::Key);
    receiver.offer(base);
    receiver.offer(middle);
    receiver.want(1);
    let sent = receiver.offer(top);
    assert_eq!(sent.map(|sent| sent.1), Some(true));
    assert_eq!(
        receiver.picture(13, Shape::KeySvcDelta),
        [None, Some((9, true)), None]
    );
}

#[test]
fn a_layer_that_comes_after_the_one_above_it_was_left_out_ends_the_picture() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 2, 0));
    let [base, middle, top] = superframe(10, Shape::Key);
    assert_eq!(receiver.offer(base).map(|sent| sent.1), Some(false));
    assert_eq!(receiver.offer(top), None);
    assert_eq!(receiver.offer(middle).map(|sent| sent.1), Some(true));
    assert_eq!(
        receiver.picture(11, Shape::KeySvcDelta),
        [None, Some((4, true)), None]
    );
}

#[test]
fn a_key_picture_that_comes_late_is_sent_whole() {
    let mut receiver = Receiver::wanting(LayerIndex::new(0, 2, 0));
    receiver.picture(10, Shape::Key);
    // Picture 11 is a key picture on its way; what refers to it is there first.
    for picture in 12..15 {
        assert!(receiver.picture(picture, Shape::KeySvcDelta)[2].is_some());
    }
    let late = receiver.picture(11, Shape::Key);
    assert!(late.iter().all(Option::is_some), "{late:?}");
    let markers = late.map(|sent| sent.is_some_and(|(_, marker)| marker));
    assert_eq!(markers, [false, false, true]);
}
