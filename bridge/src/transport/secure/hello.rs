//! The ClientHello as the gate needs it, and the cookie exchange (RFC 6347 §4.2.1).

use super::record::{COOKIE_BYTES, Reader, content, message, whole_message, write_record};
use crate::random::Random;
use crate::srtp::Profile;

const VERSION_1_2: [u8; 2] = [0xfe, 0xfd];
const EXTENSION_USE_SRTP: usize = 14;

/// Cipher suites that an ECDSA certificate can serve, in order of preference.
pub(super) const SUITES: [u16; 2] = [ECDHE_ECDSA_AES128_GCM, ECDHE_ECDSA_CHACHA20];
/// Cipher suites that we offer as a client: the server may have an RSA certificate, as native clients do.
pub(super) const OFFERED_SUITES: [u16; 4] = [
    ECDHE_ECDSA_AES128_GCM,
    ECDHE_RSA_AES128_GCM,
    ECDHE_ECDSA_CHACHA20,
    ECDHE_RSA_CHACHA20,
];
/// `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`.
const ECDHE_RSA_AES128_GCM: u16 = 0xc02f;
/// `TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256`.
const ECDHE_RSA_CHACHA20: u16 = 0xcca8;
/// `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`.
pub(super) const ECDHE_ECDSA_AES128_GCM: u16 = 0xc02b;
/// `TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256`.
pub(super) const ECDHE_ECDSA_CHACHA20: u16 = 0xcca9;

/// Code point of a profile (RFC 5764 §4.1.2, RFC 7714 §14.2).
pub(super) const fn profile_code(profile: Profile) -> u16 {
    match profile {
        Profile::AeadAes128Gcm => 0x0007,
        Profile::Aes128CmSha1_80 => 0x0001,
    }
}

/// A parsed ClientHello body.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientHello<'a> {
    version: [u8; 2],
    pub(super) random: &'a [u8],
    pub(super) cookie: &'a [u8],
    suites: &'a [u8],
    /// The profile list of `use_srtp`; `None` without the extension.
    profiles: Option<&'a [u8]>,
    before_cookie: &'a [u8],
    after_cookie: &'a [u8],
}

/// What is common to a hello and our settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Negotiated {
    pub(super) suite: u16,
    pub(super) profile: Profile,
}

/// Why a hello cannot be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unacceptable {
    /// DTLS 1.0, or something unknown.
    Version,
    /// No suite in common.
    Suite,
    /// No SRTP profile in common, or no `use_srtp` at all.
    Profile,
}

impl<'a> ClientHello<'a> {
    /// Reads the body; `None` if it is malformed.
    pub(super) fn parse(body: &'a [u8]) -> Option<ClientHello<'a>> {
        let mut reader = Reader(body);
        let version = *reader.take(2)?.first_chunk()?;
        let random = reader.take(32)?;
        reader.vector(1)?; // session id
        let before_cookie = body.get(..body.len() - reader.0.len())?;
        let cookie = reader.vector(1)?;
        let after_cookie = reader.0;
        let suites = reader.vector(2)?;
        reader.vector(1)?; // compression methods
        let mut extensions = Reader(reader.vector(2)?);
        let mut profiles = None;
        while !extensions.0.is_empty() {
            let kind = extensions.number(2)?;
            let data = extensions.vector(2)?;
            if kind == EXTENSION_USE_SRTP {
                profiles = Some(Reader(data).vector(2)?);
            }
        }
        (suites.len() % 2 == 0 && reader.0.is_empty()).then_some(ClientHello {
            version,
            random,
            cookie,
            suites,
            profiles,
            before_cookie,
            after_cookie,
        })
    }

    /// Our preference decides (media-plane §1.9).
    pub(super) fn negotiate(&self, profiles: &[Profile]) -> Result<Negotiated, Unacceptable> {
        let offers = |list: &[u8], code: u16| list.chunks_exact(2).any(|c| c == code.to_be_bytes());
        if self.version != VERSION_1_2 {
            return Err(Unacceptable::Version);
        }
        let suite = SUITES
            .into_iter()
            .find(|suite| offers(self.suites, *suite))
            .ok_or(Unacceptable::Suite)?;
        let offered = self.profiles.unwrap_or_default();
        let profile = profiles
            .iter()
            .copied()
            .find(|profile| offers(offered, profile_code(*profile)))
            .ok_or(Unacceptable::Profile)?;
        Ok(Negotiated { suite, profile })
    }

    /// The body as it was before the client had a cookie.
    pub(super) fn without_cookie(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.before_cookie.len() + 1 + self.after_cookie.len());
        body.extend_from_slice(self.before_cookie);
        body.push(0);
        body.extend_from_slice(self.after_cookie);
        body
    }
}

/// The association's cookie. A ClientHello costs no state until its sender has shown that it receives at
/// the address that ICE validated (T02, T15).
///
/// It is the same for every hello: whoever triggers a HelloVerifyRequest, the peer gets one that it can
/// use, and nobody else sees it.
pub(super) struct Cookie(pub(super) [u8; COOKIE_BYTES]);

impl Cookie {
    pub(super) fn new(random: &mut Random) -> Cookie {
        let mut cookie = [0; COOKIE_BYTES];
        random.fill(&mut cookie);
        Cookie(cookie)
    }

    /// Whether a hello carries it.
    pub(super) fn accepts(&self, hello: &ClientHello<'_>) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, hello.cookie).is_ok()
    }

    /// The HelloVerifyRequest datagram, in a record of this sequence number.
    pub(super) fn request(&self, record_sequence: u64) -> Vec<u8> {
        let mut body = Vec::with_capacity(3 + COOKIE_BYTES);
        body.extend_from_slice(&VERSION_1_2);
        body.push(COOKIE_BYTES as u8);
        body.extend_from_slice(&self.0);
        let mut datagram = Vec::new();
        write_record(
            &mut datagram,
            content::HANDSHAKE,
            0,
            record_sequence,
            &whole_message(message::HELLO_VERIFY_REQUEST, 0, &body),
        );
        datagram
    }
}

#[cfg(test)]
pub(super) fn client_hello_for_test(
    version: [u8; 2],
    random: [u8; 32],
    cookie: &[u8],
    suites: &[u16],
    use_srtp: Option<&[u8]>,
) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend_from_slice(&random);
    body.push(0);
    body.push(cookie.len() as u8);
    body.extend_from_slice(cookie);
    body.extend_from_slice(&(2 * suites.len() as u16).to_be_bytes());
    suites
        .iter()
        .for_each(|suite| body.extend_from_slice(&suite.to_be_bytes()));
    body.extend_from_slice(&[1, 0]);
    let mut extensions = Vec::new();
    if let Some(data) = use_srtp {
        extensions.extend_from_slice(&[0, 14]);
        extensions.extend_from_slice(&(data.len() as u16).to_be_bytes());
        extensions.extend_from_slice(data);
    }
    body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    body.extend_from_slice(&extensions);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: [Profile; 2] = [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80];

    fn negotiate(suites: &[u16], use_srtp: Option<&[u8]>) -> Result<Negotiated, Unacceptable> {
        let body = client_hello_for_test(VERSION_1_2, [1; 32], b"", suites, use_srtp);
        ClientHello::parse(&body)
            .expect("well-formed")
            .negotiate(&PROFILES)
    }

    #[test]
    fn media_plane_case_28_our_order_of_suites_and_profiles_decides() {
        let chosen =
            negotiate(&[0xcca9, 0x1301, 0xc02b], Some(&[0, 4, 0, 1, 0, 7, 0])).expect("common");
        assert_eq!(
            chosen,
            Negotiated {
                suite: 0xc02b,
                profile: Profile::AeadAes128Gcm
            }
        );
        let chosen = negotiate(&[0xcca9], Some(&[0, 2, 0, 1, 0])).expect("common");
        assert_eq!(
            chosen,
            Negotiated {
                suite: 0xcca9,
                profile: Profile::Aes128CmSha1_80
            }
        );
    }

    #[test]
    fn t22_offers_without_a_supported_profile_are_refused_and_odd_ones_survive() {
        for offer in [
            None,
            Some(&[0, 0, 0][..]),
            Some(&[0, 2, 0, 2, 0]),
            Some(&[0, 2, 0xff, 0xff, 0]),
        ] {
            assert_eq!(
                negotiate(&[0xc02b], offer),
                Err(Unacceptable::Profile),
                "{offer:?}"
            );
        }
        for offer in [
            &[0, 4, 0, 7, 0, 7, 0][..],
            &[0, 2, 0, 7, 3, 1, 2, 3],
            &[0, 3, 0, 7, 9, 0],
        ] {
            assert!(
                negotiate(&[0xc02b], Some(offer)).is_ok(),
                "duplicates, an MKI, odd length"
            );
        }
        assert_eq!(
            negotiate(&[0x0000], Some(&[0, 2, 0, 7, 0])),
            Err(Unacceptable::Suite)
        );
    }

    #[test]
    fn media_plane_case_34_dtls_1_0_is_refused() {
        let body = client_hello_for_test(
            [0xfe, 0xff],
            [1; 32],
            b"",
            &[0xc02b],
            Some(&[0, 2, 0, 7, 0]),
        );
        let hello = ClientHello::parse(&body).expect("well-formed");
        assert_eq!(hello.negotiate(&PROFILES), Err(Unacceptable::Version));
    }

    #[test]
    fn every_truncation_is_refused() {
        let body = client_hello_for_test(
            VERSION_1_2,
            [1; 32],
            b"cookie",
            &[0xc02b],
            Some(&[0, 2, 0, 7, 0]),
        );
        assert!(ClientHello::parse(&body).is_some());
        assert!((0..body.len()).all(|length| ClientHello::parse(&body[..length]).is_none()));
    }

    #[test]
    fn a_hello_with_the_cookie_is_accepted_and_the_cookie_can_be_taken_out_again() {
        let cookie = Cookie::new(&mut Random::from_seed(1));
        let with = |cookie: &[u8]| {
            client_hello_for_test(
                VERSION_1_2,
                [1; 32],
                cookie,
                &[0xc02b],
                Some(&[0, 2, 0, 7, 0]),
            )
        };
        let good = with(&cookie.0);
        let hello = ClientHello::parse(&good).expect("well-formed");
        assert!(cookie.accepts(&hello));
        assert_eq!(hello.without_cookie(), with(b""));
        for bad in [with(b""), with(&[0; 20]), with(&cookie.0[..19])] {
            assert!(!cookie.accepts(&ClientHello::parse(&bad).expect("well-formed")));
        }
    }
}
