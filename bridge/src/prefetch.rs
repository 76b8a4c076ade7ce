//! Asks the processor for memory before it is needed.
//!
//! A worker that slept between two frames of a camera finds the state of no receiver in its caches. Each of its lines takes about
//! a hundred nanoseconds if one has to wait for it, and next to nothing if it was asked for some hundred instructions before.

#![allow(unsafe_code)]

/// Size of a cache line in bytes, on all processors that matter.
const LINE: usize = 64;

/// Asks for all cache lines of a value. That is a hint without any other effect.
#[inline(always)]
pub(crate) fn prefetch<T>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<u8>();
    let mut offset = 0;
    while offset < size_of::<T>() {
        line(start.wrapping_add(offset));
        offset += LINE;
    }
    // A value need not begin at the beginning of a line.
    if size_of::<T>() > 1 {
        line(start.wrapping_add(size_of::<T>() - 1));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn line(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: prefetching reads nothing and faults nowhere; SSE is part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn line(address: *const u8) {
    // SAFETY: prefetching reads nothing and faults nowhere.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
fn line(_: *const u8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_changes() {
        let value = [7u8; 1_000];
        prefetch(&value);
        prefetch(&());
        prefetch(&1u8);
        assert_eq!(value, [7; 1_000]);
    }
}
