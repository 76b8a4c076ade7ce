//! What signaling says about media: payload types, header extensions, sources.

use crate::ids::{EndpointId, EndpointKey, SourceKey, SourceName};

/// Audio or video.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MediaKind {
    /// Audio.
    Audio,
    /// Video, camera and screen alike.
    Video,
}

/// Codecs by what the bridge does with them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    /// Opus (RFC 7587).
    Opus,
    /// Redundant audio (RFC 2198).
    Red,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628).
    Vp9,
    /// AV1 (AOM RTP payload format).
    Av1,
    /// H.264 (RFC 6184).
    H264,
    /// Retransmission (RFC 4588).
    Rtx,
    /// Anything else of that kind, such as telephone-event.
    Other(MediaKind),
}

/// One negotiated payload type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PayloadType {
    /// RTP payload type number, 0–127.
    pub number: u8,
    /// What it carries.
    pub codec: Codec,
    /// RTP clock in Hz.
    pub clock_rate: u32,
    /// For RTX: the payload type that is retransmitted (`apt`).
    pub associated: Option<u8>,
    /// RTCP feedback negotiated for it.
    pub feedback: Feedback,
}

/// RTCP feedback types (`a=rtcp-fb`) that matter to the bridge.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Feedback {
    /// `transport-cc`.
    pub transport_cc: bool,
    /// `goog-remb`.
    pub remb: bool,
    /// `nack`.
    pub nack: bool,
    /// `nack pli`.
    pub pli: bool,
    /// `ccm fir`.
    pub fir: bool,
}

/// Header extensions known to the bridge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Extension {
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464).
    AudioLevel,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`.
    AbsSendTime,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`.
    TransportCc,
    /// `urn:ietf:params:rtp-hdrext:sdes:mid` (RFC 9143).
    Mid,
    /// The AV1 dependency descriptor.
    DependencyDescriptor,
    /// `urn:3gpp:video-orientation`.
    VideoOrientation,
    /// `video-layers-allocation00`.
    VideoLayersAllocation,
}

impl Extension {
    /// All of them, in the order of [`Extension::index`].
    pub const ALL: [Extension; 7] = [
        Extension::AudioLevel,
        Extension::AbsSendTime,
        Extension::TransportCc,
        Extension::Mid,
        Extension::DependencyDescriptor,
        Extension::VideoOrientation,
        Extension::VideoLayersAllocation,
    ];

    /// The URI that negotiates it.
    pub const fn uri(self) -> &'static str {
        match self {
            Extension::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Extension::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Extension::TransportCc => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Extension::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Extension::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
            Extension::VideoOrientation => "urn:3gpp:video-orientation",
            Extension::VideoLayersAllocation => {
                "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00"
            }
        }
    }

    /// The extension with that URI.
    pub fn from_uri(uri: &str) -> Option<Extension> {
        Extension::ALL
            .into_iter()
            .find(|extension| extension.uri() == uri)
    }

    /// Position in [`Extension::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Header extension ids of one endpoint (`a=extmap`).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ExtensionMap([u8; Extension::ALL.len()]);

impl ExtensionMap {
    /// Sets the id (1–255; 0 removes it).
    pub fn set(&mut self, extension: Extension, id: u8) {
        self.0[extension.index()] = id;
    }

    /// The id, if negotiated.
    pub fn id(&self, extension: Extension) -> Option<u8> {
        Some(self.0[extension.index()]).filter(|id| *id != 0)
    }

    /// The extension that has this id.
    pub fn extension(&self, id: u8) -> Option<Extension> {
        let index = self.0.iter().position(|known| *known == id && id != 0)?;
        Some(Extension::ALL[index])
    }
}

/// Everything one endpoint negotiated about formats.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MediaFormats {
    /// Payload types, at most [`crate::limits::MAX_PAYLOAD_TYPES`], distinct numbers.
    pub payload_types: Vec<PayloadType>,
    /// Header extension ids.
    pub extensions: ExtensionMap,
    /// Whether one- and two-byte extension headers may be mixed (RFC 8285 §6).
    pub extmap_allow_mixed: bool,
}

impl MediaFormats {
    /// The payload type with that number.
    pub fn by_number(&self, number: u8) -> Option<&PayloadType> {
        self.payload_types
            .iter()
            .find(|known| known.number == number)
    }
}

/// What a video source shows (allocation spec §4.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum VideoType {
    /// A camera.
    #[default]
    Camera,
    /// A shared screen at a low frame rate.
    Desktop,
    /// A shared screen at a high frame rate.
    DesktopHighFps,
    /// Present, but switched off for bandwidth.
    Disabled,
    /// Muted.
    None,
}

impl VideoType {
    /// Whether it may be forwarded.
    pub const fn is_enabled(self) -> bool {
        !matches!(self, VideoType::Disabled | VideoType::None)
    }

    /// Whether it is a screen share.
    pub const fn is_desktop(self) -> bool {
        matches!(self, VideoType::Desktop | VideoType::DesktopHighFps)
    }

    /// Upper-case name as written in messages.
    pub const fn name(self) -> &'static str {
        match self {
            VideoType::Camera => "CAMERA",
            VideoType::Desktop => "DESKTOP",
            VideoType::DesktopHighFps => "DESKTOP_HIGH_FPS",
            VideoType::Disabled => "DISABLED",
            VideoType::None => "NONE",
        }
    }

    /// From its name in any case.
    pub fn from_name(name: &str) -> Option<VideoType> {
        [
            VideoType::Camera,
            VideoType::Desktop,
            VideoType::DesktopHighFps,
            VideoType::Disabled,
            VideoType::None,
        ]
        .into_iter()
        .find(|known| known.name().eq_ignore_ascii_case(name))
    }
}

/// One RTP stream of a source: a simulcast encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EncodingDescription {
    /// SSRC of the media.
    pub ssrc: u32,
    /// SSRC of its retransmissions, if signaled (FID group).
    pub rtx_ssrc: Option<u32>,
}

/// A signaled source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceDescription {
    /// Given by the control plane.
    pub key: SourceKey,
    /// Its name, unique in the conference.
    pub name: SourceName,
    /// Audio or video.
    pub kind: MediaKind,
    /// What a video source shows at the time of signaling.
    pub video_type: VideoType,
    /// Encodings in order of quality, lowest first; audio has one. Never empty.
    pub encodings: Vec<EncodingDescription>,
    /// Bridge-made audio such as translated speech: only for explicit subscribers.
    pub synthetic: bool,
}

impl SourceDescription {
    /// SSRC of the lowest encoding: identifies the source towards receivers.
    pub fn primary_ssrc(&self) -> u32 {
        self.encodings[0].ssrc
    }
}

/// An endpoint's sources as every worker of its conference knows them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointSources {
    /// Whose.
    pub endpoint: EndpointKey,
    /// The owner's id for messages to clients.
    pub id: EndpointId,
    /// Transcribers shall tell the voices in its audio apart.
    pub diarize: bool,
    /// The complete list; replaces what was known.
    pub sources: Vec<SourceDescription>,
}
