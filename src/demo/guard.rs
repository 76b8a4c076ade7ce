//! Keeps other web sites away from the demo (T61).
//!
//! A page of another origin can make a browser send requests here. It can not read answers, because no
//! CORS header allows it, but requests alone could create conferences. So a request that names another
//! `Origin` is refused; and a name that an attacker's DNS points at this machine (rebinding), which makes
//! the attacker's page same-origin, is refused by its `Host`.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use causeway_colibri::rest::site;

use super::error::ApiError;
use super::{Demo, DemoOptions};

/// What the page may load and do: its own files only.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; media-src 'self' blob:; connect-src 'self'; worker-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(self), microphone=(self), display-capture=(self), geolocation=()",
    ),
];

/// Refuses requests from elsewhere, and adds the security headers to every answer.
pub async fn guard(State(demo): State<Demo>, request: Request, next: Next) -> Response {
    let mut response = match check(&demo.0.options, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn check(options: &DemoOptions, headers: &HeaderMap) -> Result<(), ApiError> {
    let forbidden = |message: &str| Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message));
    if !host_allowed(options, site::host_name(headers)) {
        return forbidden("The demo is not served under this host name.");
    }
    if site::is_cross_site(headers) {
        return forbidden("Requests from other web sites are refused.");
    }
    Ok(())
}

fn host_allowed(options: &DemoOptions, name: &str) -> bool {
    site::is_loopback(name)
        || site::address(name).is_some()
        || options
            .hosts
            .iter()
            .any(|host| host.eq_ignore_ascii_case(name))
        || (!options.loopback && options.hosts.is_empty() && !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(options: &DemoOptions, host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        check(options, &headers).is_ok()
    }

    #[test]
    fn t61_on_loopback_a_rebound_name_is_refused() {
        let options = DemoOptions {
            loopback: true,
            ..DemoOptions::default()
        };
        for host in [
            "localhost:8080",
            "LocalHost",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "10.1.2.3",
        ] {
            assert!(allowed(&options, host, None), "{host} was refused");
        }
        for host in [
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
        ] {
            assert!(!allowed(&options, host, None), "{host} was accepted");
        }
    }

    #[test]
    fn t61_named_hosts_are_the_only_ones_beyond_loopback() {
        let open = DemoOptions::default();
        assert!(allowed(&open, "meet.example", None));
        let named = DemoOptions {
            hosts: vec!["meet.example".to_owned()],
            ..DemoOptions::default()
        };
        assert!(allowed(&named, "Meet.Example:443", None));
        assert!(!allowed(&named, "other.example", None));
    }

    #[test]
    fn t61_other_origins_are_refused() {
        let options = DemoOptions {
            loopback: true,
            ..DemoOptions::default()
        };
        assert!(allowed(
            &options,
            "localhost:8080",
            Some("http://localhost:8080")
        ));
        assert!(allowed(&options, "[::1]:8080", Some("http://[::1]:8080")));
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:9090",
            "http://localhost",
        ] {
            assert!(
                !allowed(&options, "localhost:8080", Some(origin)),
                "{origin} was accepted"
            );
        }
    }
}
