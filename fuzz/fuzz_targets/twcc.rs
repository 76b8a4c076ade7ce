//! Feedback control information of transport-wide congestion control.

#![no_main]

use causeway_bridge::time::Time;
use causeway_bridge::wire::twcc::{Feedback, FeedbackHeader, write_feedback};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|fci: &[u8]| {
    let Ok(feedback) = Feedback::parse(fci) else {
        return;
    };
    let packets: Vec<_> = feedback.packets().collect();
    assert_eq!(packets.len(), usize::from(feedback.status_count()));

    // Arrivals that were read can be written, and are read back as the same.
    let origin = packets
        .iter()
        .filter_map(|packet| packet.arrival)
        .min()
        .unwrap_or(0)
        .min(0);
    let origin = origin - origin.rem_euclid(64_000);
    let arrivals: Vec<_> = packets
        .iter()
        .map(|packet| {
            packet
                .arrival
                .map(|at| Time::from_micros((at - origin) as u64))
        })
        .collect();
    let mut at = 0;
    while at < arrivals.len() {
        let header = FeedbackHeader {
            sender_ssrc: 1,
            media_ssrc: 2,
            base_sequence: feedback.base_sequence().wrapping_add(at as u16),
            feedback_count: feedback.feedback_count(),
        };
        let mut out = Vec::new();
        let covered = write_feedback(&header, arrivals[at..].iter().copied(), &mut out);
        assert!(covered > 0);
        let again = Feedback::parse(&out[12..]).expect("own feedback");
        for (read, written) in again.packets().zip(&packets[at..]) {
            assert_eq!(read.sequence, written.sequence);
            assert_eq!(read.arrival.is_some(), written.arrival.is_some());
        }
        at += covered;
    }
});
