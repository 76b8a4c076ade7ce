//! Records of sent packets: the right numbers again, and nothing that was never sent.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const RTT: Option<Duration> = Some(Duration::from_millis(100));

/// The numbers that packet `index` comes with.
fn numbers(index: u64) -> Numbers {
    Numbers {
        timestamp: index as u32 * 3_000,
        marker: index.is_multiple_of(3),
        picture_id: Some(index as u16 & 0x7fff),
        tl0picidx: Some(index as u8),
        frame_number: index as u16,
    }
}

/// How one is sent that comes `behind` numbers after its outgoing one.
fn rewrite(sequence: u64, index: u64) -> Rewrite {
    let came = numbers(index);
    Rewrite {
        sequence,
        timestamp: came.timestamp.wrapping_add(77),
        marker: came.marker,
        picture_id: came.picture_id.map(|id| id.wrapping_add(5) & 0x7fff),
        tl0picidx: came.tl0picidx.map(|id| id.wrapping_add(200)),
        dependency: None,
    }
}

fn sent(range: impl Iterator<Item = u64>) -> SentRecords {
    let mut records = SentRecords::new();
    for sequence in range {
        let index = sequence + 7_000;
        records.record(1, index, &numbers(index), &rewrite(sequence, index));
    }
    records
}

#[test]
fn media_plane_case_106_a_nack_finds_the_packet_with_the_numbers_it_was_sent_with() {
    let records = sent(65_500..65_600);
    // The second is across the wrap of the number on the wire.
    for sequence in [65_590u64, 65_530] {
        let found = records.lookup(sequence as u16).expect("sent");
        assert_eq!((found.encoding(), found.index()), (1, sequence + 7_000));
        let again = found.rewrite(&numbers(sequence + 7_000));
        assert_eq!(again, rewrite(sequence, sequence + 7_000));
    }
}

#[test]
fn media_plane_case_113_a_second_nack_waits_for_the_round_trip() {
    let mut records = sent(1000..1001);
    let packet = records.lookup(1000).expect("sent");
    let at = Time::from_millis;
    let arrival = at(1000);
    let ask = |records: &SentRecords, now, rtt| records.may_resend(now, &packet, arrival, rtt);
    assert_eq!(ask(&records, at(1000 + 89), RTT), Err(Refusal::TooSoon));
    assert_eq!(ask(&records, at(1000 + 90), RTT), Ok(()));
    records.resent(at(1090), &packet);
    assert_eq!(ask(&records, at(1090 + 89), RTT), Err(Refusal::TooSoon));
    assert_eq!(ask(&records, at(1090 + 90), RTT), Ok(()));

    // Below 50 ms the margin of 5 ms is what counts; no round-trip time, no waiting.
    let short = Some(Duration::from_millis(20));
    assert_eq!(ask(&records, at(1090 + 14), short), Err(Refusal::TooSoon));
    assert_eq!(ask(&records, at(1090 + 15), short), Ok(()));
    assert_eq!(ask(&records, at(1090), None), Ok(()));
    let tiny = Some(Duration::from_millis(1));
    assert_eq!(ask(&records, at(1090), tiny), Ok(()));
}

#[test]
fn a_packet_is_sent_again_ten_times_at_most_t45() {
    let mut records = sent(1..2);
    let packet = records.lookup(1).expect("sent");
    for _ in 0..limits::MAX_RETRANSMISSIONS {
        let asked = records.may_resend(Time::FAR, &packet, Time::ZERO, None);
        assert_eq!(asked, Ok(()));
        records.resent(Time::FAR, &packet);
    }
    let asked = records.may_resend(Time::FAR, &packet, Time::ZERO, None);
    assert_eq!(asked, Err(Refusal::TooOften));
}

#[test]
fn what_was_never_sent_is_unknown() {
    assert_eq!(SentRecords::new().lookup(5), None);
    let mut records = sent([3, 5].into_iter());
    for unknown in [0, 2, 4, 6, 40_000, 65_535] {
        assert_eq!(records.lookup(unknown), None);
    }
    records.clear();
    assert_eq!(records.lookup(5), None);
}

#[test]
fn a_steady_stream_needs_one_run_and_no_stream_more_than_its_bound() {
    assert_eq!(sent(0..5_000).runs.len(), 1);
    // The worst case: every packet is numbered in its own way.
    let mut records = SentRecords::new();
    for sequence in 0..5_000 {
        let index = sequence * 2;
        records.record(0, index, &numbers(index), &rewrite(sequence, index));
        assert!(records.runs.len() <= limits::SENT_RECORDS + 1);
    }
    assert!(records.lookup((5_000 - CAPACITY) as u16).is_some());
    assert_eq!(records.lookup((5_000 - CAPACITY - 1) as u16), None);
    for sequence in 4_000..5_000 {
        records.resent(
            Time::ZERO,
            &Sent {
                sequence,
                ..records.lookup(4_999).expect("sent")
            },
        );
    }
    assert!(records.again.len() <= limits::SENT_RECORDS + 1);
}

#[test]
fn a_packet_that_comes_too_late_changes_nothing() {
    let mut records = sent(0..2_000);
    let sequence = 1_999 - CAPACITY;
    records.record(0, 1, &numbers(1), &rewrite(sequence, 1));
    assert_eq!(records.lookup(sequence as u16), None);
    assert!(records.lookup(1_999).is_some());
    assert_eq!(records.runs.len(), 1);
}

#[test]
fn probing_starts_with_the_newest_and_skips_holes() {
    let records = sent([10, 11, 13].into_iter());
    let order: Vec<u64> = records.newest_first().map(|sent| sent.sequence).collect();
    assert_eq!(order, [13, 11, 10]);
    assert_eq!(SentRecords::new().newest_first().count(), 0);
}

proptest! {
    /// Whatever is sent in whatever order: each packet has its own numbers again, and only what was sent is
    /// found.
    #[test]
    fn records_are_those_of_a_plain_table(
        steps in prop::collection::vec((0u64..40, 0u64..4, any::<bool>()), 1..400),
    ) {
        let mut records = SentRecords::new();
        let mut table: BTreeMap<u64, (u64, Rewrite)> = BTreeMap::new();
        let mut newest = 30u64;
        for (step, group, late) in steps {
            let sequence = if late { newest.saturating_sub(step) } else { newest + 1 + step / 8 };
            if table.contains_key(&sequence) {
                continue;
            }
            newest = newest.max(sequence);
            // Groups of neighbours are shifted alike, as in life.
            let index = sequence * 2 + sequence / 16 * 3 + group / 3;
            let to = rewrite(sequence, index);
            records.record(0, index, &numbers(index), &to);
            table.insert(sequence, (index, to));
        }
        let mut known = 0;
        for sequence in 0..=newest + 2 {
            let expected = table.get(&sequence).filter(|_| newest - sequence < CAPACITY);
            let found = records.lookup(sequence as u16);
            prop_assert_eq!(found.map(|sent| sent.index()), expected.map(|(index, _)| *index));
            if let (Some(found), Some((index, to))) = (found, expected) {
                prop_assert_eq!(found.rewrite(&numbers(*index)), *to);
                known += 1;
            }
        }
        prop_assert_eq!(records.newest_first().count(), known);
        prop_assert!(records.runs.len() <= 2 * limits::SENT_RECORDS + 1);
    }
}
