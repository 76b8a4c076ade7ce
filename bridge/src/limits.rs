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
pub const WORKER_COMMANDS: usize = 4_096;
/// Events waiting for the control plane.
pub const CONTROL_EVENTS: usize = 16_384;
/// Messages in the ring between two workers.
pub const WORKER_RING: usize = 4_096;
/// Messages waiting for one thread of the handshake pool.
pub const POOL_QUEUE: usize = 4_096;

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
/// Certificate fingerprints kept per endpoint.
pub const MAX_FINGERPRINTS: usize = 8;
/// Ids of absent endpoints remembered as inactive per conference (allocation spec §12).
pub const MAX_INACTIVE_ABSENT: usize = 256;
/// Endpoints in one Colibri request (T69).
pub const MAX_ENDPOINTS_PER_REQUEST: usize = 16;

// ---- transport ----------------------------------------------------------------------------------

/// Validated remote addresses per ICE session; the least recently validated is replaced.
pub const MAX_PATHS_PER_SESSION: usize = 16;
/// Candidate pairs per ICE session, checked or waiting for it.
pub const MAX_CHECK_LIST: usize = 100;
/// STUN attributes of one message (T07).
pub const MAX_STUN_ATTRIBUTES: usize = 32;
/// STUN error answers per second and endpoint, all to authenticated requests (T01).
pub const STUN_ERRORS_PER_SECOND: u32 = 10;
/// STUN answers of an endpoint that wait to be sent; the worker sends them after each datagram.
pub const MAX_STUN_ANSWERS: usize = 16;
/// Bytes of a username fragment or ICE password (RFC 8839 §5.4).
pub const MAX_ICE_CREDENTIAL_BYTES: usize = 256;
/// Media stops this long after the last consent (T48).
pub const CONSENT_EXPIRY: Duration = Duration::from_secs(15);
/// DTLS datagrams kept per endpoint before the role is known.
pub const EARLY_DTLS_DATAGRAMS: usize = 8;
/// DTLS datagrams per second and endpoint before the handshake is complete (T16).
pub const HANDSHAKE_DATAGRAMS_PER_SECOND: u32 = 50;
/// Requests for a cookie that are answered per second and endpoint when the hello cannot be served
/// anyway, alerts included (T15).
pub const REFUSALS_PER_SECOND: u32 = 5;
/// Server-side handshake attempts per second and endpoint; each costs a signature (T20).
pub const HANDSHAKE_ATTEMPTS_PER_SECOND: u32 = 5;
/// An attempt that failed before the peer was authenticated leaves it so long to begin another (T15, T23).
pub const HANDSHAKE_RETRY_GRACE: Duration = Duration::from_secs(2);
/// Bytes of one handshake message (T16).
pub const MAX_HANDSHAKE_MESSAGE: usize = 16 << 10;
/// Certificates in a peer's chain (T19).
pub const MAX_CERTIFICATE_CHAIN: usize = 3;
/// Bytes of a peer's Certificate message (T19).
pub const MAX_CERTIFICATE_CHAIN_BYTES: usize = 8 << 10;
/// Encrypted records kept until they can be opened (T16).
pub const HELD_RECORDS: usize = 30;
/// Largest DTLS datagram that we make, UDP payload bytes: 1,200 with IPv6 and UDP headers (F07).
pub const SECURE_DATAGRAM: usize = 1_152;
/// DTLS datagrams per second and endpoint that a worker passes on before the handshake is complete. Far above what
/// one handshake needs: the association has its own budget, and a forged flood must not use up the real one (T15).
pub const WORKER_DTLS_PER_SECOND: u32 = 1_000;
/// Whole handshake, unless configured otherwise (media-plane §1.9).
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// Failed SRTP authentications per second and endpoint before headers alone decide (T25).
pub const AUTH_FAILURES_PER_SECOND: u32 = 1_000;
/// Replay window for RTP, packets (T27).
pub const RTP_REPLAY_WINDOW: usize = 1_024;
/// Replay window for RTCP, packets (T27).
pub const RTCP_REPLAY_WINDOW: usize = 128;
/// SSRCs that were removed from an endpoint and whose SRTP state is kept, so that their return opens
/// neither a replay nor a wrong rollover counter (T27, T31). More are refused, never forgotten.
pub const MAX_RETIRED_SSRCS: usize = 1_024;
/// Sender SSRCs of SRTCP whose replay state is kept for an endpoint (T31). More are refused.
pub const MAX_RTCP_SENDERS: usize = 1_024;
/// Sender SSRCs of SRTCP whose own index is kept towards an endpoint; with more, indices skip numbers.
pub const MAX_RTCP_INDICES: usize = 1_024;
/// Of the packets of an SSRC that do not authenticate, one in this many is tried again with the next
/// rollover counter (T28).
pub const ROLLOVER_TRIAL_INTERVAL: u8 = 16;

// ---- defects ------------------------------------------------------------------------------------

/// Conferences that may end by internal errors within [`FAILURE_PERIOD`] before the process is not trusted
/// any more (T80).
pub const FAILURES: usize = 3;
/// See [`FAILURES`].
pub const FAILURE_PERIOD: Duration = Duration::from_secs(600);

// ---- bridge channel -----------------------------------------------------------------------------

/// Largest incoming message, bytes (bridge-channel §3.6, T50).
pub const MAX_MESSAGE_BYTES: usize = 65_536;
/// Depth of JSON, the outermost object counted (T65).
pub const MAX_JSON_DEPTH: usize = 32;
/// Members of one JSON object (T65).
pub const MAX_JSON_MEMBERS: usize = 1_024;
/// Elements of a list that the protocol defines, such as `selectedSources` (T65).
pub const MAX_LIST_ITEMS: usize = 256;
/// Bytes of a JSON string or key outside of `msgPayload` (T65).
pub const MAX_JSON_STRING_BYTES: usize = 4_096;
/// Characters of a JSON number (T65).
pub const MAX_JSON_NUMBER_CHARS: usize = 64;
/// Data channels per endpoint.
pub const MAX_DATA_CHANNELS: usize = 1;
/// Incoming messages that wait per endpoint (bridge-channel §2.4).
pub const MESSAGE_QUEUE: usize = 50;
/// Messages per second and sender, and burst (T54).
pub const MESSAGES_PER_SECOND: u64 = 50;
/// Burst of messages per sender (T54).
pub const MESSAGE_BURST: u64 = 100;
/// Bytes of messages per second and sender (T54).
pub const MESSAGE_BYTES_PER_SECOND: u64 = 64 << 10;
/// Burst of bytes of messages per sender (T54).
pub const MESSAGE_BYTES_BURST: u64 = 256 << 10;
/// Bytes per second that a conference may spend on forwarding messages, receivers counted (T54).
pub const FAN_OUT_BYTES_PER_SECOND: u64 = 10 << 20;
/// SCTP send buffer per association, bytes (T50).
pub const SCTP_SEND_BUFFER: usize = 1 << 20;
/// Of that, what is given to SCTP at once; more waits where newer states replace older ones (T53).
pub const SCTP_BACKLOG: usize = 64 << 10;
/// What all SCTP associations of the process may hold, bytes (T50).
pub const SCTP_HELD_IN_ALL: usize = 1 << 30;
/// SCTP receive window per association, bytes (T50).
pub const SCTP_RECEIVE_WINDOW: u32 = 256 << 10;
/// Largest message that we send over SCTP, bytes.
pub const MAX_SENT_MESSAGE_BYTES: usize = 256 << 10;
/// Chunks per SCTP packet (T49).
pub const SCTP_CHUNKS_PER_PACKET: usize = 32;
/// SCTP chunks kept out of order (T50).
pub const SCTP_OUT_OF_ORDER: usize = 128;
/// Received SCTP chunks that belong to incomplete messages (T50); more end the association.
pub const SCTP_HELD_CHUNKS: usize = 1_024;
/// SCTP streams that are kept apart (T52); data on further ones is acknowledged and thrown away.
pub const SCTP_STREAMS: usize = 16;
/// Stream resets in the life of an association (T52); more end it.
pub const SCTP_RESETS: usize = 256;
/// Gap blocks, and numbers they cover, in one SCTP acknowledgement.
pub const SCTP_GAP_BLOCKS: usize = 64;
/// Bytes of label and protocol of a data channel together (T52).
pub const MAX_CHANNEL_LABEL_BYTES: usize = 512;
/// Longest interval between two retransmissions of SCTP (bridge-channel §4.2).
pub const SCTP_MAX_BACKOFF: Duration = Duration::from_secs(3);
/// Outgoing bytes that wait on one websocket (T60).
pub const WEBSOCKET_SEND_BUFFER: usize = 256 << 10;
/// The part of the forwarding budget of a conference that one sender may use, so that a flooder does not
/// silence the others (T54).
pub const SENDER_FAN_OUT_BYTES_PER_SECOND: u64 = FAN_OUT_BYTES_PER_SECOND / 2;

// ---- diagnosis ----------------------------------------------------------------------------------

/// Things that a worker notes about one endpoint between two collections of statistics.
pub const TIMELINE_NOTES: usize = 64;
/// Entries of an endpoint's timeline that may be asked for; half of them are samples.
pub const MAX_TIMELINE_ENTRIES: usize = 16_384;

// ---- media export -------------------------------------------------------------------------------

/// Media exports of one conference. T62 asks for four; a focus wants one for each five languages of each translated speaker, and ends
/// the whole session if one is refused.
pub const MAX_CONNECTS: usize = 32;
/// HTTP headers of one export.
pub const MAX_CONNECT_HEADERS: usize = 32;
/// Bytes of the URL of an export.
pub const MAX_CONNECT_URL: usize = 4_096;
/// Packets that wait between workers and one export; the oldest is displaced.
pub const EXPORT_TAP: usize = 512;
/// Packets that wait between a worker and one capture; further ones are dropped. Half a second of 30 Mbit/s.
pub const CAPTURE_FRAMES: usize = 2_048;
/// Packets that wait for the websocket of one export; the oldest is dropped.
pub const EXPORT_QUEUE: usize = 1_024;
/// Events other than media that wait for it.
pub const MAX_EXPORT_EVENTS: usize = 8_192;
/// Sources that one export knows; beyond that it forgets all and announces them again.
pub const MAX_EXPORT_STREAMS: usize = 4_096;
/// Messages per second that the peer of an export may send.
pub const EXPORT_MESSAGES_PER_SECOND: u64 = 1_000;
/// Bytes of an Opus packet that comes in; the largest frame has 1,275 (RFC 6716 §3.2.1).
pub const MAX_EXPORT_PAYLOAD: usize = 1_275;

// ---- media --------------------------------------------------------------------------------------

/// Extension elements of one RTP packet that are read or written (T35).
pub const MAX_EXTENSION_ELEMENTS: usize = 16;
/// RTCP elements per compound that are looked at (T42).
pub const MAX_RTCP_ELEMENTS: usize = 64;
/// Sequence numbers kept for duplicate detection and gap closing per SSRC.
pub const RECEIVE_HISTORY: usize = 1_024;
/// Packets that wait in one receiver's pacer; with more, the oldest are sent at once.
pub const PACED_PACKETS: usize = 1_024;
/// Packets that wait in the pacers of one worker; with more, whoever adds one sends its oldest at once.
pub const PACED_PACKETS_OF_WORKER: usize = 65_536;
/// How long they wait: the pacing rate is raised so that all leave in time. libwebrtc: 2 s, where the encoder can be slowed down.
pub const PACED_TIME: Duration = Duration::from_millis(500);
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
/// Sent packets remembered per receiver until feedback tells about them (T47).
pub const SENT_HISTORY: usize = 8_192;
/// Sender reports remembered per receiver for the round-trip time (media-plane §2.24).
pub const SENT_REPORTS: usize = 200;
/// Requests for one missing packet (media-plane §2.14).
pub const NACK_ATTEMPTS: u8 = 10;
/// A packet that is missing for longer is given up (media-plane §2.14).
pub const NACK_GIVE_UP: Duration = Duration::from_secs(1);
/// NAL units of one H.264 packet that are looked at (T38).
pub const MAX_NAL_UNITS: usize = 64;
/// Template structures of one SSRC that are kept, so that packets which come late are understood (T37).
pub const DEPENDENCY_STRUCTURES: usize = 4;
/// Frames that one frame refers to in a dependency descriptor (T37).
pub const MAX_FRAME_REFERENCES: usize = 16;
/// Layers of one source whose rate is measured.
pub const MAX_LAYERS: usize = 64;
/// Video that one endpoint may send, bits per second (T41).
pub const INGRESS_VIDEO_BITRATE: u64 = 30_000_000;
/// Video packets per second of one endpoint (T41).
pub const INGRESS_VIDEO_PACKETS: u64 = 10_000;
/// Audio that one endpoint may send, bits per second: apart from video, so that a flood of video never
/// silences its sender (T41).
pub const INGRESS_AUDIO_BITRATE: u64 = 2_000_000;
/// Audio packets per second of one endpoint (T41).
pub const INGRESS_AUDIO_PACKETS: u64 = 1_000;
/// How long the ingress rates may be exceeded by their own amount (T41).
pub const INGRESS_BURST: Duration = Duration::from_secs(1);
/// Shortest time between two keyframe requests to one stream (media-plane §2.18, T44).
pub const KEYFRAME_INTERVAL: Duration = Duration::from_millis(200);
/// Keyframe requests of one receiver for one stream that are granted at once, and per [`KEYFRAME_PERIOD`] in the long run (T44).
pub const KEYFRAME_REQUESTS: usize = 3;
/// See [`KEYFRAME_REQUESTS`].
pub const KEYFRAME_PERIOD: Duration = Duration::from_secs(10);
/// Receivers whose requests for one stream are remembered (T44).
pub const KEYFRAME_REQUESTERS: usize = 512;
/// Times that a request is repeated when no keyframe comes.
pub const KEYFRAME_RETRIES: u32 = 10;
/// Video and audio slots of a receiver with SSRC rewriting (`videobridge.ssrc-limit`).
pub const SSRC_SLOTS: usize = 50;
/// Frames remembered per encoding that is or was projected to a receiver: 2 s at 30 frames per second,
/// longer than any packet is asked for again (media-plane §2.14) or kept for it.
pub const PROJECTION_FRAMES: usize = 64;
/// The same for streams whose spatial layers have frames of their own: for up to three layers.
pub const PROJECTION_LAYER_FRAMES: usize = 3 * PROJECTION_FRAMES;
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
/// Keyframe requests of one receiver per second, for all sources together (T44).
pub const KEYFRAME_REQUESTS_PER_SECOND: u64 = 10;
/// The same at once: a receiver that joins asks for each of its sources.
pub const KEYFRAME_REQUEST_BURST: u64 = 50;
/// Datagrams of media that one endpoint may send before its keys are there, which are then held.
pub const EARLY_MEDIA_PACKETS: usize = 64;
/// Their bytes at most.
pub const EARLY_MEDIA_BYTES: usize = 48 << 10;
/// How long they are held.
pub const EARLY_MEDIA_HOLD: Duration = Duration::from_secs(1);
