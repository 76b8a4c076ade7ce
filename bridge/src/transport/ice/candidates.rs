//! The candidates that an endpoint is told (media-plane §1.4, colibri2 §3.8).

use std::net::{IpAddr, SocketAddr};

use super::address::{HIDDEN_RELATED, canonical, is_private};
use crate::config::IceConfig;
use crate::control::api::{Candidate, CandidateKind};

const HOST_PREFERENCE: u32 = 126;
const REFLEXIVE_PREFERENCE: u32 = 100;
const PEER_REFLEXIVE_PREFERENCE: u32 = 110;
/// Local preference of the only host candidate.
const ONLY_HOST: u16 = 65_535;

/// RFC 8445 §5.1.2.1, for component 1.
const fn priority(type_preference: u32, local_preference: u16) -> u32 {
    (type_preference << 24) | ((local_preference as u32) << 8) | 255
}

/// Local preference by kind of address where there are several, as JVB has it.
fn local_preference(ip: IpAddr) -> u16 {
    match ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => 30,
        IpAddr::V6(_) => 40,
        IpAddr::V4(_) => 10,
    }
}

/// What PRIORITY says in a check that leaves from `local`.
pub(super) fn check_priority(local: IpAddr) -> u32 {
    priority(PEER_REFLEXIVE_PREFERENCE, local_preference(local))
}

/// The local candidates, best first: a host candidate for each of the bound addresses `sockets`, and a
/// server-reflexive one for each configured mapping of such an address.
///
/// With `allow_private` (a capability of the endpoint), or if [`IceConfig::advertise_private`] is set,
/// all are listed. Otherwise private addresses are left out, and as the related address of a public one
/// they become `0.0.0.0:9`. An unspecified address is no candidate.
pub fn local_candidates(
    config: &IceConfig,
    sockets: &[SocketAddr],
    allow_private: bool,
) -> Vec<Candidate> {
    let hidden = |ip: IpAddr| !allow_private && !config.advertise_private && is_private(ip);
    let bound: Vec<SocketAddr> = sockets
        .iter()
        .map(|socket| canonical(*socket))
        .filter(|socket| !socket.ip().is_unspecified() && socket.port() != 0)
        .collect();
    let mut foundations = 0u32..;
    let mut next_foundation = || {
        foundations
            .next()
            .map_or_else(String::new, |n| (n + 1).to_string())
    };
    let mut candidates = Vec::new();
    for host in &bound {
        let preference = if bound.len() == 1 {
            ONLY_HOST
        } else {
            local_preference(host.ip())
        };
        candidates.push(Candidate {
            kind: CandidateKind::Host,
            address: *host,
            related: None,
            priority: priority(HOST_PREFERENCE, preference),
            foundation: next_foundation(),
        });
    }
    for host in &bound {
        for (_, public, port) in config
            .mappings
            .iter()
            .filter(|(local, ..)| local.to_canonical() == host.ip())
        {
            let address = canonical(SocketAddr::new(*public, port.unwrap_or(host.port())));
            if candidates
                .iter()
                .any(|known: &Candidate| known.address == address)
            {
                continue;
            }
            candidates.push(Candidate {
                kind: CandidateKind::ServerReflexive,
                address,
                related: Some(if hidden(host.ip()) {
                    HIDDEN_RELATED
                } else {
                    *host
                }),
                priority: priority(REFLEXIVE_PREFERENCE, local_preference(host.ip())),
                foundation: next_foundation(),
            });
        }
    }
    candidates.retain(|candidate| !hidden(candidate.address.ip()));
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.priority));
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn mapped(port: Option<u16>, advertise_private: bool) -> IceConfig {
        let (local, public) = ("10.0.0.5".parse().unwrap(), "198.51.100.7".parse().unwrap());
        IceConfig {
            mappings: vec![(local, public, port)],
            advertise_private,
            ..IceConfig::default()
        }
    }

    #[test]
    fn media_plane_case_18_host_and_mapped() {
        let candidates = local_candidates(&mapped(None, true), &[address("10.0.0.5:10000")], false);
        let [host, mapped] = &candidates[..] else {
            panic!("{candidates:?}")
        };
        assert_eq!(
            (host.kind, host.address),
            (CandidateKind::Host, address("10.0.0.5:10000"))
        );
        assert_eq!(host.related, None);
        assert_eq!(mapped.kind, CandidateKind::ServerReflexive);
        assert_eq!(mapped.address, address("198.51.100.7:10000"));
        assert_eq!(mapped.related, Some(address("10.0.0.5:10000")));
        // colibri2 §3.8 observed exactly these.
        assert_eq!(
            (host.priority, mapped.priority),
            (2_130_706_431, 1_677_724_415)
        );
        assert_eq!(host.foundation, "1");
        assert_ne!(host.foundation, mapped.foundation);
    }

    #[test]
    fn media_plane_case_19_private_addresses_hidden_from_ordinary_endpoints() {
        let config = mapped(None, false);
        let ordinary = local_candidates(&config, &[address("10.0.0.5:10000")], false);
        let [only] = &ordinary[..] else {
            panic!("{ordinary:?}")
        };
        assert_eq!(only.address, address("198.51.100.7:10000"));
        assert_eq!(only.related, Some(address("0.0.0.0:9")));

        let capable = local_candidates(&config, &[address("10.0.0.5:10000")], true);
        assert_eq!(
            capable,
            local_candidates(&mapped(None, true), &[address("10.0.0.5:10000")], false)
        );
        assert_eq!(capable.len(), 2);
    }

    #[test]
    fn media_plane_case_20_public_port() {
        let candidates = local_candidates(
            &mapped(Some(20_000), true),
            &[address("10.0.0.5:10000")],
            false,
        );
        assert_eq!(candidates[1].address, address("198.51.100.7:20000"));
    }

    #[test]
    fn several_addresses_prefer_ipv6_and_never_show_a_wildcard() {
        let sockets = [
            "0.0.0.0:10000",
            "[::]:10000",
            "192.0.2.1:10000",
            "[2001:db8::1]:10000",
        ]
        .map(|text| text.parse().unwrap());
        let candidates = local_candidates(&IceConfig::default(), &sockets, false);
        let addresses: Vec<_> = candidates
            .iter()
            .map(|candidate| candidate.address)
            .collect();
        assert_eq!(
            addresses,
            [address("[2001:db8::1]:10000"), address("192.0.2.1:10000")]
        );
    }

    #[test]
    fn t08_a_mapped_spelling_is_judged_as_ipv4() {
        let candidates = local_candidates(
            &mapped(None, false),
            &[address("[::ffff:10.0.0.5]:10000")],
            false,
        );
        assert_eq!(candidates.len(), 1);
        assert_eq!(candidates[0].address, address("198.51.100.7:10000"));
    }
}
