//! Entry points for fuzz targets; only compiled with `--cfg fuzzing` and for tests.

use std::time::Instant;

use super::sctp::Sctp;
use crate::time::Time;

/// Runs an SCTP server through a handshake and then over packets made from `data`: each is two bytes of
/// length and so many bytes of chunks, which get the common header with the right tag and checksum. A
/// length with its top bit set lets time pass instead.
pub fn sctp_packets(mut data: &[u8]) {
    let mut now = Time::from_millis(1);
    let mut sctp = Sctp::new(Instant::now(), false, now);
    let established = data.first().is_some_and(|first| first & 1 == 1);
    data = data.get(1..).unwrap_or_default();

    let mut init = vec![1, 0, 0, 20, 0, 0, 0, 77, 0, 2, 0, 0, 0, 16, 0, 16];
    init.extend_from_slice(&1u32.to_be_bytes());
    sctp.handle(now, &packet([0; 4], &init));
    let answer = sctp.poll_transmit().expect("INIT ACK");
    let tag = [answer[16], answer[17], answer[18], answer[19]];
    if established {
        let parameters = &answer[32..];
        let at = parameters
            .windows(2)
            .position(|kind| kind == [0, 7])
            .expect("state cookie");
        let length = usize::from(parameters[at + 3]);
        let mut echo = vec![10, 0, 0, length as u8];
        echo.extend_from_slice(&parameters[at + 4..at + length]);
        echo.resize(echo.len().next_multiple_of(4), 0);
        // DATA_CHANNEL_OPEN without label on stream 1.
        echo.extend_from_slice(&[0, 3, 0, 28, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 50, 3]);
        echo.extend_from_slice(&[0; 11]);
        sctp.handle(now, &packet(tag, &echo));
    }
    while let Some((length, rest)) = data.split_first_chunk::<2>() {
        let length = u16::from_be_bytes(*length);
        if length & 0x8000 != 0 {
            now += std::time::Duration::from_millis(u64::from(length & 0x7fff));
            sctp.handle_timeout(now);
            data = rest;
        } else {
            let (chunks, rest) = rest.split_at(rest.len().min(usize::from(length)));
            sctp.handle(now, &packet(tag, chunks));
            data = rest;
        }
        let _ = sctp.send_text(now, "text");
        while sctp.poll_transmit().is_some() {}
        while sctp.poll_event().is_some() {}
    }
    assert_eq!(sctp.take_panics(), 0);
}

fn packet(tag: [u8; 4], chunks: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x13, 0x88, 0x13, 0x88];
    packet.extend_from_slice(&tag);
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(chunks);
    let checksum = crc32c::crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&checksum);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn random_inputs_run_through() {
        for seed in 0..200 {
            let mut random = Random::from_seed(seed);
            let mut input = vec![seed as u8];
            for _ in 0..random.below(20) {
                let mut chunk = vec![0; 4 + random.below(24) as usize];
                random.fill(&mut chunk[2..]);
                let length = chunk.len() as u16;
                chunk[0] = [0, 3, 4, 6, 7, 9, 130, 192][random.below(8) as usize];
                chunk[2..4].copy_from_slice(&length.to_be_bytes());
                input.extend_from_slice(&length.to_be_bytes());
                input.extend_from_slice(&chunk);
                input.extend_from_slice(&[0x80 | random.below(12) as u8, 0]);
            }
            sctp_packets(&input);
        }
    }
}
