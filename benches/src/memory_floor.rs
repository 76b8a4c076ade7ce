//! The least that fan-out could cost, in memory.

use std::hint::black_box;

use causeway_bridge::srtp::{Inbound, Outbound, Profile};
use causeway_bridge::wire::rtp::RtpHeader;

use super::{KEY, SALT, VIDEO_SSRC, seal, video_packet};

/// Room for one datagram in the send buffer.
const PLACE: usize = 1_664;

/// Opens each packet once, and copies and seals it for every receiver, each with its own keys and place in the send buffer.
pub struct MemoryFloor {
    sender: Outbound,
    inbound: Inbound,
    receivers: Vec<Outbound>,
    plain: Vec<u8>,
    arena: Vec<u8>,
    packet_len: usize,
    number: u64,
}

impl MemoryFloor {
    /// For packets of `packet_len` bytes before sealing.
    ///
    /// # Panics
    /// Never: there is room for one SSRC.
    pub fn new(receivers: usize, profile: Profile, packet_len: usize) -> MemoryFloor {
        let mut inbound = Inbound::new(profile, &KEY, &SALT);
        inbound.allow(VIDEO_SSRC).expect("room for one SSRC");
        MemoryFloor {
            sender: Outbound::new(profile, &KEY, &SALT),
            inbound,
            receivers: (0..receivers)
                .map(|_| Outbound::new(profile, &KEY, &SALT))
                .collect(),
            plain: vec![0; PLACE],
            arena: vec![0; receivers * PLACE],
            packet_len,
            number: 0,
        }
    }

    /// The next `count` packets of the sender, sealed, with their indexes: input for [`MemoryFloor::forward`].
    pub fn packets(&mut self, count: usize) -> Vec<(u64, Vec<u8>)> {
        let first = self.number;
        self.number += count as u64;
        (first..self.number)
            .map(|number| {
                let packet = video_packet(number, self.packet_len);
                (number, seal(&mut self.sender, number, packet))
            })
            .collect()
    }

    /// Does it.
    ///
    /// # Panics
    /// If packets are not those of [`MemoryFloor::packets`].
    pub fn forward(&mut self, packets: &[(u64, Vec<u8>)]) {
        for (number, packet) in packets {
            let header = RtpHeader::parse(packet).expect("RTP");
            let opened = self.inbound.open_rtp(&header, packet, &mut self.plain);
            let len = opened.expect("authentic").len;
            let header = usize::from(header.payload_start);
            for (srtp, place) in self
                .receivers
                .iter_mut()
                .zip(self.arena.chunks_exact_mut(PLACE))
            {
                place[..len].copy_from_slice(&self.plain[..len]);
                srtp.seal_rtp(VIDEO_SSRC, *number, place, header, len)
                    .expect("room for a tag");
            }
            black_box(&mut self.arena);
        }
    }
}
