//! Redundant audio (RFC 2198): an audio packet that carries the ones before it again.

/// Redundant blocks that are looked at: those nearest to the primary.
pub const MAX_BLOCKS: usize = 2;
/// Redundant blocks that a packet may have; more are taken for garbage.
const MOST_BLOCKS: usize = 8;
/// Furthest that a redundant block can be behind, in ticks of the RTP clock: 14 bits.
pub const MAX_OFFSET: u32 = (1 << 14) - 1;
/// Longest redundant block: 10 bits.
pub const MAX_LENGTH: usize = (1 << 10) - 1;

/// "Another header follows."
const FOLLOWS: u8 = 0x80;
const BLOCK_HEADER: usize = 4;

/// A redundant block of a packet that was read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RedBlock {
    /// Payload type of its content.
    pub payload_type: u8,
    /// How far it is behind the primary, in ticks of the RTP clock.
    pub offset: u16,
    start: u16,
    len: u16,
}

/// What a RED payload consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RedPacket {
    /// Payload type of the primary.
    pub payload_type: u8,
    start: u16,
    /// The nearest first: the packet before the primary, and the one before that.
    blocks: [Option<RedBlock>; MAX_BLOCKS],
}

impl RedPacket {
    /// Reads the headers of an RTP payload (padding removed). `None` if it is cut short, has too many
    /// blocks, or no primary.
    pub fn parse(payload: &[u8]) -> Option<RedPacket> {
        let mut blocks: [Option<RedBlock>; MAX_BLOCKS] = [None; MAX_BLOCKS];
        // Starts are counted from the end of the headers until that is known.
        let (mut at, mut body, mut count) = (0, 0usize, 0);
        while let [first, rest @ ..] = payload.get(at..)?
            && first & FOLLOWS != 0
        {
            let [a, b, c] = *rest.first_chunk()?;
            count += 1;
            if count > MOST_BLOCKS {
                return None;
            }
            let len = usize::from(b & 3) << 8 | usize::from(c);
            blocks.rotate_right(1);
            blocks[0] = Some(RedBlock {
                payload_type: first & !FOLLOWS,
                offset: u16::from(a) << 6 | u16::from(b >> 2),
                start: body as u16,
                len: len as u16,
            });
            body += len;
            at += BLOCK_HEADER;
        }
        let payload_type = *payload.get(at)?;
        let headers = at + 1;
        let start = headers + body;
        if start >= payload.len() {
            return None;
        }
        for block in blocks.iter_mut().flatten() {
            block.start += headers as u16;
        }
        Some(RedPacket {
            payload_type,
            start: u16::try_from(start).ok()?,
            blocks,
        })
    }

    /// The redundant block of the packet that many before, 1 or 2.
    pub fn block(&self, distance: usize) -> Option<&RedBlock> {
        self.blocks.get(distance.checked_sub(1)?)?.as_ref()
    }

    /// The primary in the payload that was parsed.
    pub fn primary<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        payload.get(usize::from(self.start)..).unwrap_or_default()
    }
}

impl RedBlock {
    /// Its content in the payload that was parsed; may be empty.
    pub fn content<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        let start = usize::from(self.start);
        payload
            .get(start..start + usize::from(self.len))
            .unwrap_or_default()
    }
}

/// A redundant block to be written: how far it is behind in ticks, and its content.
pub type NewBlock<'a> = (u32, &'a [u8]);

/// Writes a RED payload with these redundant blocks, oldest first, all of one payload type; its length.
/// Blocks that the format can not express are left out. `None` if there is no room in `out`.
pub fn write(
    out: &mut [u8],
    payload_type: u8,
    blocks: &[Option<NewBlock<'_>>],
    primary: &[u8],
) -> Option<usize> {
    let fits = |block: &&NewBlock<'_>| block.0 <= MAX_OFFSET && block.1.len() <= MAX_LENGTH;
    let blocks = || blocks.iter().flatten().filter(fits);
    let mut at = 0;
    for (offset, content) in blocks() {
        let len = content.len() as u32;
        let [_, a, b, c] = (offset << 10 | len).to_be_bytes();
        let header = [FOLLOWS | payload_type, a, b, c];
        out.get_mut(at..at + BLOCK_HEADER)?.copy_from_slice(&header);
        at += BLOCK_HEADER;
    }
    *out.get_mut(at)? = payload_type & !FOLLOWS;
    at += 1;
    let contents = blocks().map(|(_, content)| *content);
    for content in contents.chain([primary]) {
        out.get_mut(at..at + content.len())?
            .copy_from_slice(content);
        at += content.len();
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_blocks_before_the_primary_are_found() {
        // Offsets 1920 and 960, lengths 2 and 1.
        let payload = [
            0x80 | 111,
            0x1e,
            0x00,
            2,
            0x80 | 111,
            0x0f,
            0x00,
            1,
            111,
            1,
            2,
            3,
            4,
            5,
        ];
        let red = RedPacket::parse(&payload).unwrap();
        assert_eq!(red.payload_type, 111);
        assert_eq!(red.primary(&payload), [4, 5]);
        let (one, two) = (red.block(1).unwrap(), red.block(2).unwrap());
        assert_eq!((one.offset, one.content(&payload)), (960, &[3][..]));
        assert_eq!((two.offset, two.content(&payload)), (1920, &[1, 2][..]));
        assert_eq!((red.block(0), red.block(3)), (None, None));
    }

    #[test]
    fn a_primary_alone_is_enough_and_nothing_less_is() {
        assert_eq!(RedPacket::parse(&[111, 7]).unwrap().primary(&[111, 7]), [7]);
        assert_eq!(RedPacket::parse(&[]), None);
        assert_eq!(RedPacket::parse(&[111]), None);
        assert_eq!(RedPacket::parse(&[0x80 | 111, 0, 0, 1, 111, 9]), None);
        assert_eq!(RedPacket::parse(&[0xff; 400]), None);
    }

    #[test]
    fn what_the_format_can_not_express_is_left_out() {
        let mut out = [0; 1500];
        let long = [0; MAX_LENGTH + 1];
        let blocks = [Some((960, &long[..])), Some((MAX_OFFSET + 1, &[1][..]))];
        let len = write(&mut out, 111, &blocks, &[8, 9]);
        assert_eq!(&out[..len.unwrap()], [111, 8, 9]);
        assert_eq!(write(&mut [0; 2], 111, &blocks, &[8, 9]), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_within_its_bounds(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(red) = RedPacket::parse(&payload) {
                prop_assert!(!red.primary(&payload).is_empty());
                for block in red.blocks.iter().flatten() {
                    prop_assert_eq!(block.content(&payload).len(), usize::from(block.len));
                }
            }
        }

        #[test]
        fn what_is_written_is_read_back(
            contents in prop::collection::vec((0..=MAX_OFFSET, prop::collection::vec(any::<u8>(), 0..60)), 0..=2),
            primary in prop::collection::vec(any::<u8>(), 1..60),
        ) {
            let blocks: Vec<_> = contents.iter().map(|(offset, it)| Some((*offset, &it[..]))).collect();
            let mut out = [0; 300];
            let len = write(&mut out, 111, &blocks, &primary).unwrap();
            let red = RedPacket::parse(&out[..len]).unwrap();
            prop_assert_eq!(red.primary(&out[..len]), &primary);
            for (distance, (offset, content)) in (1..).zip(contents.iter().rev()) {
                let block = red.block(distance).unwrap();
                prop_assert_eq!(u32::from(block.offset), *offset);
                prop_assert_eq!(block.content(&out[..len]), content);
            }
            prop_assert_eq!(red.block(contents.len() + 1), None);
        }
    }
}
