//! Audio that leaves for media exports, and synthetic audio that comes from them.

use super::*;
use crate::channel::AudioSubscription;
use crate::export::Tap;
use crate::messages::InjectedAudio;

impl Room {
    /// What the worker gave to media exports: the tap, the source and the RTP timestamp.
    fn exported(&mut self, taps: &[Arc<Tap>]) -> Vec<(usize, String, u32)> {
        let exports = self.worker.outputs().exports.drain(..);
        let exports = exports.map(|(tap, exported)| {
            let tap = taps.iter().position(|known| Arc::ptr_eq(known, &tap));
            assert_eq!(exported.packet.payload(), [0x55; 60]);
            let source = exported.source.as_str().to_owned();
            (tap.unwrap(), source, exported.packet.header.timestamp)
        });
        exports.collect()
    }

    /// Announces one synthetic audio source of a client and nothing else.
    fn announce_synthetic(&mut self, client: usize, ssrc: u32) -> SourceKey {
        let key = SourceKey(900);
        let source = SourceDescription {
            key,
            name: "speech.fr".into(),
            kind: MediaKind::Audio,
            video_type: VideoType::Camera,
            encodings: vec![EncodingDescription {
                ssrc,
                rtx_ssrc: None,
            }],
            synthetic: true,
        };
        let sources = EndpointSources {
            endpoint: Room::key(client),
            id: Room::id(client),
            diarize: false,
            sources: vec![source],
        };
        self.command(Command::Sources(CONFERENCE, Arc::new(sources)));
        key
    }
}

#[test]
fn audio_goes_to_every_tap_and_to_none_when_there_is_none() {
    let mut room = Room::new();
    let [a, b] = [0; 2].map(|_| room.join(Joining::default()));
    let (audio, video) = room.announce(a);
    room.send_audio(a, audio, 1, &[(LEVEL, &[20])]);
    assert_eq!(room.exported(&[]), []);
    let taps = [Arc::new(Tap::default()), Arc::new(Tap::default())];
    room.command(Command::Taps(CONFERENCE, Arc::from(taps.clone())));
    room.send_audio(a, audio, 2, &[(LEVEL, &[20])]);
    room.send_video(a, video, 1, true);
    let name = format!("{}-a0", Room::id(a).as_str());
    assert_eq!(
        room.exported(&taps),
        [(0, name.clone(), 1_920), (1, name, 1_920)]
    );
    // Muted by the focus: not heard, not recorded. And receivers get their audio as ever.
    assert_eq!(
        room.rtp(b)
            .iter()
            .filter(|(it, _)| it.payload_type == OPUS)
            .count(),
        2
    );
    room.command(Command::ForceMute {
        endpoint: Room::key(a),
        audio: true,
        video: false,
    });
    room.send_audio(a, audio, 3, &[(LEVEL, &[20])]);
    room.command(Command::Taps(CONFERENCE, Arc::from([])));
    room.send_audio(a, audio, 4, &[(LEVEL, &[20])]);
    assert_eq!(room.exported(&taps), []);
}

#[test]
fn injected_audio_reaches_those_who_asked_for_the_synthetic_source_and_no_export() {
    let mut room = Room::new();
    let [speaker, listener, other] = [0; 3].map(|_| room.join(Joining::default()));
    let source = room.announce_synthetic(speaker, 7_777);
    let taps = [Arc::new(Tap::default())];
    room.command(Command::Taps(CONFERENCE, Arc::from(taps.clone())));
    let subscription = AudioSubscription {
        all: true,
        include: vec!["speech.fr".into()],
        exclude: Vec::new(),
    };
    // Its owner may want it too.
    for client in [speaker, listener] {
        let command = Command::AudioSubscription(Room::key(client), subscription.clone());
        room.command(command);
    }
    let inject = |room: &mut Room, source, timestamp, byte: u8| {
        let audio = InjectedAudio {
            source,
            timestamp,
            payload: vec![byte; 50].into(),
        };
        room.command(Command::InjectAudio(CONFERENCE, Box::new(audio)));
    };
    room.sent();
    inject(&mut room, source, 384_000, 1);
    inject(&mut room, source, 384_960, 2);
    inject(&mut room, SourceKey(901), 0, 3);
    let mut sent = room.sent();
    assert!(!sent.contains_key(&other));
    for client in [speaker, listener] {
        let packets: Vec<(RtpHeader, Vec<u8>)> = sent
            .remove(&client)
            .unwrap()
            .into_iter()
            .filter_map(|sent| match sent {
                Sent::Rtp(header, data) => Some((header, data)),
                Sent::Rtcp(_) => None,
            })
            .collect();
        let [(first, one), (second, two)] = &packets[..] else {
            panic!("{} packets", packets.len());
        };
        assert_eq!((first.ssrc, second.ssrc), (7_777, 7_777));
        assert_eq!((first.payload_type, second.payload_type), (OPUS, OPUS));
        assert_eq!(second.sequence, first.sequence.wrapping_add(1));
        assert_eq!(second.timestamp.wrapping_sub(first.timestamp), 960);
        assert!(one.ends_with(&[1; 50]) && two.ends_with(&[2; 50]));
    }
    assert_eq!(room.exported(&taps), []);
}

#[test]
fn audio_for_a_source_that_a_participant_speaks_on_is_not_injected() {
    let mut room = Room::new();
    let [a, b] = [0; 2].map(|_| room.join(Joining::default()));
    room.announce(a);
    room.sent();
    let audio = InjectedAudio {
        source: SourceKey(0),
        timestamp: 0,
        payload: vec![1; 50].into(),
    };
    room.command(Command::InjectAudio(CONFERENCE, Box::new(audio)));
    assert!(room.rtp(b).is_empty());
}
