//! The page's files, embedded in the binary.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A file of the page.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    content: &'static [u8],
    etag: &'static str,
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! asset {
    ($name:literal, $content_type:expr) => {{
        const CONTENT: &[u8] = include_bytes!(concat!("../../web/", $name));
        const TAG: [u8; 18] = etag(CONTENT);
        const ETAG: &str = match std::str::from_utf8(&TAG) {
            Ok(text) => text,
            Err(_) => panic!("hexadecimal digits and quotes are ASCII"),
        };
        Asset {
            name: $name,
            content_type: $content_type,
            content: CONTENT,
            etag: ETAG,
        }
    }};
}

const PAGE: Asset = asset!("index.html", "text/html; charset=utf-8");

const FILES: &[Asset] = &[
    asset!("style.css", "text/css; charset=utf-8"),
    asset!("icon.svg", "image/svg+xml"),
    asset!("app.js", JAVASCRIPT),
    asset!("bridge-channel.js", JAVASCRIPT),
    asset!("conference.js", JAVASCRIPT),
    asset!("layout.js", JAVASCRIPT),
    asset!("media.js", JAVASCRIPT),
    asset!("sdp.js", JAVASCRIPT),
    asset!("session.js", JAVASCRIPT),
    asset!("signaling.js", JAVASCRIPT),
    asset!("stats.js", JAVASCRIPT),
    asset!("test-media.js", JAVASCRIPT),
    asset!("ticker.js", JAVASCRIPT),
    asset!("tiles.js", JAVASCRIPT),
];

/// `GET /`
pub async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, PAGE.content_type),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, PAGE.content).into_response()
}

/// `GET /demo/web/{file}`
pub async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = FILES.iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // Kept by the browser, but asked about every time: a new binary may bring new files.
    let caching = [
        (header::CACHE_CONTROL, "no-cache"),
        (header::ETAG, asset.etag),
    ];
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|tags| tags.to_str().ok());
    if known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == asset.etag)) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (
        caching,
        [(header::CONTENT_TYPE, asset.content_type)],
        asset.content,
    )
        .into_response()
}

/// An entity tag: the FNV-1a hash of the content in hexadecimal, in quotes.
const fn etag(content: &[u8]) -> [u8; 18] {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut index = 0;
    while index < content.len() {
        hash = (hash ^ content[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    let mut tag = [b'"'; 18];
    let mut digit = 0;
    while digit < 16 {
        tag[1 + digit] = b"0123456789abcdef"[((hash >> (60 - 4 * digit)) & 15) as usize];
        digit += 1;
    }
    tag
}
