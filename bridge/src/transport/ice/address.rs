//! What an address is: its canonical form, and whether checks may be sent to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::IceConfig;

/// The one form of an address that maps and rules see: IPv4-mapped IPv6 becomes IPv4, flow label and
/// scope go (T08). Apply it where addresses enter: at the socket and in signaling.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Private in the sense of candidate hiding (media-plane §1.4): RFC 1918, fec0::/10, fc00::/7. An
/// IPv4-mapped address is judged by the IPv4 address in it.
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.segments()[0] & 0xFFC0 == 0xFEC0,
    }
}

/// Link-local: useless beyond the link, and the home of cloud metadata services.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Addresses that no single host on the internet can have.
fn is_never_unicast(ip: IpAddr) -> bool {
    match ip {
        // 0/8 is "this network", 240/4 reserved; broadcast is in it.
        IpAddr::V4(ip) => ip.octets()[0] == 0 || ip.is_multicast() || ip.octets()[0] >= 240,
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast() || embeds_v4(ip),
    }
}

/// The deprecated IPv4-compatible form `::a.b.c.d`, another spelling of an IPv4 address (T08).
fn embeds_v4(ip: Ipv6Addr) -> bool {
    ip.segments()[..6] == [0; 6] && !ip.is_loopback()
}

/// Whether checks may be sent to a signaled candidate (T09). `address` is canonical; `sockets` are the
/// bridge's own addresses.
pub(super) fn may_probe(address: SocketAddr, config: &IceConfig, sockets: &[SocketAddr]) -> bool {
    let ip = address.ip();
    if address.port() == 0 || is_never_unicast(ip) {
        return false;
    }
    if ip.is_loopback() && !config.allow_loopback_remotes {
        return false;
    }
    if (is_private(ip) || is_link_local(ip)) && !config.allow_private_remotes {
        return false;
    }
    !sockets
        .iter()
        .any(|socket| is_own(address, *socket, config))
}

/// Whether `address` reaches the bridge's own `socket`, directly or through a mapping.
fn is_own(address: SocketAddr, socket: SocketAddr, config: &IceConfig) -> bool {
    let socket = canonical(socket);
    // A wildcard socket listens on every address of this host; the loopback one is surely among them.
    let same_ip =
        socket.ip() == address.ip() || (socket.ip().is_unspecified() && address.ip().is_loopback());
    let mapped = config.mappings.iter().any(|(local, public, port)| {
        *local == socket.ip()
            && public.to_canonical() == address.ip()
            && port.unwrap_or(socket.port()) == address.port()
    });
    (same_ip && socket.port() == address.port()) || mapped
}

/// The unspecified IPv4 address with the discard port: stands for a related address that is hidden.
pub(super) const HIDDEN_RELATED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9);

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn t08_mapped_and_plain_spellings_are_one_address() {
        let spellings = ["192.0.2.7:9", "[::ffff:192.0.2.7]:9", "[::ffff:c000:207]:9"];
        for spelling in spellings {
            assert_eq!(
                canonical(spelling.parse().unwrap()),
                "192.0.2.7:9".parse::<SocketAddr>().unwrap()
            );
        }
        assert_eq!(
            canonical("[2001:db8::1%7]:9".parse().unwrap()),
            "[2001:db8::1]:9".parse::<SocketAddr>().unwrap()
        );
    }

    #[test]
    fn t08_private_addresses_in_every_spelling() {
        let private = [
            "10.0.0.1",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "::ffff:10.0.0.1",
            "::ffff:172.16.9.9",
            "::ffff:192.168.1.1",
            "::ffff:a00:1",
            "fc00::1",
            "fd12:3456::1",
            "fdff:ffff::",
            "fec0::1",
            "feff::1",
        ];
        let public = [
            "9.255.255.255",
            "11.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.0.1",
            "8.8.8.8",
            "169.254.1.1",
            "127.0.0.1",
            "::1",
            "::ffff:8.8.8.8",
            "2001:db8::1",
            "fe80::1",
            "fb00::1",
        ];
        assert!(private.into_iter().all(|text| is_private(ip(text))));
        assert!(!public.into_iter().any(|text| is_private(ip(text))));
    }

    #[test]
    fn t08_t09_what_may_be_probed() {
        let sockets = ["198.51.100.1:10000", "10.0.0.5:10000"].map(|text| text.parse().unwrap());
        let open = IceConfig {
            mappings: vec![(ip("10.0.0.5"), ip("203.0.113.5"), Some(20_000))],
            ..IceConfig::default()
        };
        let strict = IceConfig {
            allow_private_remotes: false,
            ..open.clone()
        };
        let local = IceConfig {
            allow_loopback_remotes: true,
            ..open.clone()
        };
        let allowed = |text: &str, config: &IceConfig| {
            may_probe(canonical(text.parse().unwrap()), config, &sockets)
        };
        let never = [
            "0.0.0.0:9",
            "0.1.2.3:9",
            "[::]:9",
            "[::ffff:0.0.0.0]:9",
            "224.0.0.1:9",
            "239.1.1.1:9",
            "[::ffff:224.0.0.1]:9",
            "[ff02::1]:9",
            "255.255.255.255:9",
            "[::ffff:255.255.255.255]:9",
            "240.0.0.1:9",
            "8.8.8.8:0",
            "[2001:db8::1]:0",
            "198.51.100.1:10000",
            "10.0.0.5:10000",
            "[::ffff:198.51.100.1]:10000",
            "203.0.113.5:20000",
            "[::ffff:203.0.113.5]:20000",
            "[::8.8.8.8]:9",
            "[::10.0.0.1]:9",
        ];
        for text in never {
            assert!(!allowed(text, &open) && !allowed(text, &local), "{text}");
        }
        for text in [
            "127.0.0.1:9",
            "127.8.8.8:9",
            "[::1]:9",
            "[::ffff:127.0.0.1]:9",
        ] {
            assert!(!allowed(text, &open) && allowed(text, &local), "{text}");
        }
        for text in [
            "10.0.0.6:9",
            "192.168.1.1:9",
            "[::ffff:10.0.0.1]:9",
            "[fd00::1]:9",
            "169.254.169.254:80",
            "[fe80::1]:9",
        ] {
            assert!(allowed(text, &open) && !allowed(text, &strict), "{text}");
        }
        for text in [
            "8.8.8.8:9",
            "198.51.100.1:10001",
            "[2001:db8::1]:9",
            "203.0.113.5:10000",
        ] {
            assert!(allowed(text, &strict), "{text}");
        }
    }

    #[test]
    fn t09_a_wildcard_socket_is_not_probed_through_loopback() {
        let config = IceConfig {
            allow_loopback_remotes: true,
            ..IceConfig::default()
        };
        let sockets = ["0.0.0.0:10000".parse().unwrap()];
        assert!(!may_probe(
            "127.0.0.1:10000".parse().unwrap(),
            &config,
            &sockets
        ));
        assert!(may_probe(
            "127.0.0.1:10001".parse().unwrap(),
            &config,
            &sockets
        ));
    }
}
