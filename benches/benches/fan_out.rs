//! One video packet from its datagram to one sealed datagram per receiver, and the least that could cost.
//!
//! The floor opens the packet once and copies and seals it for every receiver, each with its own keys and place in
//! the send buffer. What is above it is the price of everything else: lookup, statistics, projection, rewriting.

#![allow(missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use causeway_benches::{Conference, KEY, SALT, VIDEO_SSRC, seal, video_packet};
use causeway_bridge::srtp::{Inbound, Outbound, Profile};
use causeway_bridge::wire::rtp::RtpHeader;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const RECEIVERS: [usize; 3] = [1, 10, 100];
const SIZE: usize = 1_200;
const PROFILE: Profile = Profile::AeadAes128Gcm;
/// Packets made at a time, outside the clock.
const BATCH: u64 = 256;
/// Room for one datagram in the floor's send buffer.
const PLACE: usize = 1_664;

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

struct Floor {
    sender: Outbound,
    inbound: Inbound,
    receivers: Vec<Outbound>,
    plain: Vec<u8>,
    arena: Vec<u8>,
    number: u64,
}

impl Floor {
    fn new(receivers: usize) -> Floor {
        let mut inbound = Inbound::new(PROFILE, &KEY, &SALT);
        inbound.allow(VIDEO_SSRC).expect("room for one SSRC");
        Floor {
            sender: Outbound::new(PROFILE, &KEY, &SALT),
            inbound,
            receivers: (0..receivers)
                .map(|_| Outbound::new(PROFILE, &KEY, &SALT))
                .collect(),
            plain: vec![0; PLACE],
            arena: vec![0; receivers * PLACE],
            number: 0,
        }
    }

    fn packets(&mut self, count: u64) -> Vec<(u64, Vec<u8>)> {
        let first = self.number;
        self.number += count;
        (first..self.number)
            .map(|number| {
                (
                    number,
                    seal(&mut self.sender, number, video_packet(number, SIZE)),
                )
            })
            .collect()
    }

    fn forward(&mut self, packets: &[(u64, Vec<u8>)]) {
        for (number, packet) in packets {
            let header = RtpHeader::parse(packet).expect("RTP");
            let opened = self.inbound.open_rtp(&header, packet, &mut self.plain);
            let len = opened.expect("authentic").len;
            let header = usize::from(header.payload_start);
            for (srtp, place) in self
                .receivers
                .iter_mut()
                .zip(self.arena.chunks_exact_mut(PLACE))
            {
                place[..len].copy_from_slice(&self.plain[..len]);
                srtp.seal_rtp(VIDEO_SSRC, *number, place, header, len)
                    .expect("room for a tag");
            }
            black_box(&mut self.arena);
        }
    }
}

fn bench_floor(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan-out/floor");
    for receivers in RECEIVERS {
        let mut floor = Floor::new(receivers);
        group.throughput(Throughput::Elements(receivers as u64));
        group.bench_function(BenchmarkId::from_parameter(receivers), |b| {
            b.iter_custom(|iterations| {
                timed(&mut floor, iterations, Floor::packets, |floor, packets| {
                    floor.forward(packets)
                })
            });
        });
    }
}

criterion_group!(benches, bench_worker, bench_floor);
criterion_main!(benches);
