//! What every payload says about itself, so that the receiver knows when it was sent and what it belongs to.

use causeway_bridge::time::Time;

use super::formats::{self, Kind};

const MAGIC: u32 = 0xCA05_E3A7;

/// What stands for a source's encoding in a [`Stamp`].
pub fn encoding(kind: Kind, number: u8) -> u8 {
    match kind {
        Kind::Camera => number,
        Kind::Screen => SCREEN | number,
        Kind::Audio => AUDIO,
    }
}

const SCREEN: u8 = 0x40;
const AUDIO: u8 = 0x80;

/// SSRC on which a client sends what has this [`encoding`].
pub fn ssrc(client: u32, encoding: u8) -> u32 {
    let number = u32::from(encoding & (SCREEN - 1));
    let kind = match encoding {
        AUDIO.. => Kind::Audio,
        SCREEN.. => Kind::Screen,
        _ => Kind::Camera,
    };
    formats::ssrc(client, kind, number)
}

/// Whether this is an [`encoding`] of video.
pub fn is_video(encoding: u8) -> bool {
    encoding < AUDIO
}

/// The lowest [`encoding`] of the same source.
pub fn lowest(encoding: u8) -> u8 {
    encoding & !(SCREEN - 1)
}

/// The label of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// When it was handed to the kernel.
    pub sent: Time,
    /// Number of the client that sent it.
    pub client: u32,
    /// See [`encoding`].
    pub encoding: u8,
    /// Number of the frame in its encoding.
    pub frame: u32,
    /// Place in the frame, and packets of the frame.
    pub part: u16,
    pub parts: u16,
}

impl Stamp {
    pub const LEN: usize = 25;

    pub fn write(&self, out: &mut [u8; Stamp::LEN]) {
        out[..4].copy_from_slice(&MAGIC.to_be_bytes());
        out[4..12].copy_from_slice(&self.sent.as_micros().to_be_bytes());
        out[12..16].copy_from_slice(&self.client.to_be_bytes());
        out[16..20].copy_from_slice(&self.frame.to_be_bytes());
        out[20..22].copy_from_slice(&self.part.to_be_bytes());
        out[22..24].copy_from_slice(&self.parts.to_be_bytes());
        out[24] = self.encoding;
    }

    pub fn read(bytes: &[u8]) -> Option<Stamp> {
        let bytes: &[u8; Stamp::LEN] = bytes.first_chunk()?;
        let word = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let half = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let micros = u64::from(word(4)?) << 32 | u64::from(word(8)?);
        (word(0)? == MAGIC).then_some(Stamp {
            sent: Time::from_micros(micros),
            client: word(12)?,
            frame: word(16)?,
            part: half(20)?,
            parts: half(22)?,
            encoding: bytes[24],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let stamp = Stamp {
            sent: Time::from_micros(1 << 40 | 7),
            client: 70_000,
            encoding: 2,
            frame: 1 << 20,
            part: 300,
            parts: 301,
        };
        let mut bytes = [0; Stamp::LEN];
        stamp.write(&mut bytes);
        assert_eq!(Stamp::read(&bytes), Some(stamp));
        bytes[0] ^= 1;
        assert_eq!(Stamp::read(&bytes), None);
        assert_eq!(Stamp::read(&bytes[..20]), None);
    }
}
