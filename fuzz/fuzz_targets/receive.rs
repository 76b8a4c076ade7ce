//! The receive side of one SSRC and its transport as a state machine: any sequence numbers in any order.
//!
//! Each input is a step of the sequence number, an operation and a wait.

#![no_main]

use std::time::Duration;

use causeway_bridge::limits::{MAX_FEEDBACK_BYTES, MAX_MISSING};
use causeway_bridge::receive::{Arrival, IncomingStream, NackGenerator, TwccReceiver};
use causeway_bridge::time::Time;
use causeway_bridge::wire::twcc::Feedback;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut stream = IncomingStream::new(1, 90_000);
    let mut nack = NackGenerator::new();
    let mut twcc = TwccReceiver::new();
    let (mut now, mut sequence) = (Time::ZERO, 0u16);
    let (mut out, mut numbers) = (Vec::new(), Vec::new());
    for chunk in data.chunks_exact(4) {
        let (step, operation, wait) =
            (u16::from_be_bytes([chunk[0], chunk[1]]), chunk[2], chunk[3]);
        sequence = sequence.wrapping_add(step);
        twcc.on_packet(now, sequence, operation & 1 != 0);
        let arrival = if operation & 2 != 0 {
            stream.on_rtx(sequence)
        } else {
            stream.on_rtp(now, sequence, u32::from(step) << (operation % 17), 1_200)
        };
        if let Arrival::New { index } = arrival {
            assert_eq!(index as u16, sequence);
            nack.on_received(now, index);
            if operation & 4 != 0 {
                stream.discard(index);
            } else {
                assert!(stream.accept(index) <= index);
            }
            if operation & 8 != 0 {
                nack.on_keyframe(index);
            }
        }
        if operation & 16 != 0 {
            stream.report_block(now);
        }
        now += Duration::from_micros(u64::from(wait) * u64::from(wait) * 50);
        if nack.poll_nack(now, None, &mut numbers) {
            assert!(numbers.len() <= MAX_MISSING);
        }
        assert!(nack.missing() <= MAX_MISSING);
        assert!(nack.poll_timeout().is_none_or(|at| at > now));
        while twcc.poll_feedback(now, 1, 2, &mut out) {
            assert!(out.len() <= MAX_FEEDBACK_BYTES);
            assert!(Feedback::parse(&out[12..]).is_ok());
            out.clear();
        }
        assert!(twcc.poll_timeout().is_none_or(|at| at > now));
    }
});
