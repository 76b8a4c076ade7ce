//! What is remembered, and for how long.

use super::*;
use crate::units::Bitrate;

const CONFIG: TimelineConfig = TimelineConfig {
    entries: 16,
    max_age: Duration::from_secs(600),
};

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1_000)
}

fn totals(second: u64) -> Totals {
    Totals {
        packets_in: 50 * (second + 1),
        packets_out: 100 * (second + 1),
        incoming: Bitrate::kbps(500),
        outgoing: Bitrate::kbps(1_000),
        ..Totals::default()
    }
}

#[test]
fn events_are_forgotten_by_number_and_by_age() {
    let mut timeline = Timeline::default();
    for second in 0..10 {
        timeline.note(&CONFIG, at(second), What::IceRestart(second as u32));
    }
    let kept = timeline.events(0);
    assert_eq!(kept.len(), 8, "half of the entries");
    assert_eq!(kept[0].1.what, What::IceRestart(2));
    timeline.expire(&CONFIG, at(605));
    let kept = timeline.events(0);
    assert_eq!(kept[0].1.at, at(5));
    timeline.expire(&CONFIG, at(10_000));
    assert!(timeline.events(0).is_empty());
    assert_eq!(timeline.next(), 10, "numbers go on");
}

#[test]
fn nothing_is_remembered_where_that_is_switched_off() {
    let off = TimelineConfig {
        entries: 0,
        ..CONFIG
    };
    let mut timeline = Timeline::default();
    timeline.note(&off, at(1), What::Created);
    timeline.sample(&off, at(1), totals(1));
    timeline.sample(&off, at(60), totals(60));
    assert!(timeline.events(0).is_empty());
    assert_eq!(timeline.samples(0).count(), 0);
}

#[test]
fn what_comes_late_stands_where_it_belongs_and_is_new_to_who_asks_again() {
    let mut timeline = Timeline::default();
    timeline.note(&CONFIG, at(5), What::DtlsConnected);
    let since = timeline.next();
    let noted = Happened {
        at: at(4),
        what: What::ConsentLost,
    };
    timeline.take_in(&CONFIG, vec![noted.clone()], 3);
    let order: Vec<_> = timeline
        .events(0)
        .iter()
        .map(|(number, _)| *number)
        .collect();
    assert_eq!(order, [1, 0]);
    assert_eq!(timeline.events(since), [(1, &noted)]);
    assert_eq!(timeline.missed(), 3);
}

#[test]
fn an_estimate_is_noted_when_it_changed_by_more_than_a_tenth() {
    let mut timeline = Timeline::default();
    for (second, kbps) in [1_000, 1_050, 1_099, 1_101, 1_000, 950]
        .into_iter()
        .enumerate()
    {
        timeline.note_estimate(&CONFIG, at(second as u64), kbps * 1_000);
    }
    let noted: Vec<_> = timeline
        .events(0)
        .into_iter()
        .map(|(_, happened)| happened.what.clone())
        .collect();
    assert_eq!(
        noted,
        [1_000_000, 1_101_000, 950_000].map(What::Estimate).to_vec()
    );
}

#[test]
fn a_worker_keeps_a_bounded_number_of_notes_and_counts_repetitions() {
    let mut notebook = Notebook::default();
    let wanted = |count| What::KeyframeWanted("a-v0".into(), count);
    notebook.note(at(1), wanted(1));
    notebook.note(at(1), What::ConsentLost);
    notebook.note(at(1) + Duration::from_millis(900), wanted(1));
    notebook.note(at(2), wanted(1));
    let (noted, missed) = notebook.take();
    let whats: Vec<_> = noted.into_iter().map(|happened| happened.what).collect();
    assert_eq!(whats, [wanted(2), What::ConsentLost, wanted(1)]);
    assert_eq!(missed, 0);
    for _ in 0..limits::TIMELINE_NOTES + 5 {
        notebook.note(at(3), What::ConsentLost);
    }
    let (noted, missed) = notebook.take();
    assert_eq!((noted.len(), missed), (limits::TIMELINE_NOTES, 5));
    assert_eq!(notebook.take(), (Vec::new(), 0));
}

#[test]
fn a_connection_that_is_well_gets_a_sample_every_ten_seconds() {
    let mut timeline = Timeline::default();
    for second in 0..31 {
        timeline.sample(&CONFIG, at(second), totals(second));
    }
    let ends: Vec<_> = timeline.samples(0).map(|(_, sample)| sample.at).collect();
    assert_eq!(ends, [at(10), at(20), at(30)]);
    let millis = timeline.samples(0).map(|(_, sample)| sample.millis);
    assert!(millis.eq([10_000; 3]));
}

#[test]
fn an_idle_connection_gets_none() {
    let mut timeline = Timeline::default();
    for second in 0..100 {
        timeline.sample(&CONFIG, at(second), Totals::default());
    }
    let quiet = totals(0);
    for second in 100..200 {
        timeline.sample(&CONFIG, at(second), quiet);
    }
    assert_eq!(timeline.samples(0).count(), 0);
    assert_eq!(timeline.next(), 0);
}

#[test]
fn loss_repairs_and_leaps_of_the_rate_get_a_sample_at_once() {
    let mut timeline = Timeline::default();
    timeline.sample(&CONFIG, at(0), totals(0));
    let lossy = Totals {
        nacks_in: 7,
        resent: 6,
        outgoing_loss: 0.04,
        rtt: Some(Duration::from_millis(80)),
        ..totals(1)
    };
    timeline.sample(&CONFIG, at(1), lossy);
    let faster = Totals {
        outgoing: Bitrate::kbps(1_300),
        outgoing_loss: 0.0,
        ..lossy
    };
    timeline.sample(&CONFIG, at(2), faster);
    let samples: Vec<_> = timeline.samples(0).map(|(_, it)| it.clone()).collect();
    assert_eq!(samples.len(), 2);
    let Sample {
        nacks_in,
        resent,
        rtt_ms,
        ..
    } = samples[0];
    assert_eq!((nacks_in, resent, rtt_ms), (7, 6, 80));
    assert_eq!((samples[1].nacks_in, samples[1].outgoing_kbps), (0, 1_300));
}

#[test]
fn too_many_samples_become_coarser_and_lose_nothing() {
    let mut timeline = Timeline::default();
    for second in 0..=100 {
        let lossy = Totals {
            nacks_in: second + 1,
            ..totals(second)
        };
        timeline.sample(&CONFIG, at(second), lossy);
        let kept: Vec<_> = timeline.samples(0).map(|(_, it)| it.clone()).collect();
        assert!(kept.len() <= 8);
        let millis: u32 = kept.iter().map(|sample| sample.millis).sum();
        let counted: u16 = kept.iter().map(|sample| sample.nacks_in).sum();
        assert_eq!(
            (u64::from(millis), u64::from(counted)),
            (second * 1_000, second)
        );
        assert!(kept.is_sorted_by_key(|sample| sample.at));
    }
}

#[test]
fn memory_is_given_back_and_small_at_first() {
    let large = TimelineConfig {
        entries: 1_024,
        ..CONFIG
    };
    let mut timeline = Timeline::default();
    assert_eq!(timeline.events.capacity(), 0);
    for second in 0..512 {
        timeline.note(&large, at(second), What::ConsentLost);
    }
    timeline.expire(&large, at(512 + 590));
    assert!(timeline.events.len() < 32 && timeline.events.capacity() < 128);
    assert!(size_of::<Happened>() <= 56 && size_of::<Sample>() <= 48);
}
