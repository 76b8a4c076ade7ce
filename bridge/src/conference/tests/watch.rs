//! What a worker notes for timelines, and what it says about streams that stand still.

use super::*;
use crate::allocation::Reason;
use crate::stats::{EndpointStats, Sending};
use crate::timeline::{Stall, What};

impl Room {
    /// What the worker reports about each client.
    fn reports(&mut self) -> Vec<EndpointStats> {
        self.worker.outputs().events.clear();
        self.command(Command::CollectStats);
        let events = &mut self.worker.outputs().events;
        let stats = events.drain(..).find_map(|event| match event {
            Event::Stats(_, stats) => Some(stats),
            _ => None,
        });
        let mut endpoints = stats.expect("a report").endpoints;
        endpoints.sort_by_key(|stats| stats.endpoint);
        endpoints
    }

    /// What it reports about one client; what it noted about others is gone then.
    fn report(&mut self, client: usize) -> EndpointStats {
        self.reports().swap_remove(client)
    }

    fn noted(&mut self, client: usize) -> Vec<What> {
        noted_of(&self.report(client))
    }

    /// Sends a frame every 100 ms.
    fn film(&mut self, client: usize, ssrc: u32, sequences: std::ops::Range<u16>) {
        for sequence in sequences {
            self.send_video(client, ssrc, sequence, false);
            self.wait(Duration::from_millis(100));
        }
    }
}

fn noted_of(report: &EndpointStats) -> Vec<What> {
    let happened = report.happened.iter();
    happened.map(|happened| happened.what.clone()).collect()
}

/// A sender and a receiver, and the name and SSRC of the sender's camera.
fn pair() -> (Room, usize, usize, crate::ids::SourceName, u32) {
    let mut room = Room::new();
    let sender = room.join(Joining::default());
    let receiver = room.join(Joining {
        rewriting: true,
        ..Joining::default()
    });
    let (_, video) = room.announce(sender);
    let name = format!("{}-v0", Room::id(sender).as_str()).as_str().into();
    (room, sender, receiver, name, video)
}

#[test]
fn from_the_decision_to_the_picture() {
    let (mut room, sender, receiver, name, video) = pair();
    room.film(sender, video, 1..13);
    let reports = room.reports();
    let (asked, noted) = (noted_of(&reports[sender]), noted_of(&reports[receiver]));
    let decided = noted.iter().find_map(|what| match what {
        What::Allocated(decision) => Some(decision),
        _ => None,
    });
    let decided = decided.expect("a decision");
    assert_eq!((&decided.source, decided.bandwidth_kbps), (&name, u32::MAX));
    let wanted = |what: &&What| matches!(what, What::KeyframeWanted(source, _) if *source == name);
    assert!(noted.iter().find(wanted).is_some(), "{noted:?}");
    let stalled = What::Stalled(name.clone(), Stall::NoKeyframe);
    assert_eq!(noted.iter().filter(|what| **what == stalled).count(), 1);
    let requested =
        |what: &What| matches!(what, What::KeyframeRequested(source, _) if *source == name);
    assert!(asked.iter().any(requested), "{asked:?}");

    let came_at = room.now;
    room.send_video(sender, video, 13, true);
    room.worker.end_turn(room.now);
    room.film(sender, video, 14..24);
    let reports = room.reports();
    let report = &reports[receiver];
    let resumed = report
        .happened
        .iter()
        .find_map(|happened| match &happened.what {
            What::Resumed(_, millis) => Some(*millis),
            _ => None,
        });
    assert!(resumed.is_some_and(|millis| millis >= 1_000), "{resumed:?}");
    let switched = report
        .happened
        .iter()
        .find_map(|happened| match happened.what {
            What::Switched(_, before, after) => Some((happened.at, before, after)),
            _ => None,
        });
    // Noticed by a timer, but dated by the keyframe.
    let (at, before, after) = switched.expect("a switch");
    assert_eq!((at, before), (came_at, -1));
    assert!(after >= 0);
    assert_eq!(report.forwarded[0].sending, Sending::Sent);
    let came = noted_of(&reports[sender]);
    assert!(came.contains(&What::KeyframeCame(name)), "{came:?}");
}

#[test]
fn a_sender_that_stops_and_goes_on() {
    let (mut room, sender, receiver, name, video) = pair();
    room.send_video(sender, video, 1, true);
    room.film(sender, video, 2..12);
    room.noted(receiver);
    for _ in 0..35 {
        room.wait(Duration::from_millis(100));
    }
    let report = room.report(receiver);
    let stalled = What::Stalled(name.clone(), Stall::NoPackets);
    assert!(
        report
            .happened
            .iter()
            .any(|happened| happened.what == stalled)
    );
    assert_eq!(
        report.forwarded[0].sending,
        Sending::Stalled(Stall::NoPackets)
    );
    room.film(sender, video, 12..22);
    let goes_on = |what: &What| matches!(what, What::Resumed(source, _) if *source == name);
    assert!(room.noted(receiver).iter().any(goes_on));
}

#[test]
fn a_codec_that_the_receiver_did_not_negotiate() {
    let (mut room, sender, receiver, name, video) = pair();
    let mut other = formats(false, false);
    for format in &mut other.payload_types {
        if format.codec == Codec::Vp8 {
            format.codec = Codec::H264;
        }
    }
    room.command(Command::Formats(Room::key(receiver), Arc::new(other)));
    room.send_video(sender, video, 1, true);
    room.film(sender, video, 2..22);
    let report = room.report(receiver);
    let stalled = What::Stalled(name, Stall::Codec);
    let happened = &report.happened;
    assert!(happened.iter().any(|it| it.what == stalled), "{happened:?}");
    assert_eq!(report.forwarded[0].sending, Sending::Stalled(Stall::Codec));
}

#[test]
fn a_source_that_is_no_longer_wanted() {
    let (mut room, sender, receiver, name, video) = pair();
    room.send_video(sender, video, 1, true);
    room.film(sender, video, 2..12);
    room.noted(receiver);
    let nothing = ReceiverVideoConstraints {
        last_n: Some(0),
        ..ReceiverVideoConstraints::default()
    };
    let key = Room::key(receiver);
    room.command(Command::ReceiverConstraints(key, Box::new(nothing)));
    room.film(sender, video, 12..32);
    let report = room.report(receiver);
    let ends = |what: &What| matches!(what, What::Switched(source, _, -1) if *source == name);
    let happened = &report.happened;
    assert!(happened.iter().any(|it| ends(&it.what)), "{happened:?}");
    let refused = happened.iter().any(|it| match &it.what {
        What::Allocated(decision) => decision.target < 0 && decision.reason == Reason::LastN,
        _ => false,
    });
    assert!(refused, "{happened:?}");
    let stalls = |what: &What| matches!(what, What::Stalled(..));
    assert!(!happened.iter().any(|it| stalls(&it.what)));
    assert_eq!(report.forwarded[0].sending, Sending::Nothing);
}

#[test]
fn what_is_asked_for_again_is_counted() {
    let (mut room, sender, receiver, _, video) = pair();
    room.send_video(sender, video, 1, true);
    room.film(sender, video, 2..4);
    // Two packets of the sender are missing.
    room.film(sender, video, 6..10);
    let asked = room.report(sender).media.nacks_out;
    assert!(asked >= 2, "{asked}");
    room.send_video(sender, video, 10, false);
    let out = room.rtp(receiver).pop().expect("a packet").0;
    room.wait(Duration::from_millis(200));
    let mut buffer = [0; 64];
    let mut compound = Compound::new(&mut buffer);
    assert!(compound.nack(7, out.ssrc, [out.sequence].into_iter()));
    let len = compound.len();
    room.send_rtcp(receiver, &buffer[..len]);
    room.send_rtcp(receiver, &pli(out.ssrc));
    let media = room.report(receiver).media;
    let counted = (media.nacks_in, media.resent, media.keyframe_requests);
    assert_eq!(counted, (1, 1, 1));
}

#[test]
fn an_encoding_that_the_sender_gives_up_is_replaced_soon() {
    let (mut room, sender, receiver, name, low) = pair();
    let high = low + 5;
    let encoding = |ssrc| EncodingDescription {
        ssrc,
        rtx_ssrc: None,
    };
    let sources = EndpointSources {
        endpoint: Room::key(sender),
        id: Room::id(sender),
        diarize: false,
        sources: vec![SourceDescription {
            key: SourceKey(77),
            name: name.clone(),
            kind: MediaKind::Video,
            video_type: VideoType::Camera,
            encodings: vec![encoding(low), encoding(high)],
            synthetic: false,
        }],
    };
    room.command(Command::Sources(CONFERENCE, Arc::new(sources)));
    let both = |room: &mut Room, sequences: std::ops::Range<u16>, keyframe: bool| {
        for sequence in sequences {
            room.send_video(sender, low, sequence, keyframe);
            room.send_video(sender, high, sequence, keyframe);
            room.wait(Duration::from_millis(100));
        }
    };
    both(&mut room, 1..2, true);
    both(&mut room, 2..12, false);
    let before = room.report(receiver);
    assert_eq!(before.forwarded[0].target >> 6, 1, "{:?}", before.forwarded);
    // Only the lower one goes on, and its keyframe comes when there is reason to ask for it.
    let begin = room.now;
    let mut replaced = None;
    for sequence in 12..50 {
        let keyframe = replaced.is_some() && sequence % 4 == 0;
        room.send_video(sender, low, sequence, keyframe);
        room.wait(Duration::from_millis(100));
        if replaced.is_none() && room.report(receiver).forwarded[0].target >> 6 == 0 {
            replaced = Some(room.now - begin);
        }
    }
    let replaced = replaced.expect("another encoding");
    assert!(replaced <= Duration::from_millis(1_600), "{replaced:?}");
    assert_eq!(room.report(receiver).forwarded[0].sending, Sending::Sent);
}
