//! Whole conferences on the real workers and the real control plane, in virtual time. Only DTLS and SCTP have a
//! stand-in.
//!
//! One number decides everything that happens. A run that fails says which; `SIM_SEED=… cargo test -p
//! causeway-bridge --lib sim::` repeats it.

mod codec;
mod driver;
mod peer;
mod stream;
mod world;

use std::time::Instant;

/// Seeds of an ordinary run.
const SEEDS: std::ops::Range<u64> = 1..31;

fn run(seed: u64) -> world::Totals {
    let result = std::panic::catch_unwind(|| world::World::new(seed).run());
    let failure = match result {
        Ok(Ok(totals)) => return totals,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default()
        }
    };
    panic!("{failure}\nrepeat with SIM_SEED={seed} cargo test -p causeway-bridge --lib sim::tests");
}

#[test]
fn t02_t29_t71_conferences_survive_faults_and_keep_their_promises() {
    let seeds = match std::env::var("SIM_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        Some(seed) => seed..seed + 1,
        None => SEEDS,
    };
    let one = seeds.end - seeds.start == 1;
    let simulated = world::END.as_secs_f64() * (seeds.end - seeds.start) as f64;
    let start = Instant::now();
    let mut totals = world::Totals::default();
    seeds.for_each(|seed| totals += run(seed));
    let real = start.elapsed().as_secs_f64();
    println!(
        "{:.0} simulated seconds per second, {totals:?}",
        simulated / real
    );
    // A run of many seeds that lacks one of these would have tested nothing.
    let world::Totals {
        rtp_sent,
        handed_over,
        joins,
        moves,
        restarts,
    } = totals;
    let happened = [rtp_sent / 1_000, handed_over, joins, moves, restarts];
    assert!(one || happened.iter().all(|count| *count > 0), "{totals:?}");
}
