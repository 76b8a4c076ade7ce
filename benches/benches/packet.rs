//! Parsing a packet and deciding about it, without crypto.

#![allow(missing_docs)]

use std::hint::black_box;

use causeway_benches::{header_len, projected, video_packet};
use causeway_bridge::projection::{LayerIndex, Payload, Projection, Start, Verdict, VideoFacts};
use causeway_bridge::time::Time;
use causeway_bridge::wire::extensions::elements;
use causeway_bridge::wire::rtp::RtpHeader;
use causeway_bridge::wire::vp8::Vp8Descriptor;
use criterion::{Criterion, criterion_group, criterion_main};

fn bench_parse(c: &mut Criterion) {
    let packet = video_packet(0, 1_200);
    c.bench_function("rtp/parse with extensions", |b| {
        b.iter(|| {
            let packet = black_box(packet.as_slice());
            let header = RtpHeader::parse(packet).expect("RTP");
            elements(&header, packet)
                .map(|(id, value)| usize::from(id) + value.len())
                .sum::<usize>()
        });
    });
    let payload = &packet[header_len(&packet)..];
    c.bench_function("vp8/parse descriptor", |b| {
        b.iter(|| Vp8Descriptor::parse(black_box(payload)))
    });
}

fn bench_projection(c: &mut Criterion) {
    let mut projection = Projection::new(Start {
        sequence: 1,
        timestamp: 1,
    });
    projection.set_target(LayerIndex::new(0, 0, 2));
    let mut number = 0;
    let mut next = move || {
        number += 1;
        number - 1
    };
    let mut offer = move |facts: &VideoFacts, payload: &Payload| {
        let verdict = projection.offer(Time::from_millis(facts.index), facts, payload);
        assert!(matches!(verdict, Verdict::Forward(_)));
        verdict
    };
    c.bench_function("vp8/project", |b| {
        b.iter_batched(
            || projected(next()),
            |(facts, payload)| offer(&facts, &payload),
            criterion::BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, bench_parse, bench_projection);
criterion_main!(benches);
