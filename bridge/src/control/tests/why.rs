//! Why one participant does not see another.

use super::*;
use crate::stats::{EndpointStats, ForwardedStats, MediaStats, WorkerStats};
use crate::units::Bitrate;

fn report(world: &mut World, endpoints: Vec<EndpointStats>) {
    let stats = WorkerStats {
        endpoints,
        ..WorkerStats::default()
    };
    world.event(Event::Stats(WorkerId(0), Box::new(stats)));
}

fn stats(endpoint: EndpointKey) -> EndpointStats {
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
    }
}

#[test]
fn the_first_broken_link_is_named() {
    let mut world = World::new();
    let conference = world.conference("m");
    let a = world.endpoint(conference, "A");
    // (code, text) of the first finding.
    let ask = |world: &World, viewer: &str| {
        let why = world.control.why(
            conference,
            &EndpointId::from(viewer),
            &EndpointId::from("A"),
        );
        let finding = &why["findings"][0];
        let text = |name: &str| finding[name].as_str().expect("a text").to_owned();
        (text("code"), text("text"))
    };
    assert_eq!(ask(&world, "B").0, "not-here");
    let b = world.endpoint(conference, "B");
    assert_eq!(ask(&world, "A").0, "same");
    let (code, text) = ask(&world, "B");
    assert_eq!(code, "ice-checking");
    assert!(text.starts_with("B has no path"), "{text}");
    world.event(Event::IceConnected(b, path()));
    assert_eq!(ask(&world, "B").0, "dtls");
    world.event(Event::DtlsConnected(b));
    assert!(ask(&world, "B").1.starts_with("A has no path"));
    world.event(Event::IceFailed(a));
    assert_eq!(ask(&world, "B").0, "ice-failed");
    world.event(Event::IceConnected(a, path()));
    world.event(Event::DtlsConnected(a));
    assert_eq!(ask(&world, "B").0, "no-source");
    world.sources(a, &[camera("A-v0", 1)]).unwrap();
    assert_eq!(ask(&world, "B").0, "no-report");

    let (mut sender, mut viewer) = (stats(a), stats(b));
    report(&mut world, vec![sender.clone(), viewer.clone()]);
    assert_eq!(ask(&world, "B").0, "not-sent");
    sender.media.sending_video = true;
    report(&mut world, vec![sender.clone(), viewer.clone()]);
    assert_eq!(ask(&world, "B").0, "not-wanted");
    let layers = |target| ForwardedStats {
        source: SourceName::from("A-v0"),
        target,
        ideal: 2,
        height: 180,
    };
    viewer.forwarded = vec![layers(-1)];
    report(&mut world, vec![sender.clone(), viewer.clone()]);
    let (code, text) = ask(&world, "B");
    assert_eq!(code, "no-bandwidth");
    assert!(text.contains("90 kbit/s"), "{text}");
    viewer.forwarded = vec![layers(0)];
    viewer.outgoing_loss = 0.25;
    report(&mut world, vec![sender.clone(), viewer.clone()]);
    let (code, text) = ask(&world, "B");
    assert_eq!(code, "lost");
    assert!(text.contains("25 %"), "{text}");
    viewer.outgoing_loss = 0.0;
    report(&mut world, vec![sender, viewer]);
    assert_eq!(ask(&world, "B").0, "sent");

    world.control.set_force_mute(world.now, a, false, true);
    assert_eq!(ask(&world, "B").0, "force-muted");
    let gone = ConferenceKey(99);
    let id = EndpointId::from("A");
    assert!(world.control.why(gone, &id, &id).is_null());
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
