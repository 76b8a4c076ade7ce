//! The bandwidth estimator as a state machine: any inputs in any order.
//!
//! Each input is an operation, an argument, a wait, and for feedback its bytes.

#![no_main]

use std::time::Duration;

use causeway_bridge::cc::{Mechanism, SendSideEstimator};
use causeway_bridge::config::EstimatorConfig;
use causeway_bridge::time::Time;
use causeway_bridge::units::Bitrate;
use causeway_bridge::wire::twcc::Feedback;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let config = EstimatorConfig::default();
    let mechanism = match data.first() {
        Some(kind) if kind % 8 == 7 => Mechanism::Remb,
        _ => Mechanism::TransportCc,
    };
    let mut estimator = SendSideEstimator::new(config, mechanism);
    let mut now = Time::ZERO;
    let mut data = data.get(1..).unwrap_or_default();
    while let Some((&[kind, a, b, wait], rest)) = data.split_first_chunk() {
        data = rest;
        let value = u16::from_be_bytes([a, b]);
        match kind % 8 {
            0 => {
                for _ in 0..b {
                    estimator.on_sent(now, usize::from(a) * 8, None);
                }
            }
            1 | 2 => {
                let (fci, rest) = data.split_at(usize::from(b).min(data.len()));
                data = rest;
                if let Ok(feedback) = Feedback::parse(fci) {
                    estimator.on_feedback(now, &feedback);
                }
            }
            3 => estimator.on_loss_report(now, u32::from(value), u32::from(value) / 3),
            4 => estimator.on_rtt(Duration::from_micros(u64::from(b) << (a % 56))),
            5 => estimator.on_remb(now, Bitrate::bps(u64::from(b) << (a % 56))),
            6 => estimator.set_demand(
                now,
                Bitrate::kbps(u64::from(a) * 64),
                Bitrate::kbps(u64::from(b) << (a % 16)),
                a % 2 == 0,
            ),
            _ => {
                if let Some(burst) = estimator.poll_probe(now) {
                    assert!(burst.bytes > 0);
                    estimator.on_sent(now, burst.bytes, Some(burst.cluster));
                }
                estimator.poll_padding(now);
            }
        }
        now += Duration::from_micros(u64::from(wait) * u64::from(wait) * 50);
        estimator.handle_timeout(now);
        estimator.poll_probe(now);
        estimator.poll_padding(now);
        assert!(estimator.poll_timeout().is_none_or(|at| at > now));
        assert!(
            estimator
                .estimate()
                .is_none_or(|rate| (config.min..=config.max).contains(&rate))
        );
        assert!((0.0..=1.0).contains(&estimator.loss(now)));
    }
});
