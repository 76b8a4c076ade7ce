//! Why one participant does not see or hear another: a test for each answer.

use super::*;
use crate::allocation::Reason;
use crate::media::{Codec, Feedback, MediaFormats, PayloadType};
use crate::stats::{EndpointStats, ForwardedStats, MediaStats, Sending, WorkerStats};
use crate::timeline::Stall;
use crate::transport::secure::FailureReason;
use crate::units::Bitrate;

/// A, who sends, and B, who wonders why nothing is to be seen. Both are connected, and everything is well.
struct Call {
    world: World,
    conference: ConferenceKey,
    a: EndpointKey,
    b: EndpointKey,
    sender: EndpointStats,
    viewer: EndpointStats,
}

fn formats(codecs: &[Codec]) -> MediaFormats {
    let payload_types = (100..).zip(codecs).map(|(number, codec)| PayloadType {
        number,
        codec: *codec,
        clock_rate: 90_000,
        associated: None,
        feedback: Feedback::default(),
    });
    MediaFormats {
        payload_types: payload_types.collect(),
        ..MediaFormats::default()
    }
}

pub(super) fn stats(endpoint: EndpointKey) -> EndpointStats {
    EndpointStats {
        endpoint,
        conference: ConferenceKey(0),
        connected: true,
        remote: None,
        rtt: None,
        incoming: Bitrate::ZERO,
        outgoing: Bitrate::ZERO,
        outgoing_loss: 0.0,
        incoming_loss: 0.0,
        estimate: Some(Bitrate::kbps(90)),
        forwarded: Vec::new(),
        packets_in: 0,
        packets_out: 0,
        media: MediaStats::default(),
        happened: Vec::new(),
        missed: 0,
    }
}

pub(super) fn report(world: &mut World, endpoints: Vec<EndpointStats>) {
    let stats = WorkerStats {
        endpoints,
        ..WorkerStats::default()
    };
    world.event(Event::Stats(WorkerId(0), Box::new(stats)));
}

impl Call {
    fn new() -> Call {
        let mut world = World::new();
        let conference = world.conference("m");
        let a = world.endpoint(conference, "A");
        let b = world.endpoint(conference, "B");
        for endpoint in [a, b] {
            let known = formats(&[Codec::Vp8, Codec::Opus]);
            world
                .control
                .add_formats(world.now, endpoint, known)
                .unwrap();
            world.event(Event::IceConnected(endpoint, path()));
            world.event(Event::DtlsConnected(endpoint));
            world.connect(endpoint);
        }
        world.sources(a, &[camera("A-v0", 1)]).unwrap();
        let (mut sender, mut viewer) = (stats(a), stats(b));
        sender.media.sending_video = true;
        sender.media.sending_audio = true;
        viewer.forwarded = vec![ForwardedStats {
            source: SourceName::from("A-v0"),
            target: 2,
            ideal: 2,
            height: 180,
            reason: Reason::Best,
            sending: Sending::Sent,
        }];
        let mut call = Call {
            world,
            conference,
            a,
            b,
            sender,
            viewer,
        };
        call.report();
        call
    }

    /// The worker reports what is in `sender` and `viewer`.
    fn report(&mut self) {
        let reports = vec![self.sender.clone(), self.viewer.clone()];
        report(&mut self.world, reports);
    }

    /// The allocator gave that layer for that reason.
    fn allocated(&mut self, target: i32, reason: Reason) -> &mut Call {
        let forwarded = &mut self.viewer.forwarded[0];
        (forwarded.target, forwarded.reason) = (target, reason);
        self.report();
        self
    }

    fn stalls(&mut self, sending: Sending) -> &mut Call {
        self.viewer.forwarded[0].sending = sending;
        self.report();
        self
    }

    /// Code and text of the first finding for B about A.
    fn told(&self) -> (String, String) {
        self.told_to("B")
    }

    fn told_to(&self, viewer: &str) -> (String, String) {
        let (viewer, sender) = (EndpointId::from(viewer), EndpointId::from("A"));
        let why = self.world.control.why(self.conference, &viewer, &sender);
        let finding = &why["findings"][0];
        let text = |name: &str| finding[name].as_str().expect("a text").to_owned();
        (text("code"), text("text"))
    }

    fn code(&self) -> String {
        self.told().0
    }
}

#[test]
fn sent() {
    assert_eq!(Call::new().code(), "sent");
}

#[test]
fn not_here_and_same() {
    let call = Call::new();
    assert_eq!(call.told_to("C").0, "not-here");
    assert_eq!(call.told_to("A").0, "same");
    let id = EndpointId::from("A");
    let gone = ConferenceKey(99);
    assert!(call.world.control.why(gone, &id, &id).is_null());
}

#[test]
fn ice_and_dtls_of_either() {
    let mut world = World::new();
    let conference = world.conference("m");
    let (a, b) = (
        world.endpoint(conference, "A"),
        world.endpoint(conference, "B"),
    );
    let (sender, viewer) = (stats(a), stats(b));
    let mut call = Call {
        world,
        conference,
        a,
        b,
        sender,
        viewer,
    };
    let (code, text) = call.told();
    assert_eq!(code, "ice-checking");
    assert!(text.starts_with("B has no path"), "{text}");
    call.world.event(Event::IceConnected(b, path()));
    assert_eq!(call.code(), "dtls");
    call.world.event(Event::DtlsConnected(b));
    assert!(call.told().1.starts_with("A has no path"));
    call.world.event(Event::IceFailed(a));
    assert_eq!(call.code(), "ice-failed");
    call.world.event(Event::IceConnected(a, path()));
    call.world
        .event(Event::DtlsFailed(a, FailureReason::Timeout));
    assert_eq!(call.code(), "dtls-failed");
}

#[test]
fn no_consent_of_either() {
    let mut call = Call::new();
    call.viewer.connected = false;
    call.report();
    let (code, text) = call.told();
    assert_eq!(code, "no-consent");
    assert!(text.starts_with("B was connected"), "{text}");
    call.viewer.connected = true;
    call.sender.connected = false;
    call.report();
    assert!(call.told().1.starts_with("A was connected"));
    call.sender.connected = true;
    assert_eq!(
        call.stalls(Sending::Stalled(Stall::NotConnected)).code(),
        "no-consent"
    );
}

#[test]
fn no_channel() {
    let mut call = Call::new();
    call.world.disconnect(call.b);
    assert_eq!(call.code(), "no-channel");
}

#[test]
fn visitor() {
    let mut call = Call::new();
    let visitor = call.world.visitor(call.conference, "V");
    call.world.event(Event::IceConnected(visitor, path()));
    call.world.event(Event::DtlsConnected(visitor));
    let (viewer, sender) = (EndpointId::from("B"), EndpointId::from("V"));
    let why = call.world.control.why(call.conference, &viewer, &sender);
    assert_eq!(why["findings"][0]["code"], "visitor");
}

#[test]
fn no_source() {
    let mut call = Call::new();
    call.world.sources(call.a, &[]).unwrap();
    assert_eq!(call.code(), "no-source");
}

#[test]
fn no_report() {
    let mut call = Call::new();
    call.viewer.forwarded.clear();
    call.report();
    assert_eq!(
        call.code(),
        "no-report",
        "a source that is new to the worker"
    );
    report(&mut call.world, Vec::new());
    assert_eq!(call.code(), "no-report");
}

#[test]
fn force_muted() {
    let mut call = Call::new();
    call.world
        .control
        .set_force_mute(call.world.now, call.a, false, true);
    assert_eq!(call.code(), "force-muted");
}

#[test]
fn switched_off() {
    let mut call = Call::new();
    let text =
        r#"{"colibriClass":"SourceVideoTypeMessage","sourceName":"A-v0","videoType":"none"}"#;
    call.world.say(call.a, text);
    assert_eq!(call.code(), "switched-off");
    let mut late = Call::new();
    assert_eq!(
        late.allocated(-1, Reason::SwitchedOff).code(),
        "switched-off"
    );
}

#[test]
fn codec_of_nobody_and_of_this_stream() {
    let mut call = Call::new();
    let c = call.world.endpoint(call.conference, "C");
    let (world, now) = (&mut call.world, Time::from_millis(1_000_000));
    let other = formats(&[Codec::H264, Codec::Opus]);
    world.control.add_formats(now, c, other).unwrap();
    world.event(Event::IceConnected(c, path()));
    world.event(Event::DtlsConnected(c));
    world.connect(c);
    assert_eq!(call.told_to("C").0, "codec");
    assert_eq!(call.stalls(Sending::Stalled(Stall::Codec)).code(), "codec");
}

#[test]
fn not_sent() {
    let mut call = Call::new();
    assert_eq!(call.allocated(2, Reason::Silent).code(), "not-sent");
    let mut call = Call::new();
    call.sender.media.sending_video = false;
    call.report();
    assert_eq!(call.code(), "not-sent");
    let mut call = Call::new();
    assert_eq!(
        call.stalls(Sending::Stalled(Stall::NoPackets)).code(),
        "not-sent"
    );
}

#[test]
fn not_wanted_and_last_n() {
    let mut call = Call::new();
    // Nobody wants it, so it is not sent: the wish is the first cause.
    call.sender.media.sending_video = false;
    assert_eq!(call.allocated(-1, Reason::NotWanted).code(), "not-wanted");
    assert_eq!(call.allocated(-1, Reason::LastN).code(), "last-n");
}

#[test]
fn no_bandwidth_and_the_stage() {
    let mut call = Call::new();
    call.allocated(-1, Reason::Bandwidth);
    let (code, text) = call.told();
    assert_eq!(code, "no-bandwidth");
    assert!(text.contains("90 kbit/s"), "{text}");
    assert_eq!(call.allocated(-1, Reason::Stage).code(), "stage-first");
    assert_eq!(
        call.allocated(0, Reason::Bandwidth).code(),
        "sent",
        "less than wanted is not nothing"
    );
}

#[test]
fn no_slot() {
    assert_eq!(Call::new().stalls(Sending::NoSlot).code(), "no-slot");
}

#[test]
fn beginning() {
    assert_eq!(Call::new().stalls(Sending::Beginning).code(), "beginning");
}

#[test]
fn no_keyframe_and_no_layer() {
    let mut call = Call::new();
    let stalled = |cause| Sending::Stalled(cause);
    assert_eq!(
        call.stalls(stalled(Stall::NoKeyframe)).code(),
        "no-keyframe"
    );
    assert_eq!(call.stalls(stalled(Stall::NoLayer)).code(), "no-layer");
}

#[test]
fn lost() {
    let mut call = Call::new();
    call.viewer.outgoing_loss = 0.25;
    call.report();
    let (code, text) = call.told();
    assert_eq!(code, "lost");
    assert!(text.contains("25 %"), "{text}");
}

#[test]
fn audio_that_is_not_sent_or_not_subscribed() {
    let mut call = Call::new();
    call.world.sources(call.a, &[audio("A-a0", 2)]).unwrap();
    assert_eq!(call.code(), "sent");
    call.sender.media.sending_audio = false;
    call.report();
    assert_eq!(call.code(), "not-sent");
    let text = r#"{"colibriClass":"ReceiverAudioSubscription","mode":"Exclude","list":["A-a0"]}"#;
    call.world.say(call.b, text);
    assert_eq!(call.code(), "not-subscribed");
    call.world
        .control
        .set_force_mute(call.world.now, call.a, true, false);
    assert_eq!(call.code(), "force-muted");
}

#[test]
fn allocation_case_12_the_reducer_learns_who_is_sent_most_and_tells_all_workers() {
    let mut world = World::new();
    assert_eq!(world.control.most_forwarded(), None, "nobody is here");
    let layers = |target| ForwardedStats {
        source: SourceName::from("A-v0"),
        target,
        ideal: 2,
        height: 180,
        reason: Reason::Best,
        sending: Sending::Sent,
    };
    let [mut a, b] = [EndpointKey(1), EndpointKey(2)].map(stats);
    report(&mut world, vec![a.clone(), b.clone()]);
    assert_eq!(world.control.most_forwarded(), Some(0));
    a.forwarded = vec![layers(0), layers(-1), layers(2)];
    report(&mut world, vec![a, b]);
    assert_eq!(world.control.most_forwarded(), Some(2));

    world.control.set_last_n_limit(7);
    let mut told = Vec::new();
    while let Some(output) = world.control.poll_output() {
        if let ControlOutput::Worker(worker, Command::LastNLimit(7)) = output {
            told.push(worker);
        }
    }
    let all: Vec<_> = (0..world.workers.len() as u8).map(WorkerId).collect();
    assert_eq!(told, all);
}
