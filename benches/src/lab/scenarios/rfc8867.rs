//! RFC 8867 §5, with the bridge as the sender of all media flows that share a bottleneck: one receiver for each flow. One-way delay of
//! 50 ms, buffer of 300 ms. Pictures come in three rates, so that shares of a bottleneck can not be even.

use std::time::Duration;

use super::{
    Bounds, CHANGING, Change, Part, Rivalry, Role, SENDER, Scenario, VIEWER, change, one, path,
};

/// Rates by time: second, kbit/s.
fn rates(rates: &[(u64, u64)]) -> Vec<Change> {
    let changes = rates.iter();
    changes
        .map(|(at, kbps)| change(*at as f64, path(*kbps, 300, 50)))
        .collect()
}

/// A receiver who begins to watch then.
fn from(second: u64) -> Role {
    Role {
        absent: (second > 0).then_some((0, second)),
        ..VIEWER
    }
}

/// What several flows may do to each other.
const SHARED: Bounds = Bounds {
    utilisation: 0.02,
    queue: 320.0,
    freezes: 12,
    switches: 40.0,
    audio_lost: 0.03,
    top_after: f64::INFINITY,
    fairness: 0.5,
};

pub fn all() -> Vec<Scenario> {
    let scenarios = [
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
                "§5.1: 1, 2.5, 0.6 and 1 Mbit/s",
                100,
                rates(&[(0, 1_000), (40, 2_500), (60, 600), (80, 1_000)]),
            )
        },
        Scenario {
            roles: vec![SENDER, VIEWER, VIEWER],
            bounds: SHARED,
            ..one(
                "variable-two",
                "§5.2: two flows through 4, 2, 3.5, 1 and 2 Mbit/s",
                125,
                rates(&[
                    (0, 4_000),
                    (25, 2_000),
                    (50, 3_500),
                    (75, 1_000),
                    (100, 2_000),
                ]),
            )
        },
        Scenario {
            roles: vec![
                SENDER,
                Role {
                    camera: true,
                    talks: true,
                    adapts: true,
                    ..VIEWER
                },
            ],
            ups: vec![(1, rates(&[(0, 2_000), (35, 800), (70, 2_000)]))],
            bounds: Bounds {
                freezes: 12,
                queue: 320.0,
                audio_lost: 0.03,
                top_after: f64::INFINITY,
                ..CHANGING
            },
            ..one(
                "congested-feedback",
                "§5.3: 2, 1, 0.5 and 2 Mbit/s, feedback through 2, 0.8 and 2 Mbit/s beside an own camera",
                100,
                rates(&[(0, 2_000), (20, 1_000), (40, 500), (60, 2_000)]),
            )
        },
        Scenario {
            roles: vec![SENDER, from(0), from(20), from(40)],
            bounds: SHARED,
            ..one(
                "competing",
                "§5.4: three flows, from second 0, 20 and 40 on, share 3.5 Mbit/s",
                120,
                rates(&[(0, 3_500)]),
            )
        },
        Scenario {
            roles: [SENDER]
                .into_iter()
                .chain([(0, 10), (10, 25), (20, 50), (30, 100), (40, 150)].map(
                    |(second, delay)| Role {
                        // The bottleneck itself is 10 ms away.
                        delay: Duration::from_millis(delay - 10),
                        ..from(second)
                    },
                ))
                .collect(),
            bounds: SHARED,
            ..one(
                "rtt-fairness",
                "§5.5: five flows, 10 to 150 ms away, share 4 Mbit/s",
                300,
                vec![change(0.0, path(4_000, 300, 10))],
            )
        },
        Scenario {
            roles: vec![SENDER, from(5)],
            rivals: vec![Rivalry::Long(0, 120)],
            bounds: SHARED,
            ..one(
                "long-tcp",
                "§5.6: a TCP flow shares 2 Mbit/s",
                120,
                rates(&[(0, 2_000)]),
            )
        },
        Scenario {
            roles: vec![SENDER, from(5), from(5)],
            rivals: vec![Rivalry::Short; 10],
            // The files alone want more than there is.
            bounds: Bounds {
                utilisation: 0.005,
                freezes: 80,
                audio_lost: 0.05,
                ..SHARED
            },
            ..one(
                "short-tcp",
                "§5.7: two flows and ten who load a file now and then share 2 Mbit/s",
                300,
                rates(&[(0, 2_000)]),
            )
        },
        Scenario {
            roles: vec![
                SENDER,
                VIEWER,
                Role {
                    absent: Some((40, 60)),
                    ..VIEWER
                },
                VIEWER,
            ],
            bounds: SHARED,
            ..one(
                "pause",
                "§5.8: three flows share 3.5 Mbit/s, one pauses from second 40 to 60",
                120,
                rates(&[(0, 3_500)]),
            )
        },
    ];
    scenarios
        .into_iter()
        .map(|scenario| Scenario {
            part: Part::Rfc8867,
            ..scenario
        })
        .collect()
}
