//! From where a browser thinks that it asks (T61).
//!
//! A page of any web site can make a browser send requests to this machine. Two headers, which pages can not choose, tell: `Origin`
//! names the page's site, and `Host` is the name in the URL, also where an attacker's DNS points that at this machine (rebinding).

use std::net::IpAddr;

use axum::http::{HeaderMap, header};

/// The name or address that a request asks for, without the port; brackets of IPv6 addresses stay. Empty if there is none.
pub fn host_name(headers: &HeaderMap) -> &str {
    let host = host(headers);
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The address that a [`host_name`] is; no DNS can point an address elsewhere.
pub fn address(name: &str) -> Option<IpAddr> {
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    bare.unwrap_or(name).parse().ok()
}

/// Whether a [`host_name`] means this machine to every client: `localhost`, or an address on loopback.
pub fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || address(name).is_some_and(|address| address.to_canonical().is_loopback())
}

/// Whether the request comes from a page, and that of another site than the one asked for. The scheme is not
/// compared: a proxy that ends TLS keeps the host only.
pub fn is_cross_site(headers: &HeaderMap) -> bool {
    headers.get(header::ORIGIN).is_some_and(|origin| {
        let site = origin.to_str().ok().and_then(|text| text.split_once("://"));
        site.is_none_or(|(_, site)| site != host(headers))
    })
}

fn host(headers: &HeaderMap) -> &str {
    headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default()
}
