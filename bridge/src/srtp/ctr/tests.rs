//! Counter mode against published vectors, and our own against the library's.

use proptest::prelude::*;

use super::*;

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let digits = text.as_bytes();
    std::array::from_fn(|at| {
        let pair = std::str::from_utf8(&digits[2 * at..2 * at + 2]).expect("ASCII");
        u8::from_str_radix(pair, 16).expect("a digit")
    })
}

/// The ways that this processor has.
fn ways(key: &[u8; KEY]) -> Vec<CounterMode> {
    vec![CounterMode::library(key), CounterMode::new(key)]
}

#[test]
fn nist_sp_800_38a_f_5_1() {
    let key = bytes("2b7e151628aed2a6abf7158809cf4f3c");
    let iv = bytes("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
    let plain: [u8; 64] = bytes(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
         30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
    );
    let expected: [u8; 64] = bytes(
        "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff\
         5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee",
    );
    for way in ways(&key) {
        let mut data = plain;
        way.apply(iv, &mut data).expect("short");
        assert_eq!(data, expected);
    }
}

#[test]
fn rfc_3711_b_2_counts_across_a_byte() {
    let key = bytes("2b7e151628aed2a6abf7158809cf4f3c");
    let iv = bytes("f0f1f2f3f4f5f6f7f8f9fafbfcfd0000");
    let last: [u8; 48] = bytes(
        "ec8cdf7398607cb0f2d21675ea9ea1e4362b7c3c6773516318a077d7fc5073ae\
         6a2cc3787889374fbeb4c81b17ba6c44",
    );
    for way in ways(&key) {
        let mut stream = vec![0; 0xff02 * BLOCK];
        way.apply(iv, &mut stream).expect("a megabyte");
        assert_eq!(stream[0xfeff * BLOCK..], last);
    }
}

proptest! {
    #[test]
    fn every_way_gives_the_same_bits_at_every_length_and_place(
        key: [u8; KEY],
        mut iv: [u8; BLOCK],
        length in 0usize..2_000,
        offset in 0usize..70,
        fill: u8,
    ) {
        // As in SRTP: the block counter begins at zero.
        iv[14..].fill(0);
        let outputs: Vec<Vec<u8>> = ways(&key)
            .iter()
            .map(|way| {
                let mut data = vec![fill; offset + length + 5];
                way.apply(iv, &mut data[offset..offset + length]).expect("short");
                data
            })
            .collect();
        prop_assert_eq!(&outputs[0], &outputs[1]);
        prop_assert!(outputs[1][..offset].iter().all(|byte| *byte == fill));
        prop_assert!(outputs[1][offset + length..].iter().all(|byte| *byte == fill));
    }
}
