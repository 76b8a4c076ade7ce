//! What changes while a scenario is measured: who shares a screen, who speaks, who leaves and comes back.

use std::time::Duration;

use causeway_bridge::time::Time;

use super::plan::Plan;

/// Something that is to happen now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// The first no longer shares the screen, the second does; everybody puts that on stage.
    Share(Option<u32>, u32),
    /// In its meeting, the first no longer speaks, the second does; everybody puts them on stage.
    Speak(u32, u32),
    /// This participant leaves, and joins again at once.
    Replace(u32),
}

/// Something that happens again and again.
#[derive(Clone, Copy, Debug)]
struct Clockwork {
    next: Time,
    every: Duration,
}

impl Clockwork {
    /// How often it happened meanwhile: never more than once, so that nothing is made up for.
    fn tick(&mut self, now: Time) -> bool {
        let due = self.next <= now;
        if due {
            self.next = now.max(self.next + self.every);
        }
        due
    }
}

/// All changes of a measurement.
#[derive(Debug)]
pub struct Changes {
    sharing: Vec<u32>,
    shared: usize,
    share: Option<Clockwork>,
    /// Participants of each meeting, the speaker first.
    meetings: Vec<Vec<u32>>,
    turn: Option<Clockwork>,
    /// Meetings in which it is somebody else's turn.
    turning: usize,
    replaceable: Vec<u32>,
    replaced: usize,
    churn: Option<Clockwork>,
}

impl Changes {
    /// For a measurement of `length` from `begin` on.
    pub fn new(plan: &Plan, begin: Time, length: Duration) -> Changes {
        let mut meetings = vec![Vec::new(); plan.meetings as usize];
        for (number, part) in (0..).zip(&plan.parts) {
            if let Some(meeting) = meetings.get_mut(part.meeting as usize) {
                meeting.push(number);
            }
        }
        let sharing = plan.sharing.clone();
        let replaceable = (1..plan.parts.len() as u32).filter(|number| !sharing.contains(number));
        let clockwork = |next, every| Clockwork { next, every };
        Changes {
            share: (!sharing.is_empty()).then(|| clockwork(begin, length / sharing.len() as u32)),
            turn: plan.turns.map(|every| clockwork(begin + every, every)),
            churn: plan.churn.map(|every| clockwork(begin + every, every)),
            replaceable: replaceable.collect(),
            replaced: 0,
            turning: 0,
            sharing,
            shared: 0,
            meetings,
        }
    }

    /// The next change that is due.
    pub fn poll(&mut self, now: Time) -> Option<Change> {
        while self.turning > 0 {
            self.turning -= 1;
            let meeting = &mut self.meetings[self.turning];
            if let [before, next, ..] = meeting[..] {
                meeting.rotate_left(1);
                return Some(Change::Speak(before, next));
            }
        }
        if self.shared < self.sharing.len() && self.share.as_mut().is_some_and(|it| it.tick(now)) {
            let before = self
                .shared
                .checked_sub(1)
                .map(|before| self.sharing[before]);
            let change = Change::Share(before, self.sharing[self.shared]);
            self.shared += 1;
            return Some(change);
        }
        if self.turn.as_mut().is_some_and(|turn| turn.tick(now)) {
            self.turning = self.meetings.len();
            return self.poll(now);
        }
        if self.churn.as_mut().is_some_and(|churn| churn.tick(now)) {
            let count = self.replaceable.len().max(1);
            let number = self.replaceable.get(self.replaced % count).copied();
            self.replaced += 1;
            return number.map(Change::Replace);
        }
        None
    }

    /// When the next change will be due.
    pub fn poll_timeout(&self) -> Time {
        let share = self.share.filter(|_| self.shared < self.sharing.len());
        [share, self.turn, self.churn]
            .into_iter()
            .flatten()
            .map(|clockwork| clockwork.next)
            .min()
            .unwrap_or(Time::FAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::{Scale, Scenario};

    fn all(changes: &mut Changes, begin: Time, length: Duration) -> Vec<(u64, Change)> {
        let mut found = Vec::new();
        loop {
            let at = changes.poll_timeout();
            if at >= begin + length {
                return found;
            }
            while let Some(change) = changes.poll(at) {
                found.push(((at - begin).as_secs(), change));
            }
        }
    }

    #[test]
    fn speakers_take_turns_in_every_meeting() {
        let scale = Scale {
            size: Some(3),
            count: Some(2),
            ..Scale::default()
        };
        let mut plan = Scenario::Meetings.plan(&scale);
        plan.take_turns(Duration::from_secs(4));
        let begin = Time::from_millis(500);
        let length = Duration::from_secs(13);
        let mut changes = Changes::new(&plan, begin, length);
        let found = all(&mut changes, begin, length);
        let speak = Change::Speak;
        let expected = [
            (4, speak(3, 4)),
            (4, speak(0, 1)),
            (8, speak(4, 5)),
            (8, speak(1, 2)),
            (12, speak(5, 3)),
            (12, speak(2, 0)),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn screens_are_shared_one_after_the_other_and_others_come_and_go() {
        let scale = Scale {
            size: Some(4),
            count: Some(2),
            ..Scale::default()
        };
        let mut plan = Scenario::Screens.plan(&scale);
        plan.churn = Some(Duration::from_secs(4));
        let begin = Time::from_millis(500);
        let length = Duration::from_secs(10);
        let mut changes = Changes::new(&plan, begin, length);
        let found = all(&mut changes, begin, length);
        let expected = [
            (0, Change::Share(None, 2)),
            (4, Change::Replace(1)),
            (5, Change::Share(Some(2), 3)),
            (8, Change::Replace(1)),
        ];
        assert_eq!(found, expected);
    }
}
