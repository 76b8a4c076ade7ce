//! One video packet from its datagram to one sealed datagram per receiver, and the least that could cost.
//!
//! What is above that is the price of everything else: lookup, statistics, projection, rewriting.

#![allow(missing_docs)]

use std::time::{Duration, Instant};

use causeway_benches::{Conference, MemoryFloor};
use causeway_bridge::srtp::Profile;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const RECEIVERS: [usize; 3] = [1, 10, 100];
const SIZE: usize = 1_200;
const PROFILE: Profile = Profile::AeadAes128Gcm;
/// Packets made at a time, outside the clock.
const BATCH: u64 = 256;

/// Times `work` on `iterations` packets made by `make`, which is not timed.
fn timed<S, T>(
    state: &mut S,
    iterations: u64,
    make: impl Fn(&mut S, u64) -> T,
    work: impl Fn(&mut S, &T),
) -> Duration {
    let (mut left, mut elapsed) = (iterations, Duration::ZERO);
    while left > 0 {
        let count = left.min(BATCH);
        let input = make(state, count);
        let start = Instant::now();
        work(state, &input);
        elapsed += start.elapsed();
        left -= count;
    }
    elapsed
}

fn bench_worker(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan-out/worker");
    for receivers in RECEIVERS {
        let mut conference = Conference::new(receivers, PROFILE, SIZE);
        group.throughput(Throughput::Elements(receivers as u64));
        group.bench_function(BenchmarkId::from_parameter(receivers), |b| {
            b.iter_custom(|iterations| {
                timed(
                    &mut conference,
                    iterations,
                    |conference, count| {
                        conference.handle_timers();
                        conference.packets(count as usize)
                    },
                    |conference, packets| {
                        // Some RTCP may come on top; much less would mean that nothing was forwarded.
                        assert!(conference.forward(packets) >= packets.len() * receivers);
                    },
                )
            });
        });
    }
}

fn bench_floor(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan-out/floor");
    for receivers in RECEIVERS {
        let mut floor = MemoryFloor::new(receivers, PROFILE, SIZE);
        group.throughput(Throughput::Elements(receivers as u64));
        group.bench_function(BenchmarkId::from_parameter(receivers), |b| {
            b.iter_custom(|iterations| {
                timed(
                    &mut floor,
                    iterations,
                    |floor, count| floor.packets(count as usize),
                    |floor, packets| floor.forward(packets),
                )
            });
        });
    }
}

criterion_group!(benches, bench_worker, bench_floor);
criterion_main!(benches);
