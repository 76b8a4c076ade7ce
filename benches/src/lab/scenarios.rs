//! What is tried: after RFC 8867 and what users meet.

use std::time::Duration;

use causeway_bridge::sim::link::LinkConfig;
use causeway_bridge::units::Bitrate;

use super::measure::Outcome;
use super::world::Role;

/// A path that changes.
#[derive(Clone)]
pub struct Change {
    /// Seconds from the beginning.
    pub at: f64,
    pub config: LinkConfig,
}

/// One of them.
pub struct Scenario {
    /// Also the name of its picture.
    pub name: &'static str,
    pub what: &'static str,
    pub seconds: u64,
    pub roles: Vec<Role>,
    /// Of each downlink, what it is when, beginning at zero. Receivers of the first are those that are watched.
    pub downs: Vec<Vec<Change>>,
    /// The same for the uplink of the first participant, the sender.
    pub up: Vec<Change>,
    /// Seconds between which a file transfer shares the first downlink.
    pub rival: Option<(u64, u64)>,
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
};

const VIEWER: Role = Role {
    camera: false,
    talks: false,
    stage: Some(0),
    down: 0,
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
        name,
        what,
        seconds,
        roles: vec![SENDER, VIEWER],
        downs: vec![down, vec![change(0.0, LinkConfig::default())]],
        up: Vec::new(),
        rival: None,
        lifted_at: 0.0,
        bounds: STABLE,
    }
}

/// Short outages, and jitter all the time.
fn wifi(seconds: u64) -> Vec<Change> {
    let free = LinkConfig {
        jitter: Duration::from_millis(15),
        ..path(10_000, 500, 10)
    };
    let blocked = LinkConfig {
        loss: 0.3,
        ..path(50, 80_000, 10)
    };
    let mut changes = vec![change(0.0, free)];
    for burst in (3..seconds).step_by(3) {
        changes.push(change(burst as f64, blocked));
        changes.push(change(burst as f64 + 0.08, free));
    }
    changes
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let ample = || change(0.0, LinkConfig::default());
    let mut scenarios = vec![
        Scenario {
            ..one(
                "stable-1m",
                "1 Mbit/s, buffer 300 ms",
                90,
                vec![change(0.0, path(1_000, 300, 25))],
            )
        },
        Scenario {
            ..one(
                "stable-3m",
                "3 Mbit/s, buffer 300 ms",
                90,
                vec![change(0.0, path(3_000, 300, 25))],
            )
        },
        Scenario {
            lifted_at: 40.0,
            bounds: Bounds {
                freezes: 6,
                queue: 290.0,
                audio_lost: 0.002,
                ..CHANGING
            },
            ..one(
                "variable",
                "1, 2.5, 0.6 and 1 Mbit/s (RFC 8867 §5.1)",
                100,
                vec![
                    change(0.0, path(1_000, 300, 50)),
                    change(40.0, path(2_500, 300, 50)),
                    change(60.0, path(600, 300, 50)),
                    change(80.0, path(1_000, 300, 50)),
                ],
            )
        },
        Scenario {
            lifted_at: 30.0,
            bounds: CHANGING,
            ..one(
                "lifted",
                "500 kbit/s until second 30, then 5 Mbit/s",
                60,
                vec![
                    change(0.0, path(500, 300, 25)),
                    change(30.0, path(5_000, 300, 25)),
                ],
            )
        },
        Scenario {
            lifted_at: 60.0,
            bounds: CHANGING,
            ..one(
                "halved",
                "2.6 Mbit/s, half of it from second 30 to 60",
                90,
                vec![
                    change(0.0, path(2_600, 300, 25)),
                    change(30.0, path(1_300, 300, 25)),
                    change(60.0, path(2_600, 300, 25)),
                ],
            )
        },
        one(
            "bloated",
            "1 Mbit/s, buffer 2 s",
            90,
            vec![change(0.0, path(1_000, 2_000, 25))],
        ),
        Scenario {
            bounds: Bounds {
                utilisation: 0.65,
                queue: 65.0,
                ..STABLE
            },
            ..one(
                "slow-300k",
                "300 kbit/s, buffer 500 ms",
                60,
                vec![change(0.0, path(300, 500, 25))],
            )
        },
        Scenario {
            bounds: Bounds {
                utilisation: 0.2,
                audio_lost: 0.12,
                ..STABLE
            },
            ..one(
                "loss-10",
                "10 Mbit/s, 10 % random loss",
                60,
                vec![change(
                    0.0,
                    LinkConfig {
                        loss: 0.1,
                        ..path(10_000, 300, 25)
                    },
                )],
            )
        },
        one(
            "rtt-200",
            "3 Mbit/s, round trip 200 ms",
            60,
            vec![change(0.0, path(3_000, 300, 180))],
        ),
        Scenario {
            bounds: Bounds {
                utilisation: 0.3,
                ..STABLE
            },
            ..one(
                "wifi",
                "10 Mbit/s, jitter 15 ms, 80 ms of outage every 3 s",
                60,
                wifi(60),
            )
        },
        one(
            "reordering",
            "5 Mbit/s, 2 % of the packets 10 ms late",
            60,
            vec![change(
                0.0,
                LinkConfig {
                    reorder: 0.02,
                    reorder_delay: Duration::from_millis(10),
                    ..path(5_000, 300, 25)
                },
            )],
        ),
    ];
    scenarios.push(Scenario {
        // Loose: the queue behind the shaper fills now and then, paced or not.
        bounds: Bounds {
            utilisation: 0.65,
            queue: 300.0,
            audio_lost: 0.015,
            ..STABLE
        },
        ..one(
            "shaped-500k",
            "500 kbit/s by a shaper with a burst of 10 KB, buffer 300 ms",
            60,
            vec![change(
                0.0,
                LinkConfig {
                    burst_bytes: 10_000,
                    ..path(500, 300, 25)
                },
            )],
        )
    });
    scenarios.push(Scenario {
        rival: Some((20, 60)),
        bounds: Bounds {
            queue: 320.0,
            ..CHANGING
        },
        ..one(
            "tcp",
            "3 Mbit/s, buffer 300 ms, a TCP flow from second 20 to 60",
            90,
            vec![change(0.0, path(3_000, 300, 25))],
        )
    });
    scenarios.push(Scenario {
        roles: vec![SENDER, VIEWER, VIEWER],
        bounds: Bounds {
            utilisation: 0.4,
            switches: 24.0,
            queue: 70.0,
            ..STABLE
        },
        ..one(
            "two",
            "two receivers share 4.6 Mbit/s (RFC 8867 §5.4)",
            90,
            vec![change(0.0, path(4_600, 300, 25))],
        )
    });
    let mut roles = vec![SENDER, VIEWER];
    roles.extend([Role { down: 1, ..VIEWER }; 19]);
    scenarios.push(Scenario {
        roles,
        downs: vec![vec![change(0.0, path(400, 300, 25))], vec![ample()]],
        bounds: Bounds {
            utilisation: 0.7,
            ..STABLE
        },
        ..one(
            "one-slow",
            "20 receivers, one of them with 400 kbit/s",
            60,
            Vec::new(),
        )
    });
    let mut roles = vec![SENDER; 5];
    for silent in &mut roles[2..] {
        silent.talks = false;
    }
    roles.push(Role {
        stage: None,
        ..VIEWER
    });
    scenarios.push(Scenario {
        roles,
        bounds: Bounds {
            utilisation: 0.65,
            queue: 65.0,
            ..STABLE
        },
        ..one(
            "tiles",
            "five cameras as tiles and two talkers through 600 kbit/s",
            60,
            vec![change(0.0, path(600, 300, 25))],
        )
    });
    scenarios
}

#[cfg(test)]
mod tests {
    use causeway_bridge::config::PacingConfig;

    use super::*;
    use crate::lab::measure;

    #[test]
    fn receivers_get_what_is_promised() {
        for scenario in all() {
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
}
