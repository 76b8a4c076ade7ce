//! Who meets whom, sends what and wants what: the scenarios.

use std::collections::BTreeMap;
use std::time::Duration;

use super::codec::Codec;
use super::formats::Picture;

/// A scenario.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Scenario {
    /// One camera in 720p to many receivers: --size receivers (50)
    Broadcast,
    /// Meetings in which everybody sees everybody, one large: --count meetings (4) of --size (5)
    Meetings,
    /// One meeting of --size (100) with cameras; everybody sees 20 as tiles
    Large,
    /// Audio only: --size endpoints (500) in one conference, three talk
    Audio,
    /// Like large, and --count (5) of them share their screens one after the other, which all put on stage
    Screens,
    /// --size endpoints (500) join ten meetings within ten seconds
    Joins,
    /// --size endpoints (5000) are connected and silent, ten to a meeting
    Idle,
}

/// How large a scenario is.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Scale {
    /// Instead of the scenario's own number.
    pub size: Option<u32>,
    /// See [`Scenario`].
    pub count: Option<u32>,
    /// Factor for numbers that were not given.
    pub scale: Option<f64>,
}

impl Scale {
    fn size(&self, own: u32, least: u32) -> u32 {
        let scaled = (f64::from(own) * self.scale.unwrap_or(1.0)).round() as u32;
        self.size.unwrap_or(scaled).max(least)
    }
}

/// What a participant does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    pub meeting: u32,
    /// Has a microphone.
    pub talks: bool,
    /// It is off at first.
    pub muted: bool,
    pub camera: bool,
    /// Has a screen that it may share.
    pub screen: bool,
    /// Requests start so long after the run.
    pub joins_at: Duration,
    /// See [`Wanted`].
    pub wanted: Wanted,
}

/// What a participant wants to receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    pub last_n: i32,
    pub max_height: i32,
    /// Number of the participant who is large, and its height.
    pub stage: Option<(u32, i32)>,
}

/// A whole run.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    pub scenario: Scenario,
    pub meetings: u32,
    pub parts: Vec<Part>,
    pub camera: Picture,
    /// Ask for other layers after the measurement and measure how long that takes.
    pub switches: bool,
    /// Measure while participants join.
    pub measures_joins: bool,
    /// Participants that share their screens during the measurement, one after the other.
    pub sharing: Vec<u32>,
    /// How long each speaks: one in each meeting at a time, in turn. See [`Plan::take_turns`].
    pub turns: Option<Duration>,
    /// How often somebody leaves and joins again.
    pub churn: Option<Duration>,
}

impl Plan {
    /// Everybody has a microphone, but only one in each meeting speaks; the others are muted, and see the speaker on stage.
    pub fn take_turns(&mut self, every: Duration) {
        let mut speakers: BTreeMap<u32, u32> = BTreeMap::new();
        for (number, part) in (0..).zip(&self.parts) {
            speakers.entry(part.meeting).or_insert(number);
        }
        for (number, part) in (0..).zip(&mut self.parts) {
            let speaker = speakers[&part.meeting];
            part.talks = true;
            part.muted = number != speaker;
            if part.camera && part.wanted.last_n != 0 {
                part.wanted.stage = Some((speaker, STAGE_HEIGHT)).filter(|_| part.muted);
            }
        }
        self.turns = Some(every);
        // Who is on stage is the speaker now, not what a switch asks for.
        self.switches = false;
    }
}

/// Height that is wanted of the speaker.
const STAGE_HEIGHT: i32 = 720;

/// Joins per second where joining is not what is measured.
const CALM_JOINS: u32 = 100;

impl Scenario {
    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Broadcast => "broadcast",
            Scenario::Meetings => "meetings",
            Scenario::Large => "large",
            Scenario::Audio => "audio",
            Scenario::Screens => "screens",
            Scenario::Joins => "joins",
            Scenario::Idle => "idle",
        }
    }

    /// Seconds of measurement, if nothing else was said.
    pub fn seconds(self) -> u64 {
        match self {
            Scenario::Joins => 15,
            Scenario::Screens => 25,
            _ => 20,
        }
    }

    /// Who takes part.
    pub fn plan(self, scale: &Scale) -> Plan {
        let tiles = Wanted {
            last_n: -1,
            max_height: 180,
            stage: None,
        };
        let mut plan = Plan {
            scenario: self,
            meetings: 1,
            parts: Vec::new(),
            camera: Picture::camera(Codec::default()),
            switches: false,
            measures_joins: false,
            sharing: Vec::new(),
            turns: None,
            churn: None,
        };
        let part = |meeting, talks, camera, wanted| Part {
            meeting,
            talks,
            muted: false,
            camera,
            screen: false,
            joins_at: Duration::ZERO,
            wanted,
        };
        let mut rate = CALM_JOINS;
        match self {
            Scenario::Broadcast => {
                let nothing = Wanted { last_n: 0, ..tiles };
                let stage = Wanted {
                    max_height: 720,
                    stage: Some((0, 720)),
                    ..tiles
                };
                plan.parts.push(part(0, false, true, nothing));
                let receivers = scale.size(50, 1);
                plan.parts
                    .extend((0..receivers).map(|_| part(0, false, false, stage)));
                plan.switches = true;
            }
            Scenario::Meetings => {
                let size = scale.size.unwrap_or(5).max(2);
                let count = Scale {
                    size: scale.count,
                    ..*scale
                };
                plan.meetings = count.size(4, 1);
                for meeting in 0..plan.meetings {
                    let first = meeting * size;
                    for at in 0..size {
                        let wanted = Wanted {
                            stage: Some((first + (at + 1) % size, 720)),
                            ..tiles
                        };
                        plan.parts.push(part(meeting, at == 0, true, wanted));
                    }
                }
                plan.switches = true;
            }
            Scenario::Large | Scenario::Screens => {
                let wanted = Wanted {
                    last_n: 20,
                    ..tiles
                };
                let size = scale.size(100, 2);
                plan.parts
                    .extend((0..size).map(|at| part(0, at < 3, true, wanted)));
                if self == Scenario::Screens {
                    let sharing = scale.count.unwrap_or(5).min(size);
                    plan.sharing = (size - sharing..size).collect();
                    for number in &plan.sharing {
                        plan.parts[*number as usize].screen = true;
                    }
                }
            }
            Scenario::Audio => {
                let size = scale.size(500, 2);
                plan.parts
                    .extend((0..size).map(|at| part(0, at < 3, false, tiles)));
            }
            Scenario::Joins => {
                let size = scale.size(500, 1);
                plan.meetings = size.min(10);
                let meetings = plan.meetings;
                plan.parts.extend((0..size).map(|at| {
                    let first = at < meetings;
                    part(at % meetings, first, first, tiles)
                }));
                rate = size.div_ceil(10);
                plan.measures_joins = true;
            }
            Scenario::Idle => {
                let size = scale.size(5_000, 1);
                plan.meetings = size.div_ceil(10);
                plan.parts
                    .extend((0..size).map(|at| part(at / 10, false, false, tiles)));
                rate = 2 * CALM_JOINS;
            }
        }
        for (at, part) in plan.parts.iter_mut().enumerate() {
            part.joins_at = Duration::from_secs_f64(at as f64 / f64::from(rate));
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(scenario: Scenario, size: Option<u32>, scale: Option<f64>) -> Plan {
        scenario.plan(&Scale {
            size,
            count: None,
            scale,
        })
    }

    #[test]
    fn scenarios_have_the_size_they_promise() {
        for (scenario, parts, meetings) in [
            (Scenario::Broadcast, 51, 1),
            (Scenario::Meetings, 20, 4),
            (Scenario::Large, 100, 1),
            (Scenario::Audio, 500, 1),
            (Scenario::Screens, 100, 1),
            (Scenario::Joins, 500, 10),
            (Scenario::Idle, 5_000, 500),
        ] {
            let plan = plan(scenario, None, None);
            assert_eq!(
                (plan.parts.len(), plan.meetings),
                (parts, meetings),
                "{scenario:?}"
            );
            assert!(plan.parts.iter().all(|part| part.meeting < meetings));
        }
    }

    #[test]
    fn a_scale_shrinks_what_was_not_given() {
        assert_eq!(plan(Scenario::Broadcast, None, Some(0.1)).parts.len(), 6);
        assert_eq!(
            plan(Scenario::Broadcast, Some(20), Some(0.1)).parts.len(),
            21
        );
        assert_eq!(plan(Scenario::Meetings, Some(3), Some(0.5)).parts.len(), 6);
        assert_eq!(plan(Scenario::Audio, None, Some(0.0)).parts.len(), 2);
    }

    #[test]
    fn everybody_in_a_meeting_has_somebody_else_on_stage() {
        for (at, part) in (0..).zip(plan(Scenario::Meetings, Some(3), None).parts) {
            let (stage, _) = part.wanted.stage.expect("a stage");
            assert_ne!(stage, at);
            assert_eq!(stage / 3, part.meeting);
        }
    }

    #[test]
    fn a_join_storm_takes_ten_seconds() {
        let parts = plan(Scenario::Joins, None, None).parts;
        let last = parts.last().map(|part| part.joins_at.as_secs_f64());
        assert!(last.is_some_and(|last| (9.9..10.0).contains(&last)));
    }
}
