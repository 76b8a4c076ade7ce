//! What users meet on the way to them.

use std::time::Duration;

use causeway_bridge::sim::link::LinkConfig;

use super::{
    Bounds, CHANGING, Change, Rivalry, Role, SENDER, STABLE, Scenario, VIEWER, change, one, path,
};

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
                utilisation: 0.8,
                queue: 60.0,
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
        rivals: vec![Rivalry::Long(20, 60)],
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
            utilisation: 0.45,
            switches: 16.0,
            queue: 50.0,
            ..STABLE
        },
        ..one(
            "two",
            "two receivers share 4.6 Mbit/s",
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
