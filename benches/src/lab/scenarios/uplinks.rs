//! Senders behind narrow paths, whose encoders follow the bridge's transport-wide feedback; who watches them has an ample one.

use std::time::Duration;

use causeway_bridge::sim::link::LinkConfig;

use super::{
    Bounds, CHANGING, Change, Part, Role, SENDER, STABLE, Scenario, VIEWER, Watch, change, one,
    path,
};

fn up(name: &'static str, what: &'static str, seconds: u64, up: Vec<Change>) -> Scenario {
    let ample = || vec![change(0.0, LinkConfig::default())];
    Scenario {
        part: Part::Uplinks,
        roles: vec![
            Role {
                adapts: true,
                ..SENDER
            },
            VIEWER,
        ],
        downs: vec![ample(), ample()],
        ups: vec![(0, up)],
        watch: Watch::Up(0),
        bounds: Bounds {
            utilisation: 0.5,
            queue: 120.0,
            freezes: 2,
            switches: 6.0,
            audio_lost: 0.01,
            ..STABLE
        },
        ..one(name, what, seconds, Vec::new())
    }
}

pub fn all() -> Vec<Scenario> {
    vec![
        up(
            "up-300k",
            "uplink of 300 kbit/s, buffer 300 ms",
            90,
            vec![change(0.0, path(300, 300, 25))],
        ),
        up(
            "up-1m",
            "uplink of 1 Mbit/s, buffer 300 ms",
            90,
            vec![change(0.0, path(1_000, 300, 25))],
        ),
        up(
            "up-bloated",
            "uplink of 1 Mbit/s, buffer 2 s",
            90,
            vec![change(0.0, path(1_000, 2_000, 25))],
        ),
        {
            let lossy = LinkConfig {
                loss: 0.05,
                ..path(3_000, 300, 25)
            };
            let mut scenario = up(
                "up-loss-5",
                "uplink of 3 Mbit/s, 5 % random loss",
                60,
                vec![change(0.0, lossy)],
            );
            // Audio is not sent again.
            scenario.bounds.audio_lost = 0.08;
            scenario
        },
        Scenario {
            lifted_at: 60.0,
            bounds: Bounds {
                queue: 320.0,
                freezes: 8,
                audio_lost: 0.03,
                switches: 10.0,
                top_after: 25.0,
                ..CHANGING
            },
            ..up(
                "up-variable",
                "uplink of 3 Mbit/s, 400 kbit/s from second 30 to 60",
                100,
                vec![
                    change(0.0, path(3_000, 300, 25)),
                    change(30.0, path(400, 300, 25)),
                    change(60.0, path(3_000, 300, 25)),
                ],
            )
        },
        up(
            "up-rtt-200",
            "uplink of 3 Mbit/s, jitter 15 ms, round trip 200 ms",
            60,
            vec![change(
                0.0,
                LinkConfig {
                    jitter: Duration::from_millis(15),
                    ..path(3_000, 300, 100)
                },
            )],
        ),
    ]
}
