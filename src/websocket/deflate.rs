//! permessage-deflate (RFC 7692): what is agreed upon with a client, and the compression of single messages.
//!
//! The agreement always says `server_no_context_takeover` and `client_no_context_takeover`: no message refers to one
//! before it, so that a socket keeps no window, and a text for many sockets is compressed once (T57).

use causeway_bridge::limits::MAX_MESSAGE_BYTES;
use miniz_oxide::deflate::CompressionLevel;
use miniz_oxide::deflate::core::CompressorOxide;
use miniz_oxide::deflate::stream::deflate;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
    TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use miniz_oxide::{DataFormat, MZFlush};

/// Texts below that many bytes are sent as they are: they fill one packet anyway.
const MIN_BYTES: usize = 1_200;
/// Blocks that a compressed message may always have.
const FREE_BLOCKS: usize = 8;
/// Bytes of a compressed message that allow one more block. Compressors need more for each, and one that expands
/// to nothing costs thousands of times its bytes in table entries (T57).
const BYTES_PER_BLOCK: usize = 16;
/// The end of each message, which is not sent (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// Window of compressors that were not asked for a smaller one, as a power of two.
const WINDOW_BITS: u8 = 15;

/// What a client and we agreed upon in the upgrade.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Agreement {
    /// `server_max_window_bits`: we refer no further back than that power of two.
    server_window_bits: Option<u8>,
}

impl Agreement {
    /// The first offer of a client that can be accepted; `lines` are its `Sec-WebSocket-Extensions` headers.
    ///
    /// Offers with parameters that are unknown, twice there or out of range are passed over (RFC 7692 §7.1). What is
    /// no list of offers at all offers nothing.
    pub(super) fn from_offers<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Agreement> {
        for line in lines {
            let mut offers = Offers(line);
            while !offers.at_end() {
                if let Some(agreement) = offers.next().ok()? {
                    return Some(agreement);
                }
            }
        }
        None
    }

    /// The header that tells the client.
    pub(super) fn header(self) -> String {
        let mut header =
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover".to_owned();
        if let Some(bits) = self.server_window_bits {
            header.push_str(&format!("; server_max_window_bits={bits}"));
        }
        header
    }

    /// Whether a text is to be compressed. One that fits into the window can not refer beyond it.
    pub(super) fn covers(self, text: &str) -> bool {
        let window_bits = self.server_window_bits.unwrap_or(WINDOW_BITS);
        text.len() >= MIN_BYTES && (window_bits == WINDOW_BITS || text.len() <= 1 << window_bits)
    }
}

/// A header is not what RFC 6455 §9.1 allows.
struct Malformed;

/// Reads a list of offers: `extension *( ";" name [ "=" value ] )`, with commas between.
struct Offers<'a>(&'a [u8]);

impl<'a> Offers<'a> {
    /// Skips blanks and commas; empty elements are allowed in lists (RFC 9110 §5.6.1).
    fn at_end(&mut self) -> bool {
        while self.eat(b',') {}
        self.0.is_empty()
    }

    /// The next offer: what it comes to, or `None` if it can not be accepted.
    fn next(&mut self) -> Result<Option<Agreement>, Malformed> {
        let mut acceptable = self.token()?.eq_ignore_ascii_case(b"permessage-deflate");
        let mut seen = [false; 4];
        let mut agreement = Agreement::default();
        while self.eat(b';') {
            let name = self.token()?;
            let value = self.eat(b'=').then(|| self.value()).transpose()?;
            let window_bits = value.as_deref().and_then(window_bits);
            let (parameter, valid) = match &*name.to_ascii_lowercase() {
                b"server_no_context_takeover" => (0, value.is_none()),
                b"client_no_context_takeover" => (1, value.is_none()),
                b"client_max_window_bits" => (2, value.is_none() || window_bits.is_some()),
                b"server_max_window_bits" => {
                    agreement.server_window_bits = window_bits;
                    (3, window_bits.is_some())
                }
                _ => {
                    acceptable = false;
                    continue;
                }
            };
            let twice = std::mem::replace(&mut seen[parameter], true);
            acceptable &= valid && !twice;
        }
        if self.0.is_empty() || self.0.starts_with(b",") {
            Ok(acceptable.then_some(agreement))
        } else {
            Err(Malformed)
        }
    }

    /// Takes a separator and the blanks around it.
    fn eat(&mut self, separator: u8) -> bool {
        self.skip_blanks();
        let Some(rest) = self.0.strip_prefix(&[separator]) else {
            return false;
        };
        self.0 = rest;
        self.skip_blanks();
        true
    }

    fn skip_blanks(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    /// A token (RFC 9110 §5.6.2).
    fn token(&mut self) -> Result<&'a [u8], Malformed> {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let end = self.0.iter().take_while(|byte| is_part(byte)).count();
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        if token.is_empty() {
            Err(Malformed)
        } else {
            Ok(token)
        }
    }

    /// A token, with or without quotes.
    fn value(&mut self) -> Result<Vec<u8>, Malformed> {
        let Some(mut rest) = self.0.strip_prefix(b"\"") else {
            return self.token().map(<[u8]>::to_vec);
        };
        let mut value = Vec::new();
        loop {
            match rest {
                [b'"', after @ ..] => {
                    self.0 = after;
                    break;
                }
                [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                    value.push(*byte);
                    rest = after;
                }
                [] => return Err(Malformed),
            }
        }
        // Between the quotes there must be a token as well.
        let mut inner = Offers(&value);
        match inner.token() {
            Ok(_) if inner.0.is_empty() => Ok(value),
            _ => Err(Malformed),
        }
    }
}

/// 8 to 15 in digits, without zeros before them (RFC 7692 §7.1.2).
fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// Why a compressed message is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// Its text has more than [`MAX_MESSAGE_BYTES`].
    TooLong,
    /// It is made of more blocks than its size can explain.
    TooManyBlocks,
    /// It is no compressed data.
    Corrupt,
}

/// Decompresses a message, at most [`MAX_MESSAGE_BYTES`] and one byte of it.
pub(super) fn inflated(message: &[u8]) -> Result<Vec<u8>, Refused> {
    let flags = TINFL_FLAG_HAS_MORE_INPUT
        | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF
        | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY;
    let room = |len: usize| len.clamp(512, MAX_MESSAGE_BYTES + 1);
    let mut blocks_left = FREE_BLOCKS + message.len() / BYTES_PER_BLOCK;
    let mut state = Box::new(DecompressorOxide::new());
    let mut text = vec![0; room(message.len().saturating_mul(4))];
    let mut len = 0;
    let (mut input, mut tail) = (message, &TAIL[..]);
    loop {
        let (status, read, written) = decompress(&mut state, input, &mut text, len, flags);
        input = &input[read..];
        len += written;
        if len > MAX_MESSAGE_BYTES {
            return Err(Refused::TooLong);
        }
        match status {
            TINFLStatus::NeedsMoreInput if tail.is_empty() => break,
            TINFLStatus::NeedsMoreInput => input = std::mem::take(&mut tail),
            TINFLStatus::HasMoreOutput if text.len() <= MAX_MESSAGE_BYTES => {
                let more = room(text.len().saturating_mul(2));
                text.reserve_exact(more - text.len());
                text.resize(more, 0);
            }
            TINFLStatus::BlockBoundary | TINFLStatus::Done => {
                blocks_left = blocks_left.checked_sub(1).ok_or(Refused::TooManyBlocks)?;
                if status == TINFLStatus::Done {
                    // A message may go on after a final block (RFC 7692 §7.2.3.4).
                    state.init();
                }
            }
            _ => return Err(Refused::Corrupt),
        }
    }
    text.truncate(len);
    Ok(text)
}

/// Compresses messages.
pub(super) struct Deflater(Box<CompressorOxide>);

impl Deflater {
    /// Takes about a quarter of a megabyte.
    pub(super) fn new() -> Deflater {
        let (format, level) = (DataFormat::Raw, CompressionLevel::BestSpeed);
        Deflater(Box::new(CompressorOxide::with_format_and_level(
            format, level,
        )))
    }

    /// A text as a compressed message, unless that is no shorter.
    pub(super) fn deflated(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        let mut message = vec![0; text.len()];
        self.0.reset();
        let result = deflate(&mut self.0, text, &mut message, MZFlush::Sync);
        // With room left, everything was written.
        if result.status.is_err() || result.bytes_written >= message.len() {
            return None;
        }
        message.truncate(result.bytes_written);
        message.ends_with(&TAIL).then(|| {
            message.truncate(message.len() - TAIL.len());
            message
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(lines: &[&str]) -> Option<String> {
        Agreement::from_offers(lines.iter().map(|line| line.as_bytes())).map(Agreement::header)
    }

    const PLAIN: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    #[test]
    fn offers_of_browsers_are_accepted() {
        for offer in [
            // Chromium and Safari, Firefox, the examples of RFC 7692.
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits=10",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            // Others that mean the same.
            "permessage-deflate;client_max_window_bits=\"8\"",
            "permessage-deflate ; client_max_window_bits = \"1\\5\"",
            "\t,, Permessage-Deflate;\tClient_No_Context_Takeover ,",
        ] {
            assert_eq!(answer(&[offer]).as_deref(), Some(PLAIN), "{offer}");
        }
    }

    #[test]
    fn t57_a_smaller_window_for_us_is_agreed_upon_and_kept() {
        for bits in 8..=15 {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            let expected = format!("{PLAIN}; server_max_window_bits={bits}");
            assert_eq!(answer(&[&offer]), Some(expected));
            let agreement = Agreement::from_offers([offer.as_bytes()]).unwrap();
            for len in [100, MIN_BYTES, 1 << 12, 1 << 15, 1 << 16] {
                let covered = agreement.covers(&"x".repeat(len));
                assert_eq!(
                    covered,
                    len >= MIN_BYTES && (bits == 15 || len <= 1 << bits)
                );
            }
        }
    }

    #[test]
    fn t57_offers_that_are_unacceptable_are_passed_over() {
        let bad = [
            "permessage-deflate; unknown",
            "permessage-deflate; unknown=\"a\"",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=08",
            "permessage-deflate; server_max_window_bits=1000",
            "permessage-deflate; server_max_window_bits=1e1",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=-9",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
            "x-webkit-deflate-frame; no_context_takeover",
            "permessage-deflate-2",
        ];
        for offer in bad {
            assert_eq!(answer(&[offer]), None, "{offer}");
            // The next one counts, in the same header or in another.
            let both = format!("{offer}, permessage-deflate");
            assert_eq!(answer(&[&both]).as_deref(), Some(PLAIN), "{both}");
            assert_eq!(
                answer(&[offer, "permessage-deflate"]).as_deref(),
                Some(PLAIN)
            );
        }
        assert_eq!(
            answer(&[
                "permessage-deflate; server_max_window_bits=7, permessage-deflate; \
                 server_max_window_bits=\"12\", permessage-deflate"
            ]),
            Some(format!("{PLAIN}; server_max_window_bits=12"))
        );
    }

    #[test]
    fn what_is_no_list_of_offers_offers_nothing() {
        for line in [
            "",
            " , ,",
            ";",
            "permessage-deflate;",
            "permessage-deflate; =8",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=\"9",
            "permessage-deflate; client_max_window_bits=\"9\\",
            "permessage-deflate; client_max_window_bits=\"\"",
            "permessage-deflate; client_max_window_bits=\"9 \"",
            "permessage-deflate; client_max_window_bits=\"9\"9",
            "permessage-deflate client_max_window_bits",
            "permessage-deflate/1",
            "permessage-deflate; \u{e4}",
        ] {
            assert_eq!(answer(&[line]), None, "{line}");
        }
        // Commas in quotes separate nothing.
        assert_eq!(answer(&["x; y=\", permessage-deflate\""]), None);
    }

    fn text(message: &[u8]) -> Result<String, Refused> {
        inflated(message).map(|text| String::from_utf8(text).unwrap())
    }

    /// RFC 7692 §7.2.3.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        for message in [
            // One block; one without compression; a final one; two.
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[
                0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
            ],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[
                0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
            ],
        ] {
            assert_eq!(text(message).as_deref(), Ok("Hello"), "{message:02x?}");
        }
        // Empty messages, also without any byte.
        assert_eq!(text(&[0x00]).as_deref(), Ok(""));
        assert_eq!(text(&[]).as_deref(), Ok(""));
        // The second message of a client that keeps its window although that was not agreed upon.
        assert_eq!(
            inflated(&[0xf2, 0x00, 0x11, 0x00, 0x00]),
            Err(Refused::Corrupt)
        );
    }

    #[test]
    fn what_follows_a_final_block_may_refer_to_what_came_before() {
        // "Hello" in a final block, then a copy of the five bytes before.
        let again = [
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0x02, 0x13, 0x00, 0x00],
        ]
        .concat();
        assert_eq!(text(&again).as_deref(), Ok("HelloHello"));
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut x = 1_u32;
        let step = |_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        };
        (0..len).map(step).collect()
    }

    #[test]
    fn what_is_compressed_is_read_back() {
        let mut deflater = Deflater::new();
        for len in [MIN_BYTES, 5_000, 40_000, MAX_MESSAGE_BYTES] {
            let text = r#"{"source":"1f2e3d4c-v0","#.repeat(len / 24 + 1)[..len].to_owned();
            for text in [
                text.as_bytes(),
                &[noise(len / 2), vec![b'x'; len - len / 2]].concat(),
            ] {
                let message = deflater.deflated(text).unwrap();
                assert!(message.len() < text.len() * 3 / 4);
                assert_eq!(inflated(&message).unwrap(), text);
            }
            // Noise only becomes longer.
            assert_eq!(deflater.deflated(&noise(len)), None);
        }
    }

    #[test]
    fn t57_a_bomb_is_read_up_to_the_first_byte_too_many() {
        let bomb = |len: usize| miniz_oxide::deflate::compress_to_vec(&vec![0; len], 9);
        let longest = inflated(&bomb(MAX_MESSAGE_BYTES)).unwrap();
        assert_eq!(longest.len(), MAX_MESSAGE_BYTES);
        // What it lies in is no larger than a byte more.
        assert_eq!(longest.capacity(), MAX_MESSAGE_BYTES + 1);
        assert_eq!(
            inflated(&bomb(MAX_MESSAGE_BYTES + 1)),
            Err(Refused::TooLong)
        );
        assert_eq!(
            inflated(&bomb(1_000 * MAX_MESSAGE_BYTES)),
            Err(Refused::TooLong)
        );
    }

    /// Each block makes the library fill tables; a byte or two are enough for one.
    #[test]
    fn t57_blocks_without_content_are_bounded() {
        // Final blocks, and 10 bits each for others.
        let finals = [0x03, 0x00].repeat(60_000);
        let mut others = vec![0; 120_000];
        for block in 0..others.len() * 8 / 10 {
            let bit = block * 10 + 1;
            others[bit / 8] |= 1 << (bit % 8);
        }
        for blocks in [finals, others] {
            assert_eq!(inflated(&blocks), Err(Refused::TooManyBlocks));
            assert_eq!(inflated(&blocks[..10]).as_deref(), Ok(&[][..]));
        }
        // A compressor that flushes after each word is no attacker.
        let mut words = Vec::new();
        for word in noise(600).chunks(30) {
            words.extend([0x00, word.len() as u8, 0, !word.len() as u8, 0xff]);
            words.extend(word);
            words.extend([0x00; 3]);
            words.extend([0xff; 2]);
        }
        assert_eq!(inflated(&words), Ok(noise(600)));
    }

    #[test]
    fn what_is_no_compressed_data_is_refused() {
        // A block of the reserved type; lengths that do not agree; a distance beyond the beginning.
        for message in [
            &[0x07][..],
            &[0x00, 0x05, 0x00, 0x00, 0x00, 0x48],
            &[0x02, 0x13, 0x00, 0x00],
        ] {
            assert_eq!(inflated(message), Err(Refused::Corrupt), "{message:02x?}");
        }
    }
}
