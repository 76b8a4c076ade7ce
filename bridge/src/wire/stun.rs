//! STUN messages (RFC 8489) as ICE (RFC 8445) uses them.
//!
//! [`StunMessage`] is a checked view: parsing looks at every attribute once, afterwards nothing can fail.
//! It accepts only what can be acted upon: whole attributes, few of them, a right FINGERPRINT if there is
//! one, and nothing but FINGERPRINT behind MESSAGE-INTEGRITY (T07). Parsing neither allocates nor
//! authenticates; [`StunMessage::verify_integrity`] does the latter.
//!
//! [`StunWriter`] and the functions around it write the three messages that an agent needs, always with
//! MESSAGE-INTEGRITY and FINGERPRINT.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::{constant_time, hmac};

use crate::limits::MAX_STUN_ATTRIBUTES;

#[cfg(test)]
mod tests;

/// Bytes of the largest message that the functions of this module write: a Binding request whose two
/// username fragments have 256 characters each.
pub const MAX_WRITTEN: usize = 600;

/// The Binding method, the only one of ICE.
pub const BINDING: u16 = 0x001;

/// Where things are in the header (RFC 8489 §5).
mod field {
    pub const HEADER_LEN: usize = 20;
    pub const COOKIE: u32 = 0x2112_A442;
    pub const ATTRIBUTE_HEADER_LEN: usize = 4;
    pub const INTEGRITY_LEN: usize = 20;
    pub const FINGERPRINT_LEN: usize = 4;
    pub const FINGERPRINT_XOR: u32 = 0x5354_554E;
}

/// Attribute types. Those below 0x8000 must be understood by whoever gets them.
mod attribute {
    pub const MAPPED_ADDRESS: u16 = 0x0001;
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    pub const REALM: u16 = 0x0014;
    pub const NONCE: u16 = 0x0015;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const PRIORITY: u16 = 0x0024;
    pub const USE_CANDIDATE: u16 = 0x0025;
    pub const FINGERPRINT: u16 = 0x8028;
    pub const ICE_CONTROLLED: u16 = 0x8029;
    pub const ICE_CONTROLLING: u16 = 0x802A;

    /// Comprehension-required and not understood here.
    pub const fn is_unknown_required(kind: u16) -> bool {
        kind < 0x8000
            && !matches!(
                kind,
                MAPPED_ADDRESS
                    | USERNAME
                    | MESSAGE_INTEGRITY
                    | ERROR_CODE
                    | UNKNOWN_ATTRIBUTES
                    | REALM
                    | NONCE
                    | XOR_MAPPED_ADDRESS
                    | PRIORITY
                    | USE_CANDIDATE
            )
    }
}

/// Why a datagram is not a STUN message that can be acted upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StunError {
    /// Shorter than a header, or without the first two bits 00 and the magic cookie.
    #[error("not a STUN message")]
    NotStun,
    /// The length field is not what follows the header, or not a multiple of four.
    #[error("wrong STUN length")]
    Length,
    /// An attribute reaches beyond the message or has the wrong size.
    #[error("malformed STUN attribute {0:#06x}")]
    Attribute(u16),
    /// More than [`MAX_STUN_ATTRIBUTES`].
    #[error("too many STUN attributes")]
    TooManyAttributes,
    /// FINGERPRINT is there but wrong.
    #[error("wrong STUN fingerprint")]
    Fingerprint,
}

/// Message class.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// A question that wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// A success response.
    Success,
    /// An error response.
    Error,
}

impl Class {
    const fn bits(self) -> u16 {
        match self {
            Class::Request => 0x000,
            Class::Indication => 0x010,
            Class::Success => 0x100,
            Class::Error => 0x110,
        }
    }
}

/// A transaction id.
pub type TransactionId = [u8; 12];

/// ICE role with the tie-breaker of who claims it (RFC 8445 §7.1.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RoleClaim {
    /// ICE-CONTROLLING.
    Controlling(u64),
    /// ICE-CONTROLLED.
    Controlled(u64),
}

/// A checked view of one STUN message.
#[derive(Clone, Copy, Debug)]
pub struct StunMessage<'a> {
    bytes: &'a [u8],
    class: Class,
    method: u16,
    transaction: TransactionId,
    username: Option<&'a [u8]>,
    integrity: Option<Integrity<'a>>,
    priority: Option<u32>,
    use_candidate: bool,
    role: Option<RoleClaim>,
    xor_mapped: Option<SocketAddr>,
    error_code: Option<u16>,
    has_unknown: bool,
}

/// MESSAGE-INTEGRITY: its value, and where the attribute starts.
#[derive(Clone, Copy, Debug)]
struct Integrity<'a> {
    start: usize,
    value: &'a [u8; field::INTEGRITY_LEN],
}

impl<'a> StunMessage<'a> {
    /// Checks a whole datagram.
    ///
    /// Of attributes that occur twice, the first counts (RFC 8489 §14).
    pub fn parse(bytes: &'a [u8]) -> Result<StunMessage<'a>, StunError> {
        let (header, body) = bytes
            .split_first_chunk::<{ field::HEADER_LEN }>()
            .ok_or(StunError::NotStun)?;
        let [t0, t1, l0, l1, c0, c1, c2, c3, transaction @ ..] = *header;
        let kind = u16::from_be_bytes([t0, t1]);
        if kind & 0xC000 != 0 || u32::from_be_bytes([c0, c1, c2, c3]) != field::COOKIE {
            return Err(StunError::NotStun);
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if length != body.len() || length % 4 != 0 {
            return Err(StunError::Length);
        }
        let mut message = StunMessage {
            bytes,
            class: match kind & 0x110 {
                0x000 => Class::Request,
                0x010 => Class::Indication,
                0x100 => Class::Success,
                _ => Class::Error,
            },
            method: (kind & 0x000F) | ((kind & 0x00E0) >> 1) | ((kind & 0x3E00) >> 2),
            transaction,
            username: None,
            integrity: None,
            priority: None,
            use_candidate: false,
            role: None,
            xor_mapped: None,
            error_code: None,
            has_unknown: false,
        };
        let mut attributes = Attributes { rest: body };
        let mut count = 0;
        loop {
            let start = bytes.len() - attributes.rest.len();
            let Some((kind, value)) = attributes.next_checked()? else {
                break;
            };
            count += 1;
            if count > MAX_STUN_ATTRIBUTES {
                return Err(StunError::TooManyAttributes);
            }
            if kind == attribute::FINGERPRINT {
                message.check_fingerprint(start, value, attributes.rest.is_empty())?;
            } else if message.integrity.is_none() {
                message.take(start, kind, value)?;
            }
        }
        Ok(message)
    }

    /// Notes one attribute in front of MESSAGE-INTEGRITY, or that itself.
    fn take(&mut self, start: usize, kind: u16, value: &'a [u8]) -> Result<(), StunError> {
        let malformed = StunError::Attribute(kind);
        match kind {
            attribute::USERNAME => {
                self.username.get_or_insert(value);
            }
            attribute::MESSAGE_INTEGRITY => {
                let value = value.try_into().map_err(|_| malformed)?;
                self.integrity = Some(Integrity { start, value });
            }
            attribute::PRIORITY => {
                let value = value.try_into().map_err(|_| malformed)?;
                self.priority.get_or_insert(u32::from_be_bytes(value));
            }
            attribute::USE_CANDIDATE => self.use_candidate = true,
            attribute::ICE_CONTROLLED | attribute::ICE_CONTROLLING => {
                let tie_breaker = u64::from_be_bytes(value.try_into().map_err(|_| malformed)?);
                self.role
                    .get_or_insert(if kind == attribute::ICE_CONTROLLED {
                        RoleClaim::Controlled(tie_breaker)
                    } else {
                        RoleClaim::Controlling(tie_breaker)
                    });
            }
            attribute::XOR_MAPPED_ADDRESS => {
                let address = xor_address(value, &self.transaction).ok_or(malformed)?;
                self.xor_mapped.get_or_insert(address);
            }
            attribute::ERROR_CODE => {
                let [_, _, class, number, ..] = *value else {
                    return Err(malformed);
                };
                self.error_code
                    .get_or_insert(u16::from(class & 7) * 100 + u16::from(number));
            }
            _ => self.has_unknown |= attribute::is_unknown_required(kind),
        }
        Ok(())
    }

    fn check_fingerprint(&self, start: usize, value: &[u8], last: bool) -> Result<(), StunError> {
        let malformed = StunError::Attribute(attribute::FINGERPRINT);
        let value: [u8; field::FINGERPRINT_LEN] = value.try_into().map_err(|_| malformed)?;
        if !last {
            return Err(malformed);
        }
        let covered = self.bytes.get(..start).ok_or(malformed)?;
        if u32::from_be_bytes(value) == fingerprint(covered) {
            Ok(())
        } else {
            Err(StunError::Fingerprint)
        }
    }

    /// The datagram.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Message class.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Method; [`BINDING`] is the only one of ICE.
    pub fn method(&self) -> u16 {
        self.method
    }

    /// Transaction id.
    pub fn transaction(&self) -> &TransactionId {
        &self.transaction
    }

    /// USERNAME of a request as (fragment of who receives it, fragment of who sent it), split at the
    /// first `:`. `None` if it is absent or has no `:`.
    pub fn username(&self) -> Option<(&'a [u8], &'a [u8])> {
        let username = self.username?;
        let colon = username.iter().position(|byte| *byte == b':')?;
        let (local, rest) = username.split_at(colon);
        Some((local, rest.get(1..)?))
    }

    /// PRIORITY.
    pub fn priority(&self) -> Option<u32> {
        self.priority
    }

    /// Whether USE-CANDIDATE is there.
    pub fn use_candidate(&self) -> bool {
        self.use_candidate
    }

    /// ICE-CONTROLLING or ICE-CONTROLLED.
    pub fn role(&self) -> Option<RoleClaim> {
        self.role
    }

    /// XOR-MAPPED-ADDRESS.
    pub fn xor_mapped(&self) -> Option<SocketAddr> {
        self.xor_mapped
    }

    /// ERROR-CODE, such as 487.
    pub fn error_code(&self) -> Option<u16> {
        self.error_code
    }

    /// Types of comprehension-required attributes, in front of MESSAGE-INTEGRITY, that are not
    /// understood. Not empty: a request wants a 420 answer, a response is useless.
    pub fn unknown_required(&self) -> impl Iterator<Item = u16> + use<'a> {
        let rest = if self.has_unknown {
            self.bytes.get(field::HEADER_LEN..)
        } else {
            None
        };
        let mut attributes = Attributes {
            rest: rest.unwrap_or_default(),
        };
        std::iter::from_fn(move || attributes.next_checked().ok().flatten())
            .map(|(kind, _)| kind)
            .take_while(|kind| *kind != attribute::MESSAGE_INTEGRITY)
            .filter(|kind| attribute::is_unknown_required(*kind))
    }

    /// Whether MESSAGE-INTEGRITY is there.
    pub fn has_integrity(&self) -> bool {
        self.integrity.is_some()
    }

    /// Whether MESSAGE-INTEGRITY is there and was made with this key (see [`integrity_key`]). The
    /// comparison takes the same time wherever the difference is.
    pub fn verify_integrity(&self, key: &hmac::Key) -> bool {
        let Some(Integrity { start, value }) = self.integrity else {
            return false;
        };
        let Some(covered) = self.bytes.get(..start) else {
            return false;
        };
        let Some(tag) = integrity(covered, key) else {
            return false;
        };
        constant_time::verify_slices_are_equal(tag.as_ref(), value).is_ok()
    }
}

/// What is left of the attributes.
struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// The next attribute without its padding; `None` at the end.
    fn next_checked(&mut self) -> Result<Option<(u16, &'a [u8])>, StunError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (header, tail) = self
            .rest
            .split_first_chunk::<{ field::ATTRIBUTE_HEADER_LEN }>()
            .ok_or(StunError::Length)?;
        let [k0, k1, l0, l1] = *header;
        let kind = u16::from_be_bytes([k0, k1]);
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let (padded, rest) = tail
            .split_at_checked(length.next_multiple_of(4))
            .ok_or(StunError::Attribute(kind))?;
        let value = padded.get(..length).ok_or(StunError::Attribute(kind))?;
        self.rest = rest;
        Ok(Some((kind, value)))
    }
}

/// The HMAC key of a short-term credential (RFC 8489 §9.1.1): the password itself. Making one costs two
/// SHA-1 blocks, so whoever verifies much keeps it.
pub fn integrity_key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

/// MESSAGE-INTEGRITY over `covered`, with the length field as if that attribute were the last one.
fn integrity(covered: &[u8], key: &hmac::Key) -> Option<hmac::Tag> {
    let attribute_len = field::ATTRIBUTE_HEADER_LEN + field::INTEGRITY_LEN;
    let length = u16::try_from(covered.len() - field::HEADER_LEN + attribute_len).ok()?;
    let mut context = hmac::Context::with_key(key);
    context.update(covered.get(..2)?);
    context.update(&length.to_be_bytes());
    context.update(covered.get(4..)?);
    Some(context.sign())
}

/// FINGERPRINT over `covered`, whose length field includes it already.
fn fingerprint(covered: &[u8]) -> u32 {
    crc32(covered) ^ field::FINGERPRINT_XOR
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut index = 0;
    while index < table.len() {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

/// CRC-32 as in ISO 3309 (ITU-T V.42).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (crc >> 8) ^ CRC_TABLE[usize::from(crc as u8 ^ *byte)]
    })
}

/// The bytes that XOR-MAPPED-ADDRESS is masked with.
fn xor_mask(transaction: &TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&field::COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(transaction);
    mask
}

fn xor_address(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([p0, p1]) ^ (field::COOKIE >> 16) as u16;
    let ip = match family {
        1 => {
            let address: [u8; 4] = address.try_into().ok()?;
            IpAddr::V4(Ipv4Addr::from_bits(
                u32::from_be_bytes(address) ^ field::COOKIE,
            ))
        }
        2 => {
            let address: [u8; 16] = address.try_into().ok()?;
            let mask = u128::from_be_bytes(xor_mask(transaction));
            IpAddr::V6(Ipv6Addr::from_bits(u128::from_be_bytes(address) ^ mask))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// What a connectivity check says (RFC 8445 §7.1).
#[derive(Clone, Copy, Debug)]
pub struct BindingRequest<'a> {
    /// Transaction id.
    pub transaction: &'a TransactionId,
    /// Username fragment of who shall receive it.
    pub remote_ufrag: &'a str,
    /// Username fragment of the sender.
    pub local_ufrag: &'a str,
    /// Priority that a peer-reflexive candidate found by this check would have.
    pub priority: u32,
    /// The sender's role and tie-breaker.
    pub role: RoleClaim,
    /// Nominates the pair.
    pub use_candidate: bool,
}

/// Writes a Binding request; `key` is the receiver's. Returns its length, `None` if `out` is too small
/// ([`MAX_WRITTEN`] bytes are always enough).
pub fn write_request(
    out: &mut [u8],
    request: &BindingRequest<'_>,
    key: &hmac::Key,
) -> Option<usize> {
    let mut writer = StunWriter::new(out, Class::Request, BINDING, request.transaction);
    let (remote, local) = (
        request.remote_ufrag.as_bytes(),
        request.local_ufrag.as_bytes(),
    );
    writer.attribute(attribute::USERNAME, &[remote, b":", local]);
    writer.attribute(attribute::PRIORITY, &[&request.priority.to_be_bytes()]);
    let (kind, tie_breaker) = match request.role {
        RoleClaim::Controlling(tie_breaker) => (attribute::ICE_CONTROLLING, tie_breaker),
        RoleClaim::Controlled(tie_breaker) => (attribute::ICE_CONTROLLED, tie_breaker),
    };
    writer.attribute(kind, &[&tie_breaker.to_be_bytes()]);
    if request.use_candidate {
        writer.attribute(attribute::USE_CANDIDATE, &[]);
    }
    writer.finish(key)
}

/// Writes a success response to a Binding request that came from `source`; `key` is that which
/// authenticated the request. The same arguments give the same bytes. Length as in [`write_request`].
pub fn write_success(
    out: &mut [u8],
    transaction: &TransactionId,
    source: SocketAddr,
    key: &hmac::Key,
) -> Option<usize> {
    let mut writer = StunWriter::new(out, Class::Success, BINDING, transaction);
    writer.xor_mapped(source, transaction);
    writer.finish(key)
}

/// Writes an error response with the reason phrase of `code` and, if there are any, the attributes that
/// were not understood. Length as in [`write_request`].
pub fn write_error(
    out: &mut [u8],
    transaction: &TransactionId,
    code: u16,
    unknown: &[u16],
    key: &hmac::Key,
) -> Option<usize> {
    let mut writer = StunWriter::new(out, Class::Error, BINDING, transaction);
    let reason: &[u8] = match code {
        420 => b"Unknown Attribute",
        487 => b"Role Conflict",
        _ => b"",
    };
    let number = [0, 0, (code / 100) as u8 & 7, (code % 100) as u8];
    writer.attribute(attribute::ERROR_CODE, &[&number, reason]);
    if !unknown.is_empty() {
        writer.types(attribute::UNKNOWN_ATTRIBUTES, unknown);
    }
    writer.finish(key)
}

/// Writes attributes one after the other; one that does not fit makes [`StunWriter::finish`] fail.
#[derive(Debug)]
pub struct StunWriter<'a> {
    out: &'a mut [u8],
    len: usize,
    fits: bool,
}

impl<'a> StunWriter<'a> {
    /// Starts a message at the beginning of `out`.
    pub fn new(
        out: &'a mut [u8],
        class: Class,
        method: u16,
        transaction: &TransactionId,
    ) -> StunWriter<'a> {
        let mut writer = StunWriter {
            out,
            len: 0,
            fits: true,
        };
        let method = (method & 0x000F) | ((method & 0x0070) << 1) | ((method & 0x0F80) << 2);
        writer.put(&(method | class.bits()).to_be_bytes());
        writer.put(&[0, 0]);
        writer.put(&field::COOKIE.to_be_bytes());
        writer.put(transaction);
        writer
    }

    fn put(&mut self, bytes: &[u8]) {
        match self.out.get_mut(self.len..self.len + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.fits = false,
        }
    }

    fn pad(&mut self) {
        let padding = self.len.next_multiple_of(4) - self.len;
        self.put(&[0; 4][..padding]);
    }

    /// An attribute whose value is these parts joined.
    pub fn attribute(&mut self, kind: u16, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let Ok(length) = u16::try_from(length) else {
            self.fits = false;
            return;
        };
        self.put(&kind.to_be_bytes());
        self.put(&length.to_be_bytes());
        for part in parts {
            self.put(part);
        }
        self.pad();
    }

    fn types(&mut self, kind: u16, types: &[u16]) {
        let Ok(length) = u16::try_from(types.len() * 2) else {
            self.fits = false;
            return;
        };
        self.put(&kind.to_be_bytes());
        self.put(&length.to_be_bytes());
        for unknown in types {
            self.put(&unknown.to_be_bytes());
        }
        self.pad();
    }

    fn xor_mapped(&mut self, address: SocketAddr, transaction: &TransactionId) {
        let port = (address.port() ^ (field::COOKIE >> 16) as u16).to_be_bytes();
        match address.ip() {
            IpAddr::V4(ip) => {
                let ip = (ip.to_bits() ^ field::COOKIE).to_be_bytes();
                self.attribute(attribute::XOR_MAPPED_ADDRESS, &[&[0, 1], &port, &ip]);
            }
            IpAddr::V6(ip) => {
                let ip = ip.to_bits() ^ u128::from_be_bytes(xor_mask(transaction));
                let ip = ip.to_be_bytes();
                self.attribute(attribute::XOR_MAPPED_ADDRESS, &[&[0, 2], &port, &ip]);
            }
        }
    }

    /// Sets the length field to what is written plus `more` bytes.
    fn set_length(&mut self, more: usize) {
        match u16::try_from((self.len + more).saturating_sub(field::HEADER_LEN)) {
            Ok(length) if self.fits => self.out[2..4].copy_from_slice(&length.to_be_bytes()),
            _ => self.fits = false,
        }
    }

    /// Adds MESSAGE-INTEGRITY and FINGERPRINT. Returns the length of the message, `None` if it does not
    /// fit into the buffer.
    pub fn finish(mut self, key: &hmac::Key) -> Option<usize> {
        if !self.fits {
            return None;
        }
        let tag = integrity(self.out.get(..self.len)?, key)?;
        self.attribute(attribute::MESSAGE_INTEGRITY, &[tag.as_ref()]);
        self.set_length(field::ATTRIBUTE_HEADER_LEN + field::FINGERPRINT_LEN);
        let crc = fingerprint(self.out.get(..self.len)?);
        self.attribute(attribute::FINGERPRINT, &[&crc.to_be_bytes()]);
        self.fits.then_some(self.len)
    }
}
