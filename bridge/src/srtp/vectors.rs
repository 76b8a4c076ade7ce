//! Published test vectors.

use super::cipher::{Cipher, derive};
use super::ctr::CounterMode;
use super::{Inbound, Outbound, Profile};
use crate::wire::rtp::RtpHeader;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let digit = |byte: &u8| (*byte as char).to_digit(16).expect("hexadecimal") as u8;
    digits
        .chunks(2)
        .map(|pair| digit(&pair[0]) << 4 | digit(&pair[1]))
        .collect()
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().expect("length")
}

const MASTER_KEY: &str = "E1F97A0D3E018BE0D64FA32C06DE4139";
const MASTER_SALT: &str = "0EC675AD498AFEEBB6960B3AABE6";

#[test]
fn rfc_3711_b2_key_stream() {
    let cipher = Cipher::cm(
        &array("2B7E151628AED2A6ABF7158809CF4F3C"),
        array("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"),
        &[0; 20],
    );
    // SSRC and index are zero, so that the packet is the key stream behind its front.
    let mut packet = vec![0; 16 * 0xFF02 + 10];
    cipher
        .encrypt_rtp(0, 0, 0, 16 * 0xFF02, &mut packet)
        .unwrap();
    for (block, expected) in [
        (0x0000, "E03EAD0935C95E80E166B16DD92B4EB4"),
        (0x0001, "D23513162B02D0F72A43A2FE4A5F97AB"),
        (0x0002, "41E95B3BB0A2E8DD477901E4FCA894C0"),
        (0xFEFF, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
        (0xFF00, "362B7C3C6773516318A077D7FC5073AE"),
        (0xFF01, "6A2CC3787889374FBEB4C81B17BA6C44"),
    ] {
        assert_eq!(
            packet[16 * block..][..16],
            hex(expected),
            "block {block:#x}"
        );
    }
}

#[test]
fn rfc_3711_b3_key_derivation() {
    let (master, salt) = (CounterMode::new(&array(MASTER_KEY)), array(MASTER_SALT));
    assert_eq!(
        derive::<16>(&master, &salt, 0)[..],
        hex("C61E7A93744F39EE10734AFE3FF7A087")
    );
    assert_eq!(
        derive::<14>(&master, &salt, 2)[..],
        hex("30CBBC08863D8C85D49DB34A9AE1")
    );
    assert_eq!(
        derive::<94>(&master, &salt, 1)[..],
        hex(
            "CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE
             E049646C43D9327AD175578EF7227098 6371C10C9A369AC2F94A8C5FBCDDDC25
             6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2"
        )
    );
}

const GCM_KEY: &str = "000102030405060708090a0b0c0d0e0f";

#[test]
fn rfc_7714_16_1_1_srtp_with_aes_128_gcm() {
    let cipher = Cipher::gcm(&array(GCM_KEY), *b"Quid pro quo");
    let plain = hex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973
                     20646976 69736120 696e2070 61727465 73207472 6573",
    );
    let sealed = hex(
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca
                      be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1
                      6a9152cf 765ee439 0cce",
    );
    let mut buffer = plain.clone();
    buffer.resize(sealed.len(), 0);
    cipher
        .encrypt_rtp(0x5501_a0b2, 0xf17b, 12, plain.len(), &mut buffer)
        .unwrap();
    assert_eq!(
        cipher.tag_rtp(0xf17b, plain.len(), &mut buffer),
        Ok(sealed.len())
    );
    assert_eq!(buffer, sealed);

    let mut opened = vec![0; plain.len()];
    cipher
        .open_rtp(0x5501_a0b2, 0xf17b, 12, &sealed, &mut opened)
        .unwrap();
    assert_eq!(opened, plain);
}

#[test]
fn rfc_7714_17_1_srtcp_with_aes_128_gcm() {
    let cipher = Cipher::gcm(&array(GCM_KEY), *b"Quid pro quo");
    let plain = hex(
        "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930
                     4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef",
    );
    let sealed = hex(
        "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7
                      6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458
                      96cf4d2f c5abf872 45d9eade 800005d4",
    );
    let mut buffer = plain.clone();
    buffer.resize(sealed.len(), 0);
    assert_eq!(
        cipher.seal_rtcp(0x4d61_7273, 0x5d4, plain.len(), &mut buffer),
        Ok(sealed.len())
    );
    assert_eq!(buffer, sealed);

    let mut opened = vec![0; plain.len()];
    cipher
        .open_rtcp(0x4d61_7273, 0x5d4, &sealed, &mut opened)
        .unwrap();
    assert_eq!(opened, plain);
}

/// RFC 9335 appendix A: plaintext, sealed with AES-CM and HMAC-SHA1-80, sealed with AES-128-GCM.
const CRYPTEX: [(&str, &str, &str); 6] = [
    (
        "900f1235 decafbad cafebabe bede0001 51000200 abababab abababab abababab abababab",
        "900f1235 decafbad cafebabe c0de0001 eb923652 51c3e036 f8de27e9 c27ee3e0 b4651d9f bc4218a7
         0244522f 34a5",
        "900f1235 decafbad cafebabe c0de0001 39972dc9 572c4d99 e8fc355d e743fb2e 94f9d8ff 54e72f41
         93bbc5c7 4ffab0fa 9fa0fbeb",
    ),
    (
        "900f1236 decafbad cafebabe 10000001 05020002 abababab abababab abababab abababab",
        "900f1236 decafbad cafebabe c2de0001 4ed9cc4e 6a712b30 96c5ca77 339d4204 ce0d7739 6cab6958
         5fbce381 94a5",
        "900f1236 decafbad cafebabe c2de0001 bb75a4c5 45cd1f41 3bdb7daa 2b1e3263 de313667 c9632490
         81b35a65 f5cb6c88 b394235f",
    ),
    (
        "920f1238 decafbad cafebabe 0001e240 0000b26e bede0001 51000200 abababab abababab abababab abababab",
        "920f1238 decafbad cafebabe 8bb6e12b 5cff16dd c0de0001 92838c8c 09e58393 e1de3a9a 74734d67
         45671338 c3acf11d a2df8423 bee0",
        "920f1238 decafbad cafebabe 63bbccc4 a7f695c4 c0de0001 8ad7c71f ac70a80c 92866b4c 6ba98546
         ef913586 e95ffaaf fe956885 bb0647a8 bc094ac8",
    ),
    (
        "920f1239 decafbad cafebabe 0001e240 0000b26e 10000001 05020002 abababab abababab abababab abababab",
        "920f1239 decafbad cafebabe f70e513e b90b9b25 c2de0001 bbed4848 faa64466 5f3d7f34 125914e9
         f4d0ae92 3c6f479b 95a0f7b5 3133",
        "920f1239 decafbad cafebabe 3680524f 8d312b00 c2de0001 c78d1200 38422bc1 11a7187a 18246f98
         0c059cc6 bc9df8b6 26394eca 344e4b05 d80fea83",
    ),
    (
        "920f123a decafbad cafebabe 0001e240 0000b26e bede0000 abababab abababab abababab abababab",
        "920f123a decafbad cafebabe 7130b6ab fe2ab0e3 c0de0000 e3d9f64b 25c9e74c b4cf8e43 fb92e378
         1c2c0cea b6b3a499 a14c",
        "920f123a decafbad cafebabe 15b6bb43 37906fff c0de0000 b7b96453 7a2b03ab 7ba5389c e9331712
         6b5d974d f30c6884 dcb651c5 e120c1da",
    ),
    (
        "920f123b decafbad cafebabe 0001e240 0000b26e 10000000 abababab abababab abababab abababab",
        "920f123b decafbad cafebabe cbf24c12 4330e1c8 c2de0000 599dd45b c9d687b6 03e8b59d 771fd38e
         88b170e0 cd31e125 eabe",
        "920f123b decafbad cafebabe dcb38c9e 48bf95f4 c2de0000 61ee432c f9203170 76613258 d3ce4236
         c06ac429 681ad084 13512dc9 8b5207d8",
    ),
];

#[test]
fn media_plane_case_42_rfc_9335_a_cryptex_is_opened_with_and_without_csrcs() {
    for (profile, key, salt) in [
        (
            Profile::Aes128CmSha1_80,
            array(MASTER_KEY),
            array(MASTER_SALT),
        ),
        (
            Profile::AeadAes128Gcm,
            array(GCM_KEY),
            array("a0a1a2a3a4a5a6a7a8a9aaab 0000"),
        ),
    ] {
        let mut inbound = Inbound::new(profile, &key, &salt);
        inbound.allow(0xcafe_babe).unwrap();
        let mut outbound = Outbound::new(profile, &key, &salt);
        outbound.set_cryptex(true);
        for (plain, with_cm, with_gcm) in CRYPTEX {
            let sealed = hex(if profile == Profile::AeadAes128Gcm {
                with_gcm
            } else {
                with_cm
            });
            let plain = hex(plain);
            let header = RtpHeader::parse(&sealed).unwrap();
            assert!(header.is_cryptex());
            let mut out = vec![0; plain.len()];
            let opened = inbound.open_rtp(&header, &sealed, &mut out).unwrap();
            assert_eq!(opened.len, plain.len());
            assert_eq!(out, plain);

            if header.csrc_count == 0 {
                let mut buffer = plain.clone();
                buffer.resize(sealed.len(), 0);
                let header_len = usize::from(header.payload_start);
                let len = outbound.seal_rtp(
                    header.ssrc,
                    opened.index,
                    &mut buffer,
                    header_len,
                    plain.len(),
                );
                assert_eq!(len, Ok(sealed.len()));
                assert_eq!(buffer, sealed);
            }
        }
    }
}
