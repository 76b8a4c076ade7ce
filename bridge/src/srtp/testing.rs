//! What the tests of both directions share.

use super::{Inbound, MASTER_KEY, MASTER_SALT, OpenError, Opened, Outbound, Profile};
use crate::wire::rtp::RtpHeader;

pub(super) const PROFILES: [Profile; 2] = [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80];
pub(super) const KEY: [u8; MASTER_KEY] = *b"sixteen byte key";
pub(super) const SALT: [u8; MASTER_SALT] = *b"fourteen bytes";
pub(super) const SSRC: u32 = 0xCAFE_BABE;
/// Length of the packets of [`rtp`].
pub(super) const RTP_LEN: usize = 32;

pub(super) fn inbound(profile: Profile) -> Inbound {
    let mut inbound = Inbound::new(profile, &KEY, &SALT);
    inbound.allow(SSRC).expect("first SSRC");
    inbound
}

pub(super) fn outbound(profile: Profile) -> Outbound {
    Outbound::new(profile, &KEY, &SALT)
}

/// A plain packet whose payload depends on SSRC and sequence number only.
pub(super) fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 111];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 1]);
    packet.extend(ssrc.to_be_bytes());
    packet.resize(RTP_LEN, sequence as u8);
    packet
}

/// The packet with this index as its sender would put it on the wire.
pub(super) fn sealed(profile: Profile, ssrc: u32, index: u64) -> Vec<u8> {
    let mut packet = rtp(ssrc, index as u16);
    packet.resize(RTP_LEN + profile.tag_len(), 0);
    let len = outbound(profile)
        .seal_rtp(ssrc, index, &mut packet, 12, RTP_LEN)
        .expect("room");
    assert_eq!(len, packet.len());
    packet
}

/// Opens a packet and checks that the plaintext is the one that [`sealed`] put in.
pub(super) fn open(inbound: &mut Inbound, datagram: &[u8]) -> Result<u64, OpenError> {
    let header = RtpHeader::parse(datagram).expect("header");
    let mut out = [0xEE; 1_500];
    let Opened { len, index } = inbound.open_rtp(&header, datagram, &mut out)?;
    assert_eq!(out[..len], rtp(header.ssrc, header.sequence));
    assert_eq!(out[len..], [0xEE; 1_500][len..]);
    Ok(index)
}

/// A plain receiver report.
pub(super) fn rtcp(sender: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 2];
    packet.extend(sender.to_be_bytes());
    packet.extend([1, 2, 3, 4]);
    packet
}

/// Seals the report of [`rtcp`] as the sender's next packet.
pub(super) fn seal_rtcp(outbound: &mut Outbound, sender: u32) -> Vec<u8> {
    let mut packet = rtcp(sender);
    let plain = packet.len();
    packet.resize(plain + outbound.rtcp_overhead(), 0);
    assert_eq!(outbound.seal_rtcp(&mut packet, plain), Ok(packet.len()));
    packet
}

/// Opens the report of [`rtcp`].
pub(super) fn open_rtcp(inbound: &mut Inbound, datagram: &[u8]) -> Result<(), OpenError> {
    let mut out = [0xEE; 1_500];
    let len = inbound.open_rtcp(datagram, &mut out)?;
    let sender = u32::from_be_bytes(datagram[4..8].try_into().expect("sender"));
    assert_eq!(out[..len], rtcp(sender));
    Ok(())
}

/// The index that an SRTCP packet carries, and its E bit.
pub(super) fn rtcp_index(profile: Profile, datagram: &[u8]) -> (bool, u32) {
    let at = match profile {
        Profile::AeadAes128Gcm => datagram.len() - 4,
        Profile::Aes128CmSha1_80 => datagram.len() - 14,
    };
    let word = u32::from_be_bytes(datagram[at..at + 4].try_into().expect("index"));
    (word >> 31 == 1, word & 0x7FFF_FFFF)
}
