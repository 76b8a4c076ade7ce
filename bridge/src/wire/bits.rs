//! Fields that are not whole bytes, most significant bit first.

/// Reads fields from the front of a slice.
#[derive(Clone, Debug)]
pub(super) struct BitReader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub fn new(data: &'a [u8]) -> BitReader<'a> {
        BitReader { data, at: 0 }
    }

    /// Bits read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next `bits` (at most 32) bits; `None` if there are not so many.
    pub fn read(&mut self, bits: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..bits {
            let byte = self.data.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// The next bit.
    pub fn flag(&mut self) -> Option<bool> {
        self.read(1).map(|bit| bit != 0)
    }

    /// A number below `count` in as few bits as that needs (`ns(n)` of the AV1 specification).
    pub fn non_symmetric(&mut self, count: u32) -> Option<u32> {
        let width = u32::BITS - count.leading_zeros();
        let short = (1 << width) - count;
        let value = self.read(width.checked_sub(1)?)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.read(1)?)
    }
}

/// Writes fields to the front of a slice.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> BitWriter<'a> {
    pub fn new(out: &'a mut [u8]) -> BitWriter<'a> {
        BitWriter { out, at: 0 }
    }

    /// Writes the lower `bits` (at most 32) bits of `value`; `None` if there is no room.
    pub fn write(&mut self, value: u32, bits: u32) -> Option<()> {
        for bit in (0..bits).rev() {
            let byte = self.out.get_mut(self.at / 8)?;
            let mask = 0x80 >> (self.at % 8);
            if value >> bit & 1 != 0 {
                *byte |= mask;
            } else {
                *byte &= !mask;
            }
            self.at += 1;
        }
        Some(())
    }

    /// Copies the bits `from..to` of `data`.
    pub fn copy(&mut self, data: &[u8], from: usize, to: usize) -> Option<()> {
        let mut reader = BitReader { data, at: from };
        let mut left = to.checked_sub(from)?;
        while left > 0 {
            let bits = left.min(32);
            self.write(reader.read(bits as u32)?, bits as u32)?;
            left -= bits;
        }
        Some(())
    }

    /// Fills the last byte with zeros; the bytes written.
    pub fn finish(mut self) -> Option<usize> {
        self.write(0, (8 - self.at as u32 % 8) % 8)?;
        Some(self.at / 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = [0xff; 6];
        let mut writer = BitWriter::new(&mut out);
        writer.write(0b101, 3).unwrap();
        writer.write(0x1234_5678, 32).unwrap();
        writer.copy(&[0x0f, 0xf0], 3, 9).unwrap();
        assert_eq!(writer.finish(), Some(6));
        let mut reader = BitReader::new(&out);
        assert_eq!(reader.read(3), Some(0b101));
        assert_eq!(reader.read(32), Some(0x1234_5678));
        assert_eq!(reader.read(6), Some(0b01_1111));
        assert_eq!(reader.read(7), Some(0));
        assert_eq!(reader.read(1), None);
        assert!(BitWriter::new(&mut out[..1]).write(0, 9).is_none());
    }

    #[test]
    fn numbers_below_a_count_take_the_bits_that_the_specification_says() {
        // ns(5): 0, 1, 2 take two bits, 3 and 4 take three.
        for (bits, value, len) in [
            (0b00 << 6, 0, 2),
            (0b01 << 6, 1, 2),
            (0b10 << 6, 2, 2),
            (0b110 << 5, 3, 3),
            (0b111 << 5, 4, 3),
        ] {
            let data = [bits];
            let mut reader = BitReader::new(&data);
            assert_eq!(reader.non_symmetric(5), Some(value));
            assert_eq!(reader.position(), len);
        }
        assert_eq!(BitReader::new(&[]).non_symmetric(1), Some(0));
        assert_eq!(BitReader::new(&[]).non_symmetric(0), None);
    }
}
