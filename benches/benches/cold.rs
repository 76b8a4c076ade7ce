//! Fan-out of bursts that find nothing in the caches, beside the least that this could cost.
//!
//! A quiet bridge sleeps between the frames of a camera, and whatever runs meanwhile takes the caches. Then the cost of a packet is
//! mostly that of the state it needs. Bridge and floor take turns, so that both see the same machine; the figures are medians.

#![allow(missing_docs)]

use std::time::{Duration, Instant};

use causeway_benches::{Conference, Evictor, MemoryFloor};
use causeway_bridge::srtp::Profile;

const RECEIVERS: [usize; 4] = [1, 10, 50, 200];
const SIZE: usize = 1_200;
const PROFILE: Profile = Profile::AeadAes128Gcm;
/// Packets of a frame that come together.
const BURST: usize = 4;
const ROUNDS: usize = 800;

fn main() {
    println!(
        "| receivers | bridge, µs per burst of {BURST} and receiver | floor | multiple |\n|---|---|---|---|"
    );
    let mut evictor = Evictor::default();
    for receivers in RECEIVERS {
        let mut conference = Conference::new(receivers, PROFILE, SIZE);
        let mut floor = MemoryFloor::new(receivers, PROFILE, SIZE);
        let (mut bridge_times, mut floor_times) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            conference.handle_timers();
            let packets = conference.packets(BURST);
            let others = floor.packets(BURST);
            evictor.run();
            let start = Instant::now();
            let sent = conference.forward_burst(&packets);
            bridge_times.push(start.elapsed());
            assert!(sent >= BURST * receivers, "nothing was forwarded");
            evictor.run();
            let start = Instant::now();
            floor.forward(&others);
            floor_times.push(start.elapsed());
        }
        let micros = |times| median(times).as_secs_f64() * 1e6 / receivers as f64;
        let (bridge, floor) = (micros(bridge_times), micros(floor_times));
        println!(
            "| {receivers} | {bridge:.2} | {floor:.2} | {:.2} |",
            bridge / floor
        );
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
