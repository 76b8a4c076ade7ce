//! Opening and sealing one SRTP packet.

#![allow(missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use causeway_benches::{KEY, SALT, VIDEO_SSRC, header_len, seal, video_packet};
use causeway_bridge::srtp::mac::{Engine, MAX_LANES, Message, TAG, TagDue};
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

/// What the cipher alone takes for the same bytes.
fn bench_cipher(c: &mut Criterion) {
    let mut group = c.benchmark_group("srtp/cipher alone");
    for size in SIZES {
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &KEY).expect("16 bytes"));
        let mut buffer = video_packet(0, size);
        let header = header_len(&buffer);
        let mut index = 0u64;
        group.bench_function(BenchmarkId::new("gcm", size), |b| {
            b.iter(|| {
                index += 1;
                let mut nonce = [0; 12];
                nonce[4..].copy_from_slice(&index.to_be_bytes());
                let (front, payload) = black_box(&mut buffer).split_at_mut(header);
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.seal_in_place_separate_tag(nonce, Aad::from(front), payload)
            });
        });
    }
}

/// One packet sealed for sixteen receivers with AES-CM: one after the other, and with the tags computed together by each engine
/// of this processor.
fn bench_receivers(c: &mut Criterion) {
    let mut group = c.benchmark_group("srtp/cm for 16 receivers");
    for size in SIZES {
        let packet = video_packet(0, size);
        let header = header_len(&packet);
        let mut receivers: Vec<(Outbound, Vec<u8>)> = (0..MAX_LANES as u8)
            .map(|number| Outbound::new(Profile::Aes128CmSha1_80, &[number; 16], &[number; 14]))
            .map(|outbound| (outbound, vec![0; size + TAG]))
            .collect();
        let mut index = 0;
        group.bench_function(BenchmarkId::new("one by one", size), |b| {
            b.iter(|| {
                index += 1;
                for (outbound, buffer) in &mut receivers {
                    buffer[..size].copy_from_slice(black_box(&packet));
                    let sealed = outbound.seal_rtp(VIDEO_SSRC, index, buffer, header, size);
                    black_box(sealed.expect("room"));
                }
            });
        });
        for engine in Engine::available() {
            group.bench_function(BenchmarkId::new(format!("{engine:?}"), size), |b| {
                b.iter(|| {
                    index += 1;
                    let dues: [TagDue; MAX_LANES] = std::array::from_fn(|receiver| {
                        let (outbound, buffer) = &mut receivers[receiver];
                        buffer[..size].copy_from_slice(black_box(&packet));
                        let sealed =
                            outbound.seal_rtp_later(VIDEO_SSRC, index, buffer, header, size);
                        sealed
                            .expect("room")
                            .1
                            .expect("AES-CM has a tag of its own")
                    });
                    let messages: [Message<'_>; MAX_LANES] = std::array::from_fn(|receiver| {
                        dues[receiver].message(&receivers[receiver].1[..size])
                    });
                    let mut tags = [[0; TAG]; MAX_LANES];
                    engine.tags(&messages, &mut tags);
                    for ((_, buffer), tag) in receivers.iter_mut().zip(tags) {
                        buffer[size..].copy_from_slice(&tag);
                    }
                });
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

criterion_group!(
    benches,
    bench_seal,
    bench_cipher,
    bench_receivers,
    bench_open
);
criterion_main!(benches);
