//! The packet path takes no memory from the allocator once its buffers have their working size.

#![allow(missing_docs)]

use allocation_counter::{AllocationInfo, measure};
use causeway_benches::Conference;
use causeway_bridge::srtp::Profile;

/// More than what is remembered of sent packets: after them, every ring has been full once.
const WARM_UP: usize = 10_000;
const PACKETS: usize = 5_000;

/// What is allocated while `PACKETS` packets go to each of `receivers` receivers, timers included.
fn steady_state(receivers: usize, profile: Profile) -> AllocationInfo {
    let mut conference = Conference::new(receivers, profile, 1_200);
    for _ in 0..WARM_UP / 10 {
        let packets = conference.packets(10);
        conference.forward(&packets);
        conference.handle_timers();
    }
    let packets = conference.packets(PACKETS);
    measure(|| {
        assert!(conference.forward(&packets) >= receivers * PACKETS);
    })
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "debug builds remember every SRTP index to find reuse: run it with --release"
)]
fn forwarding_allocates_nothing() {
    for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80] {
        let info = steady_state(20, profile);
        assert_eq!((info.count_total, info.bytes_total), (0, 0), "{profile:?}");
    }
}

/// The counter counts: otherwise the other test could not fail.
#[test]
fn an_allocation_is_noticed() {
    let info = measure(|| drop(std::hint::black_box(Box::new(7))));
    assert_eq!(info.count_total, 1);
}
