//! What names and numbers of requests mean, whether JSON or XML has them, and how answers spell them.

use std::net::{IpAddr, SocketAddr};

use causeway_bridge::control::api::{CandidateKind, NewSource, RemoteTransport};
use causeway_bridge::limits::{MAX_ID_BYTES, MAX_REMOTE_CANDIDATES};
use causeway_bridge::media::{
    Codec, EncodingDescription, Feedback, MediaKind, PayloadType, VideoType,
};
use causeway_bridge::transport::secure::{Fingerprint, Setup};

use crate::model::SctpRole;

/// Namespace of the inner transport.
pub(crate) const ICE_UDP: &str = "urn:xmpp:jingle:transports:ice-udp:1";

/// Why something is no request; the text is for people.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub(crate) String);

pub(crate) type Result<T> = std::result::Result<T, ParseError>;

pub(crate) fn fail<T>(why: impl Into<String>) -> Result<T> {
    Err(ParseError(why.into()))
}

/// Bounds a name; which characters are legal where it is used in URLs is up to the control plane.
pub(crate) fn checked_id(id: &str) -> Result<&str> {
    if id.len() > MAX_ID_BYTES || id.chars().any(char::is_control) {
        return fail("An id is longer than 256 bytes or has control characters");
    }
    Ok(id)
}

/// Whether the `muc-role` is that of a visitor.
pub(crate) fn is_visitor(role: &str) -> Result<bool> {
    let known = ["moderator", "none", "participant", "visitor"];
    if !known.iter().any(|known| role.eq_ignore_ascii_case(known)) {
        return fail("Unknown muc-role");
    }
    Ok(role.eq_ignore_ascii_case("visitor"))
}

/// The `type` of media; `None` if it is legal, and nothing that the bridge carries.
pub(crate) fn media_kind(name: Option<&str>) -> Result<Option<MediaKind>> {
    match name {
        Some("audio") => Ok(Some(MediaKind::Audio)),
        Some("video") => Ok(Some(MediaKind::Video)),
        Some("text" | "application" | "message" | "image" | "control" | "data") => Ok(None),
        Some(_) => fail("Unknown media type"),
        None => fail("type must be set for media"),
    }
}

/// What describes a payload type.
#[derive(Default)]
pub(crate) struct Format<'a> {
    pub id: Option<u8>,
    pub name: Option<&'a str>,
    pub clock_rate: Option<u32>,
    pub apt: Option<u8>,
    pub feedback: Feedback,
}

impl Format<'_> {
    pub fn payload_type(self, kind: MediaKind) -> Result<PayloadType> {
        let Some(id) = self.id.filter(|id| *id <= 127) else {
            return fail("The id of a payload type must be from 0 to 127");
        };
        let Some(name) = self.name else {
            return fail("A payload type has no name");
        };
        let codec = match (kind, name.to_ascii_lowercase().as_str()) {
            (_, "rtx") => Codec::Rtx,
            (MediaKind::Audio, "opus") => Codec::Opus,
            (MediaKind::Audio, "red") => Codec::Red,
            (MediaKind::Video, "vp8") => Codec::Vp8,
            (MediaKind::Video, "vp9") => Codec::Vp9,
            (MediaKind::Video, "av1") => Codec::Av1,
            (MediaKind::Video, "h264") => Codec::H264,
            _ => Codec::Other(kind),
        };
        let default_rate = match kind {
            MediaKind::Audio => 48_000,
            MediaKind::Video => 90_000,
        };
        if codec == Codec::Rtx && self.apt.is_none() {
            return fail("A payload type rtx has no parameter apt");
        }
        Ok(PayloadType {
            number: id,
            codec,
            clock_rate: self.clock_rate.unwrap_or(default_rate),
            associated: self.apt.filter(|_| codec == Codec::Rtx),
            feedback: self.feedback,
        })
    }
}

/// Notes a kind of RTCP feedback; unknown ones are ignored.
pub(crate) fn add_feedback(feedback: &mut Feedback, kind: Option<&str>, subtype: Option<&str>) {
    match (kind, subtype) {
        (Some("transport-cc"), None) => feedback.transport_cc = true,
        (Some("goog-remb"), None) => feedback.remb = true,
        (Some("nack"), None) => feedback.nack = true,
        (Some("nack"), Some("pli")) => feedback.pli = true,
        (Some("ccm"), Some("fir")) => feedback.fir = true,
        _ => {}
    }
}

/// What describes a source, in the order in which it is read.
pub(crate) struct Source {
    kind: MediaKind,
    synthetic: bool,
    ssrcs: Vec<u32>,
    video_type: Option<VideoType>,
    simulcast: Option<Vec<u32>>,
    retransmissions: Vec<(u32, u32)>,
}

impl Source {
    pub fn new(kind: Option<&str>, synthetic: bool) -> Result<Source> {
        let kind = match kind {
            Some("audio") => MediaKind::Audio,
            Some("video") => MediaKind::Video,
            Some(_) => return fail("The type of a media source must be audio or video"),
            None => return fail("type must be set for media-source"),
        };
        Ok(Source {
            kind,
            synthetic,
            ssrcs: Vec::new(),
            video_type: None,
            simulcast: None,
            retransmissions: Vec::new(),
        })
    }

    pub fn add_ssrc(&mut self, ssrc: u32, video_type: Option<&str>) -> Result<()> {
        self.ssrcs.push(ssrc);
        if let Some(name) = video_type {
            let Some(known) = VideoType::from_name(name) else {
                return fail("Unknown videoType");
            };
            self.video_type = self.video_type.or(Some(known));
        }
        Ok(())
    }

    pub fn add_group(&mut self, semantics: &str, members: Vec<u32>) -> Result<()> {
        if members.is_empty() {
            return Ok(());
        }
        if semantics.eq_ignore_ascii_case("SIM") {
            self.simulcast.get_or_insert(members);
        } else if semantics.eq_ignore_ascii_case("FID") {
            let [primary, secondary, ..] = members.as_slice() else {
                return fail("A FID group has fewer than two members");
            };
            self.retransmissions.push((*primary, *secondary));
        }
        Ok(())
    }

    /// `None` for a source without SSRC, which nothing can come from.
    pub fn build(self, name: &str) -> Option<NewSource> {
        let retransmissions = self.retransmissions;
        let primary = self
            .simulcast
            .or_else(|| retransmissions.first().map(|(primary, _)| vec![*primary]))
            .filter(|_| self.kind == MediaKind::Video)
            .or_else(|| self.ssrcs.first().map(|ssrc| vec![*ssrc]))?;
        let encodings = primary.into_iter().map(|ssrc| EncodingDescription {
            ssrc,
            rtx_ssrc: retransmissions
                .iter()
                .find(|(primary, _)| *primary == ssrc)
                .map(|(_, secondary)| *secondary),
        });
        Some(NewSource {
            name: name.into(),
            kind: self.kind,
            video_type: self.video_type.filter(|_| self.kind == MediaKind::Video),
            encodings: encodings.collect(),
            synthetic: self.synthetic,
        })
    }
}

pub(crate) fn sctp_role(role: &str) -> Result<SctpRole> {
    match role {
        role if role.eq_ignore_ascii_case("client") => Ok(SctpRole::Client),
        role if role.eq_ignore_ascii_case("server") => Ok(SctpRole::Server),
        _ => fail("Unknown SCTP role"),
    }
}

/// `-1` stands for "none".
pub(crate) fn ice_generation(number: Option<i64>) -> Option<u32> {
    number.and_then(|generation| u32::try_from(generation).ok())
}

/// Adds a fingerprint; the first one decides who begins DTLS.
pub(crate) fn add_fingerprint(
    remote: &mut RemoteTransport,
    text: &str,
    hash: &str,
    setup: Option<&str>,
) -> Result<()> {
    if remote.fingerprints.is_empty() {
        remote.setup = match setup.unwrap_or_default() {
            setup if setup.eq_ignore_ascii_case("active") => Some(Setup::Active),
            setup if setup.eq_ignore_ascii_case("passive") => Some(Setup::Passive),
            setup if setup.eq_ignore_ascii_case("actpass") => Some(Setup::ActPass),
            _ => None,
        };
    }
    match Fingerprint::parse(text, hash) {
        Ok(fingerprint) => remote.fingerprints.push(fingerprint),
        Err(error) => return fail(format!("A fingerprint is malformed: {error}")),
    }
    Ok(())
}

/// Adds a candidate of a peer if the bridge can use it: UDP, component 1, this generation, a literal address.
pub(crate) fn add_candidate(
    remote: &mut RemoteTransport,
    attribute: impl Fn(&str) -> Option<String>,
) -> Result<()> {
    if attribute("type").is_none() {
        return fail("A candidate has no type");
    }
    let is = |name, wanted: &str| attribute(name).is_some_and(|is| is.eq_ignore_ascii_case(wanted));
    if !is("generation", "0") || !is("component", "1") || !is("protocol", "udp") {
        return Ok(());
    }
    let address = attribute("ip").and_then(|ip| ip.parse::<IpAddr>().ok());
    let port = match attribute("port").map(|port| port.parse::<u16>()) {
        Some(Err(_)) => return fail("The value of port is no number in range"),
        Some(Ok(port)) => Some(port).filter(|port| *port > 0),
        None => None,
    };
    if let (Some(address), Some(port)) = (address, port)
        && remote.candidates.len() < MAX_REMOTE_CANDIDATES
    {
        let address = address.to_canonical();
        remote.candidates.push(SocketAddr::new(address, port));
    }
    Ok(())
}

/// The digest as colon-separated hexadecimal numbers.
pub(crate) fn digest(fingerprint: &Fingerprint) -> String {
    let bytes = fingerprint.digest.iter();
    let bytes: Vec<String> = bytes.map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

pub(crate) const fn setup_name(setup: Setup) -> &'static str {
    match setup {
        Setup::Active => "active",
        Setup::Passive => "passive",
        Setup::ActPass => "actpass",
    }
}

pub(crate) const fn candidate_type(kind: CandidateKind) -> &'static str {
    match kind {
        CandidateKind::Host => "host",
        CandidateKind::ServerReflexive => "srflx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_plane_case_21_a_candidate_with_a_name_is_ignored() {
        let mut remote = RemoteTransport::default();
        for ip in [
            "9b36eaac-bb2e-49bb-bb78-21c41c499900.local",
            "meet.example.com",
            "192.0.2.7",
        ] {
            let attribute = |name: &str| {
                let value = match name {
                    "type" => "host",
                    "generation" => "0",
                    "component" => "1",
                    "protocol" => "udp",
                    "port" => "5000",
                    "ip" => ip,
                    _ => return None,
                };
                Some(value.to_owned())
            };
            add_candidate(&mut remote, attribute).expect("well-formed");
        }
        assert_eq!(
            remote.candidates,
            [SocketAddr::from(([192, 0, 2, 7], 5000))]
        );
    }
}
