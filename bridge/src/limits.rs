//! Every bound of the bridge has its name here.
//!
//! A bound protects memory or time from a peer; each refusal is counted (see [`crate::counters`]) and
//! each has a test that reaches it. Sources: `T…` and `G…` are the threat and goal numbers of the
//! project's threat list, quoted in the tests that cover them.

use std::time::Duration;

// ---- process ------------------------------------------------------------------------------------

/// Workers at most; their index travels in one byte of ufrags and STUN transaction ids.
pub const MAX_WORKERS: usize = 64;
/// Local addresses bound at most.
pub const MAX_SOCKETS: usize = 32;
/// Conferences at once (T69).
pub const MAX_CONFERENCES: usize = 10_000;
/// Endpoints at once over all conferences (T69).
pub const MAX_ENDPOINTS: usize = 20_000;
/// Commands waiting for one worker.
pub const WORKER_COMMANDS: usize = 8_192;
/// Events waiting for the control plane.
pub const CONTROL_EVENTS: usize = 65_536;
/// Messages in the ring between two workers.
pub const WORKER_RING: usize = 4_096;
/// Messages waiting for one thread of the handshake pool.
pub const POOL_QUEUE: usize = 16_384;

// ---- datagrams ----------------------------------------------------------------------------------

/// Largest datagram that is accepted, in bytes; larger ones are dropped (media-plane §4 row 36).
pub const MAX_DATAGRAM: usize = 1_500;
/// Capacity of a packet buffer, in bytes: a datagram, extensions that we add and the SRTP tag.
pub const PACKET_BUFFER: usize = 1_664;

// ---- signaling ----------------------------------------------------------------------------------

/// Payload types per endpoint (T69).
pub const MAX_PAYLOAD_TYPES: usize = 128;
/// SSRCs per endpoint, RTX included (T31, T69).
pub const MAX_SSRCS_PER_ENDPOINT: usize = 64;
/// Encodings of one source.
pub const MAX_ENCODINGS: usize = 4;
/// Bytes of an id from signaling (T69).
pub const MAX_ID_BYTES: usize = 256;
/// Remote candidates kept per endpoint (T09).
pub const MAX_REMOTE_CANDIDATES: usize = 32;
/// Endpoints in one Colibri request (T69).
pub const MAX_ENDPOINTS_PER_REQUEST: usize = 16;

// ---- transport ----------------------------------------------------------------------------------

/// Validated remote addresses per ICE session; the least recently validated is replaced.
pub const MAX_PATHS_PER_SESSION: usize = 16;
/// Media stops this long after the last consent (T48).
pub const CONSENT_EXPIRY: Duration = Duration::from_secs(15);
/// DTLS datagrams kept per endpoint before the role is known.
pub const EARLY_DTLS_DATAGRAMS: usize = 8;
/// DTLS datagrams per second and endpoint before the handshake is complete (T16).
pub const HANDSHAKE_DATAGRAMS_PER_SECOND: u32 = 50;
/// Whole handshake (media-plane §1.9).
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// Failed SRTP authentications per second and endpoint before headers alone decide (T25).
pub const AUTH_FAILURES_PER_SECOND: u32 = 1_000;
/// Replay window for RTP, packets (T27).
pub const RTP_REPLAY_WINDOW: usize = 1_024;
/// Replay window for RTCP, packets (T27).
pub const RTCP_REPLAY_WINDOW: usize = 128;

// ---- bridge channel -----------------------------------------------------------------------------

/// Largest incoming message, bytes (bridge-channel §3.6, T50).
pub const MAX_MESSAGE_BYTES: usize = 65_536;
/// Depth of JSON (T65).
pub const MAX_JSON_DEPTH: usize = 32;
/// Data channels per endpoint.
pub const MAX_DATA_CHANNELS: usize = 1;
/// Incoming messages that wait per endpoint (bridge-channel §2.4).
pub const MESSAGE_QUEUE: usize = 50;
/// Messages per second and sender, and burst (T54).
pub const MESSAGES_PER_SECOND: u32 = 50;
/// Burst of messages per sender (T54).
pub const MESSAGE_BURST: u32 = 100;
/// SCTP send buffer per association, bytes (T50).
pub const SCTP_SEND_BUFFER: usize = 1 << 20;
/// SCTP receive window per association, bytes (T50).
pub const SCTP_RECEIVE_WINDOW: u32 = 256 << 10;
/// Outgoing bytes that wait on one websocket (T60).
pub const WEBSOCKET_SEND_BUFFER: usize = 256 << 10;

// ---- media --------------------------------------------------------------------------------------

/// RTCP elements per compound that are looked at (T42).
pub const MAX_RTCP_ELEMENTS: usize = 64;
/// Sequence numbers kept for duplicate detection and gap closing per SSRC.
pub const RECEIVE_HISTORY: usize = 1_024;
/// Packets kept per encoding for retransmission.
pub const CACHE_PACKETS: usize = 512;
/// Records of sent packets per outgoing video stream.
pub const SENT_RECORDS: usize = 512;
/// Retransmissions of one packet to one receiver (T45).
pub const MAX_RETRANSMISSIONS: u8 = 10;
/// Missing packets tracked per SSRC; a larger gap is a restart (media-plane §2.14).
pub const MAX_MISSING: usize = 100;
/// Transport-cc numbers covered by one feedback (T46).
pub const MAX_TWCC_WINDOW: usize = 500;
/// Bytes of one feedback packet (T46).
pub const MAX_FEEDBACK_BYTES: usize = 1_150;
/// Video and audio slots of a receiver with SSRC rewriting (`videobridge.ssrc-limit`).
pub const SSRC_SLOTS: usize = 50;
/// Frames remembered per encoding that is or was projected to a receiver: 2 s at 30 frames per second,
/// longer than any packet is asked for again (media-plane §2.14) or kept for it.
pub const PROJECTION_FRAMES: usize = 64;
/// Frames remembered per encoding that was never projected: enough to undo reordering.
pub const PROJECTION_IDLE_FRAMES: usize = 16;
/// Missing packets that keep their place in an outgoing stream; a larger gap shrinks to one, for its
/// packets are not asked for (see [`MAX_MISSING`]) and a leap of 2^15 would break SRTP (T40).
pub const MAX_HOLE: u64 = MAX_MISSING as u64;
/// How long a packet may be asked for again: NACKs are repeated up to this age (media-plane §2.14).
pub const CACHE_AGE: Duration = Duration::from_millis(1_500);
/// Retransmissions per receiver in proportion to the media sent, as a divisor: 4 = 25 % (T45).
pub const RETRANSMISSION_DIVISOR: u64 = 4;
/// Burst of retransmissions per receiver, packets of full size (T45).
pub const RETRANSMISSION_BURST: u64 = 100;
