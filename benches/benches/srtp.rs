//! Opening and sealing one SRTP packet.

#![allow(missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use causeway_benches::{KEY, SALT, VIDEO_SSRC, header_len, seal, video_packet};
use causeway_bridge::srtp::mac::{Engine, MAX_LANES, MacKey, Message, TAG};
use causeway_bridge::srtp::{Inbound, Outbound, Profile};
use causeway_bridge::wire::rtp::RtpHeader;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const PROFILES: [(&str, Profile); 2] = [
    ("gcm", Profile::AeadAes128Gcm),
    ("cm", Profile::Aes128CmSha1_80),
];
const SIZES: [usize; 2] = [120, 1_200];
/// Packets sealed at a time for opening, outside the clock.
const BATCH: u64 = 512;

fn bench_seal(c: &mut Criterion) {
    let mut group = c.benchmark_group("srtp/seal");
    for (name, profile) in PROFILES {
        for size in SIZES {
            let mut srtp = Outbound::new(profile, &KEY, &SALT);
            let mut buffer = video_packet(0, size);
            let header = header_len(&buffer);
            buffer.resize(size + srtp.overhead(), 0);
            let mut index = 0;
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| {
                    index += 1;
                    srtp.seal_rtp(VIDEO_SSRC, index, black_box(&mut buffer), header, size)
                });
            });
        }
    }
}

/// Tags of one packet for sixteen receivers, by each engine of this processor.
fn bench_tags(c: &mut Criterion) {
    let mut group = c.benchmark_group("srtp/tags of 16");
    let keys: Vec<MacKey> = (0..MAX_LANES as u8)
        .map(|receiver| MacKey::new(&[receiver; 20]))
        .collect();
    for size in SIZES {
        let packets: Vec<Vec<u8>> = (0..MAX_LANES as u8)
            .map(|receiver| vec![receiver; size])
            .collect();
        let messages: Vec<Message<'_>> = keys
            .iter()
            .zip(&packets)
            .map(|(key, packet)| Message {
                key,
                packet,
                suffix: [0; 4],
            })
            .collect();
        let mut tags = [[0; TAG]; MAX_LANES];
        for engine in Engine::available() {
            group.bench_function(BenchmarkId::new(format!("{engine:?}"), size), |b| {
                b.iter(|| engine.tags(black_box(&messages), black_box(&mut tags)));
            });
        }
    }
}

fn bench_open(c: &mut Criterion) {
    let mut group = c.benchmark_group("srtp/open");
    for (name, profile) in PROFILES {
        for size in SIZES {
            let mut outbound = Outbound::new(profile, &KEY, &SALT);
            let mut inbound = Inbound::new(profile, &KEY, &SALT);
            inbound.allow(VIDEO_SSRC).expect("room for one SSRC");
            let mut out = vec![0; 2_000];
            let mut next = 0;
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter_custom(|iterations| {
                    let (mut left, mut elapsed) = (iterations, Duration::ZERO);
                    while left > 0 {
                        let count = left.min(BATCH);
                        let packets: Vec<_> = (next..next + count)
                            .map(|number| seal(&mut outbound, number, video_packet(number, size)))
                            .collect();
                        let start = Instant::now();
                        for packet in &packets {
                            let header = RtpHeader::parse(packet).expect("RTP");
                            let opened = inbound.open_rtp(&header, packet, black_box(&mut out));
                            assert!(opened.is_ok());
                        }
                        elapsed += start.elapsed();
                        next += count;
                        left -= count;
                    }
                    elapsed
                });
            });
        }
    }
}

criterion_group!(benches, bench_seal, bench_tags, bench_open);
criterion_main!(benches);
