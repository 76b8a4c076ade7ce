//! DTLS 1.2 records and handshake fragments as bytes (RFC 6347 §4.1, §4.2.2).

/// Record header bytes.
pub(super) const HEADER: usize = 13;
/// Handshake fragment header bytes.
pub(super) const HANDSHAKE_HEADER: usize = 12;
/// Cookies that we give out, and that the engine expects of itself.
pub(super) const COOKIE_BYTES: usize = 20;
/// 48-bit record sequence numbers.
pub(super) const SEQUENCE_MASK: u64 = (1 << 48) - 1;

/// Record content types.
pub(super) mod content {
    pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(crate) const ALERT: u8 = 21;
    pub(crate) const HANDSHAKE: u8 = 22;
    pub(crate) const APPLICATION_DATA: u8 = 23;
}

/// Handshake message types.
pub(super) mod message {
    pub(crate) const CLIENT_HELLO: u8 = 1;
    pub(crate) const SERVER_HELLO: u8 = 2;
    pub(crate) const HELLO_VERIFY_REQUEST: u8 = 3;
    pub(crate) const CERTIFICATE: u8 = 11;
    pub(crate) const SERVER_KEY_EXCHANGE: u8 = 12;
    pub(crate) const CERTIFICATE_REQUEST: u8 = 13;
    pub(crate) const SERVER_HELLO_DONE: u8 = 14;
    pub(crate) const CERTIFICATE_VERIFY: u8 = 15;
    pub(crate) const CLIENT_KEY_EXCHANGE: u8 = 16;
}

/// Alert descriptions that we send.
pub(super) mod alert {
    pub(crate) const HANDSHAKE_FAILURE: u8 = 40;
    pub(crate) const BAD_CERTIFICATE: u8 = 42;
    pub(crate) const PROTOCOL_VERSION: u8 = 70;
}

const VERSION_1_2: [u8; 2] = [0xfe, 0xfd];

/// One record of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) content: u8,
    pub(super) epoch: u16,
    pub(super) sequence: u64,
    pub(super) body: &'a [u8],
    /// Header and body.
    pub(super) bytes: &'a [u8],
}

/// The records of a datagram; ends at the first that is malformed.
pub(super) fn records(mut datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let header = datagram.first_chunk::<HEADER>()?;
        let [content, major, _, e0, e1, s0, s1, s2, s3, s4, s5, l0, l1] = *header;
        if major != VERSION_1_2[0] {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let bytes = datagram.get(..HEADER + length)?;
        datagram = datagram.get(HEADER + length..)?;
        Some(Record {
            content,
            epoch: u16::from_be_bytes([e0, e1]),
            sequence: u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]),
            body: bytes.get(HEADER..)?,
            bytes,
        })
    })
}

/// Appends a record.
pub(super) fn write_record(out: &mut Vec<u8>, content: u8, epoch: u16, sequence: u64, body: &[u8]) {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    out.push(content);
    out.extend_from_slice(&VERSION_1_2);
    out.extend_from_slice(&epoch.to_be_bytes());
    out.extend_from_slice(&(sequence & SEQUENCE_MASK).to_be_bytes()[2..]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&body[..usize::from(length)]);
}

/// An unencrypted fatal alert as a datagram.
pub(super) fn fatal_alert(description: u8, sequence: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + 2);
    write_record(&mut out, content::ALERT, 0, sequence, &[2, description]);
    out
}

/// One fragment of a handshake message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    pub(super) kind: u8,
    /// Of the whole message.
    pub(super) length: usize,
    pub(super) message_sequence: u16,
    pub(super) offset: usize,
    pub(super) data: &'a [u8],
}

/// The fragments of a handshake record; ends at the first that is malformed or lies outside its message.
pub(super) fn fragments(mut body: &[u8]) -> impl Iterator<Item = Fragment<'_>> {
    std::iter::from_fn(move || {
        let header = body.first_chunk::<HANDSHAKE_HEADER>()?;
        let [kind, l0, l1, l2, m0, m1, o0, o1, o2, f0, f1, f2] = *header;
        let u24 = |a, b, c| u32::from_be_bytes([0, a, b, c]) as usize;
        let (length, offset, size) = (u24(l0, l1, l2), u24(o0, o1, o2), u24(f0, f1, f2));
        let data = body.get(HANDSHAKE_HEADER..HANDSHAKE_HEADER + size)?;
        body = body.get(HANDSHAKE_HEADER + size..)?;
        (offset + size <= length).then_some(Fragment {
            kind,
            length,
            message_sequence: u16::from_be_bytes([m0, m1]),
            offset,
            data,
        })
    })
}

/// A whole handshake message, unfragmented, header included.
pub(super) fn whole_message(kind: u8, message_sequence: u16, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    let mut out = Vec::with_capacity(HANDSHAKE_HEADER + body.len());
    out.push(kind);
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&message_sequence.to_be_bytes());
    out.extend_from_slice(&[0; 3]);
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(body);
    out
}

/// Reads big-endian fields from the front of a slice.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(front)
    }

    /// A big-endian number of at most four bytes.
    pub(super) fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(
            self.take(bytes)?
                .iter()
                .fold(0, |value, byte| value << 8 | usize::from(*byte)),
        )
    }

    /// A vector behind a length field of `bytes` bytes.
    pub(super) fn vector(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let length = self.number(bytes)?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_fragments_come_back_as_written() {
        let mut datagram = Vec::new();
        let hello = whole_message(message::CLIENT_HELLO, 7, b"hello");
        write_record(&mut datagram, content::HANDSHAKE, 0, 3, &hello);
        write_record(
            &mut datagram,
            content::APPLICATION_DATA,
            1,
            SEQUENCE_MASK,
            b"data",
        );
        datagram.push(22);

        let found: Vec<_> = records(&datagram).collect();
        assert_eq!(found.len(), 2, "trailing garbage ends the datagram");
        assert_eq!(
            (found[0].content, found[0].epoch, found[0].sequence),
            (22, 0, 3)
        );
        assert_eq!(
            (found[1].sequence, found[1].body),
            (SEQUENCE_MASK, &b"data"[..])
        );
        let fragment = fragments(found[0].body).next().expect("one");
        assert_eq!(
            (fragment.kind, fragment.length, fragment.message_sequence),
            (1, 5, 7)
        );
        assert_eq!((fragment.offset, fragment.data), (0, &b"hello"[..]));
    }

    #[test]
    fn t16_a_fragment_outside_its_message_ends_the_record() {
        let mut outside = whole_message(1, 0, b"hello");
        outside[3] = 4; // message shorter than its fragment
        assert!(fragments(&outside).next().is_none());
        let truncated = &whole_message(1, 0, b"hello")[..15];
        assert!(fragments(truncated).next().is_none());
    }
}
