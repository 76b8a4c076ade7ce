//! Files that Wireshark and tcpdump open: pcap with microseconds, each packet as UDP over IP without a link layer.
//!
//! Format: draft-ietf-opsawg-pcap, link types of draft-ietf-opsawg-pcaplinktype.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Says that times are in microseconds, and, by its own byte order, that numbers are little-endian.
const MAGIC: u32 = 0xa1b2_c3d4;
/// Version 2.4.
const VERSION: [u16; 2] = [2, 4];
/// Longest record that readers must expect: what `tcpdump` writes.
const SNAPLEN: u32 = 262_144;
/// `LINKTYPE_RAW`: records begin with an IPv4 or IPv6 header.
const LINK_TYPE: u32 = 101;
/// Bytes in front of the IP header.
const RECORD_HEADER: usize = 16;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
/// Protocol number of UDP.
const UDP: u8 = 17;
const HOPS: u8 = 64;

/// What a file begins with.
pub fn file_header() -> [u8; 24] {
    let mut header = [0; 24];
    header[..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..6].copy_from_slice(&VERSION[0].to_le_bytes());
    header[6..8].copy_from_slice(&VERSION[1].to_le_bytes());
    // Time zone and accuracy are zero by convention.
    header[16..20].copy_from_slice(&SNAPLEN.to_le_bytes());
    header[20..].copy_from_slice(&LINK_TYPE.to_le_bytes());
    header
}

/// Replaces what `record` holds by the record of one datagram: `micros` µs since 1970, `payload` of at most 65,000 bytes. If one
/// of the addresses is IPv6 both are written as IPv6.
pub fn write_record(
    record: &mut Vec<u8>,
    micros: u64,
    from: SocketAddr,
    to: SocketAddr,
    payload: &[u8],
) {
    record.clear();
    let udp_len = UDP_HEADER + payload.len();
    let addresses = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Addresses::V4(from, to),
        (from, to) => Addresses::V6(in_v6(from), in_v6(to)),
    };
    let len = addresses.header_len() + udp_len;
    for field in [
        (micros / 1_000_000) as u32,
        (micros % 1_000_000) as u32,
        len as u32,
        len as u32,
    ] {
        record.extend_from_slice(&field.to_le_bytes());
    }
    match &addresses {
        Addresses::V4(from, to) => {
            // No options; do not fragment (RFC 791, RFC 6864).
            record.extend_from_slice(&[0x45, 0]);
            record.extend_from_slice(&(len as u16).to_be_bytes());
            record.extend_from_slice(&[0, 0, 0x40, 0, HOPS, UDP, 0, 0]);
            record.extend_from_slice(&from.octets());
            record.extend_from_slice(&to.octets());
            let checksum = finish(add(0, &record[RECORD_HEADER..]));
            let at = RECORD_HEADER + 10;
            record[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        Addresses::V6(from, to) => {
            record.extend_from_slice(&[0x60, 0, 0, 0]);
            record.extend_from_slice(&(udp_len as u16).to_be_bytes());
            record.extend_from_slice(&[UDP, HOPS]);
            record.extend_from_slice(&from.octets());
            record.extend_from_slice(&to.octets());
        }
    }
    let udp_at = record.len();
    record.extend_from_slice(&from.port().to_be_bytes());
    record.extend_from_slice(&to.port().to_be_bytes());
    record.extend_from_slice(&(udp_len as u16).to_be_bytes());
    record.extend_from_slice(&[0, 0]);
    record.extend_from_slice(payload);
    let pseudo = addresses.sum() + u32::from(UDP) + udp_len as u32;
    // Zero stands for "none" (RFC 768).
    let checksum = match finish(add(pseudo, &record[udp_at..])) {
        0 => 0xffff,
        checksum => checksum,
    };
    record[udp_at + 6..udp_at + 8].copy_from_slice(&checksum.to_be_bytes());
}

enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Addresses {
    fn header_len(&self) -> usize {
        match self {
            Addresses::V4(..) => IPV4_HEADER,
            Addresses::V6(..) => IPV6_HEADER,
        }
    }

    /// Their part of the checksum.
    fn sum(&self) -> u32 {
        match self {
            Addresses::V4(from, to) => add(add(0, &from.octets()), &to.octets()),
            Addresses::V6(from, to) => add(add(0, &from.octets()), &to.octets()),
        }
    }
}

fn in_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Adds big-endian words, the last one filled up (RFC 1071). The sum of a datagram fits in 32 bits.
fn add(sum: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(sum, |sum, word| {
        let low = word.get(1).copied().unwrap_or(0);
        sum + u32::from(u16::from_be_bytes([word[0], low]))
    })
}

fn finish(sum: u32) -> u16 {
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    #[test]
    fn a_file_begins_as_readers_expect() {
        let expected = "d4c3b2a1 0200 0400 00000000 00000000 00000400 65000000";
        assert_eq!(file_header().as_slice(), bytes(expected));
    }

    /// Wireshark finds these checksums right.
    #[test]
    fn a_datagram_over_ipv4_is_exact() {
        let mut record = vec![1, 2, 3];
        let (from, to) = ("192.0.2.1:5000", "198.51.100.7:10000");
        write_record(
            &mut record,
            1_700_000_000_123_456,
            from.parse().unwrap(),
            to.parse().unwrap(),
            b"abc",
        );
        let expected = "00f15365 40e20100 1f000000 1f000000
             4500001f 00004000 4011 4e92 c0000201 c6336407
             1388 2710 000b 14a1 616263";
        assert_eq!(record, bytes(expected));
    }

    #[test]
    fn a_datagram_over_ipv6_is_exact() {
        let mut record = Vec::new();
        let (from, to) = ("[2001:db8::1]:5000", "[2001:db8::2]:10000");
        write_record(
            &mut record,
            1_000_001,
            from.parse().unwrap(),
            to.parse().unwrap(),
            b"abcd",
        );
        let expected = "01000000 01000000 34000000 34000000
             60000000 000c 11 40 20010db8000000000000000000000001 20010db8000000000000000000000002
             1388 2710 000c a502 61626364";
        assert_eq!(record, bytes(expected));
    }

    #[test]
    fn addresses_of_two_families_are_written_as_one() {
        let mut record = Vec::new();
        let (from, to) = ("192.0.2.1:1", "[2001:db8::2]:2");
        write_record(
            &mut record,
            0,
            from.parse().unwrap(),
            to.parse().unwrap(),
            b"",
        );
        let from = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets();
        assert_eq!(record[RECORD_HEADER], 0x60);
        assert_eq!(record[RECORD_HEADER + 8..RECORD_HEADER + 24], from);
    }
}
