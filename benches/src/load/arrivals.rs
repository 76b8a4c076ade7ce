//! Arrival times by transport-wide sequence number, for feedback like a browser's.

use std::collections::VecDeque;

use causeway_bridge::time::Time;
use causeway_bridge::wire::twcc::{FeedbackHeader, write_feedback};

/// Numbers that one feedback round can cover.
const MAX_PENDING: usize = 4_096;

/// What came since the last feedback.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Extended number of the first entry.
    base: Option<u64>,
    times: VecDeque<Option<Time>>,
    count: u8,
}

impl Arrivals {
    pub fn note(&mut self, sequence: u16, at: Time) {
        let base = *self.base.get_or_insert(1 << 16 | u64::from(sequence));
        let end = base + self.times.len() as u64;
        let ahead = sequence.wrapping_sub(end as u16) as i16;
        let index = end.wrapping_add_signed(i64::from(ahead));
        let Some(place) = index.checked_sub(base) else {
            // It was reported as missing already.
            return;
        };
        let place = place as usize;
        if place >= MAX_PENDING {
            self.times.clear();
            self.base = Some(index);
            self.times.push_back(Some(at));
            return;
        }
        if place >= self.times.len() {
            self.times.resize(place + 1, None);
        }
        if let Some(time) = self.times.get_mut(place) {
            time.get_or_insert(at);
        }
    }

    /// Notes a packet that nobody numbered: they are numbered as they come.
    pub fn note_next(&mut self, at: Time) {
        self.base.get_or_insert(0);
        if self.times.len() < MAX_PENDING {
            self.times.push_back(Some(at));
        }
    }

    /// Hands each feedback packet about what came since the last call to `each`.
    pub fn report(&mut self, sender: u32, media: u32, mut each: impl FnMut(&[u8])) {
        let Some(mut base) = self.base else { return };
        let mut out = Vec::new();
        while !self.times.is_empty() {
            out.clear();
            let header = FeedbackHeader {
                sender_ssrc: sender,
                media_ssrc: media,
                base_sequence: base as u16,
                feedback_count: self.count,
            };
            let covered = write_feedback(&header, self.times.iter().copied(), &mut out);
            if covered == 0 {
                break;
            }
            self.count = self.count.wrapping_add(1);
            base += covered as u64;
            self.times.drain(..covered);
            each(&out);
        }
        self.base = Some(base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_bridge::wire::rtcp::{Element, elements};
    use causeway_bridge::wire::twcc::Feedback;

    #[test]
    fn every_arrival_is_reported_once_and_holes_are_told() {
        let mut arrivals = Arrivals::default();
        let mut reported = Vec::new();
        for round in 0..3u16 {
            for at in 0..20u16 {
                let sequence = 65_520u16.wrapping_add(20 * round + at);
                if sequence != 3 {
                    arrivals.note(sequence, Time::from_millis(u64::from(20 * round + at)));
                }
            }
            arrivals.report(1, 2, |packet| {
                for element in elements(packet) {
                    let Ok(Element::TransportFeedback { body, .. }) = element else {
                        panic!("{element:?}");
                    };
                    let feedback = Feedback::parse(body).expect("well formed");
                    reported.extend(
                        feedback
                            .packets()
                            .map(|status| (status.sequence, status.arrival.is_some())),
                    );
                }
            });
        }
        let expected: Vec<_> = (0..60u16)
            .map(|at| 65_520u16.wrapping_add(at))
            .map(|sequence| (sequence, sequence != 3))
            .collect();
        assert_eq!(reported, expected);
    }
}
