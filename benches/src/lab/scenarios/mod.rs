//! What is tried: after RFC 8867 and what users meet.

use std::time::Duration;

use causeway_bridge::sim::link::LinkConfig;
use causeway_bridge::units::Bitrate;

use super::measure::Outcome;
use super::rival::Rivalry;
use super::world::Role;
use crate::load::codec::Codec;

mod codecs;
mod downlinks;
mod rfc8867;
mod uplinks;

/// A path that changes.
#[derive(Clone)]
pub struct Change {
    /// Seconds from the beginning.
    pub at: f64,
    pub config: LinkConfig,
}

/// What figures are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watch {
    /// The first downlink, and who is the first to receive through it.
    Down,
    /// The uplink of a participant who follows the bridge's feedback; the picture is that of the first who receives through the first
    /// downlink.
    Up(usize),
}

/// Scenarios that are shown together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    Downlinks,
    Rfc8867,
    Codecs,
    Uplinks,
}

impl Part {
    pub const ALL: [Part; 4] = [Part::Downlinks, Part::Rfc8867, Part::Codecs, Part::Uplinks];

    pub fn title(self) -> &'static str {
        match self {
            Part::Downlinks => "Downlinks",
            Part::Rfc8867 => "The test cases of RFC 8867",
            Part::Codecs => "Other codecs",
            Part::Uplinks => "Uplinks",
        }
    }
}

/// One of them.
pub struct Scenario {
    pub part: Part,
    /// Also the name of its picture.
    pub name: &'static str,
    pub what: &'static str,
    pub seconds: u64,
    pub roles: Vec<Role>,
    /// Of each downlink, what it is when, beginning at zero. Receivers of the first are those that are watched.
    pub downs: Vec<Vec<Change>>,
    /// The same for the uplinks of participants, whose others are ample.
    pub ups: Vec<(usize, Vec<Change>)>,
    pub watch: Watch,
    /// Of all cameras.
    pub codec: Codec,
    /// File transfers that share the first downlink.
    pub rivals: Vec<Rivalry>,
    /// Second from which the path carries the highest encoding, if it does.
    pub lifted_at: f64,
    pub bounds: Bounds,
}

/// What has to hold after the first ten seconds, whatever the seed.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// Least mean of the estimate, as a share of the path's rate.
    pub utilisation: f64,
    /// ms that the queue is not above for 95 % of the time.
    pub queue: f64,
    /// Pauses of the picture longer than half a second.
    pub freezes: u64,
    /// Changes of the encoding in a minute.
    pub switches: f64,
    /// Share of the audio.
    pub audio_lost: f64,
    /// Seconds until the highest encoding, where the path carries it.
    pub top_after: f64,
    /// Least fairness among those who share the first downlink.
    pub fairness: f64,
}

impl Bounds {
    /// What a run did not keep, with its figure.
    pub fn broken_by(&self, outcome: &Outcome) -> Vec<String> {
        let most = [
            ("ms of queue", outcome.queue.1, self.queue),
            ("freezes", outcome.freezes.0 as f64, self.freezes as f64),
            (
                "switches per minute",
                outcome.switches_per_minute,
                self.switches,
            ),
            ("audio lost", outcome.audio_lost, self.audio_lost),
            (
                "s to 720p",
                outcome.top_after.unwrap_or(f64::INFINITY),
                self.top_after,
            ),
            // The larger the better.
            (
                "utilisation",
                -outcome.utilisation.unwrap_or(1.0),
                -self.utilisation,
            ),
            ("fairness", -outcome.fairness.unwrap_or(1.0), -self.fairness),
        ];
        let broken = most.iter().filter(|(_, figure, bound)| figure > bound);
        broken
            .map(|(what, figure, bound)| {
                format!("{what}: {:.3}, bound {:.3}", figure.abs(), bound.abs())
            })
            .collect()
    }
}

/// The goals on a path that does not change.
const STABLE: Bounds = Bounds {
    utilisation: 0.85,
    queue: 50.0,
    freezes: 0,
    switches: 2.0,
    audio_lost: 0.001,
    top_after: f64::INFINITY,
    fairness: 0.0,
};

/// The goals on a path that changes.
const CHANGING: Bounds = Bounds {
    utilisation: 0.5,
    queue: 60.0,
    switches: 10.0,
    top_after: 10.0,
    ..STABLE
};

const SENDER: Role = Role {
    camera: true,
    talks: true,
    stage: None,
    down: 1,
    adapts: false,
    delay: Duration::ZERO,
    absent: None,
};

const VIEWER: Role = Role {
    camera: false,
    talks: false,
    stage: Some(0),
    down: 0,
    ..SENDER
};

/// `kbps` with a buffer of `buffer` ms, `delay` ms away.
fn path(kbps: u64, buffer: u64, delay: u64) -> LinkConfig {
    let rate = Bitrate::kbps(kbps);
    LinkConfig {
        rate: Some(rate),
        queue_bytes: rate.bytes_in(Duration::from_millis(buffer)) as usize,
        delay: Duration::from_millis(delay),
        ..LinkConfig::default()
    }
}

fn change(at: f64, config: LinkConfig) -> Change {
    Change { at, config }
}

/// One sender with a camera in three encodings, one who has it on stage behind these paths.
fn one(name: &'static str, what: &'static str, seconds: u64, down: Vec<Change>) -> Scenario {
    Scenario {
        part: Part::Downlinks,
        name,
        what,
        seconds,
        roles: vec![SENDER, VIEWER],
        downs: vec![down, vec![change(0.0, LinkConfig::default())]],
        ups: Vec::new(),
        watch: Watch::Down,
        codec: Codec::Vp8,
        rivals: Vec::new(),
        lifted_at: 0.0,
        bounds: STABLE,
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let parts = [
        downlinks::all(),
        rfc8867::all(),
        codecs::all(),
        uplinks::all(),
    ];
    parts.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use causeway_bridge::config::PacingConfig;

    use super::*;
    use crate::lab::measure;

    fn is_kept(part: Part) {
        for scenario in all().into_iter().filter(|scenario| scenario.part == part) {
            for seed in 1..=2 {
                let outcome = measure::run(&scenario, seed, PacingConfig::default());
                let broken = scenario.bounds.broken_by(&outcome);
                assert!(
                    broken.is_empty(),
                    "{} with seed {seed}: {broken:?}",
                    scenario.name
                );
            }
        }
    }

    #[test]
    fn receivers_get_what_is_promised() {
        is_kept(Part::Downlinks);
    }

    #[test]
    fn flows_share_what_there_is_as_rfc_8867_wants_it_tried() {
        is_kept(Part::Rfc8867);
    }

    #[test]
    fn other_codecs_adapt_as_well() {
        is_kept(Part::Codecs);
    }

    #[test]
    fn senders_follow_the_feedback_of_the_bridge() {
        is_kept(Part::Uplinks);
    }

    #[test]
    fn scenarios_have_names_of_their_own() {
        let all = all();
        let names: std::collections::BTreeSet<_> = all.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), all.len());
    }
}
