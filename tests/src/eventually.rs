//! Waiting for events that can be observed.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// Pause between two looks: a look at a page costs the browser some of the time it needs for media.
const PAUSE: Duration = Duration::from_millis(250);

/// Looks until what is seen `holds`, and answers with that.
///
/// # Panics
///
/// Panics with what was seen last if that takes longer than `within`.
#[track_caller]
pub fn eventually<S: Debug>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> S,
    holds: impl Fn(&S) -> bool,
) -> S {
    let start = Instant::now();
    loop {
        let seen = look();
        if holds(&seen) {
            return seen;
        }
        assert!(
            start.elapsed() < within,
            "not within {within:?}: {what}; last seen: {seen:#?}"
        );
        thread::sleep(PAUSE);
    }
}

/// Looks at a counter until it has grown by `growth` since the first look.
///
/// # Panics
///
/// Panics with the first and the last value if that takes longer than `within`.
#[track_caller]
pub fn grows(what: &str, growth: f64, within: Duration, mut look: impl FnMut() -> f64) {
    let first = look();
    eventually(
        what,
        within,
        || (first, look()),
        |(first, now)| *now >= first + growth,
    );
}
