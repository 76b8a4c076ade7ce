//! Settings of the bridge as an embedder gives them. Defaults are JVB's.

use std::net::SocketAddr;
use std::time::Duration;

use crate::units::Bitrate;

/// Everything that can be set.
#[derive(Clone, Debug, Default)]
pub struct BridgeConfig {
    /// Threads and sockets.
    pub net: NetConfig,
    /// ICE.
    pub ice: IceConfig,
    /// DTLS, SRTP, SCTP.
    pub transport: TransportConfig,
    /// Bandwidth estimation.
    pub estimator: EstimatorConfig,
    /// How fast a receiver is sent what comes at once.
    pub pacing: PacingConfig,
    /// Bandwidth allocation (allocation spec §2).
    pub allocation: AllocationConfig,
    /// Audio and speakers.
    pub audio: AudioConfig,
    /// Expiry and connectivity.
    pub liveness: LivenessConfig,
    /// Bridge channel.
    pub channel: ChannelConfig,
    /// What is remembered of each endpoint.
    pub timeline: TimelineConfig,
    /// Seed for a reproducible run; `None` takes the operating system's randomness.
    pub seed: Option<u64>,
}

/// Threads and sockets.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// Local addresses to bind, each on every worker. Empty: every usable interface address on `port`.
    pub bind: Vec<SocketAddr>,
    /// UDP port when `bind` is empty (`videobridge.ice.udp.port`).
    pub port: u16,
    /// Workers; `None` = one per core that the process may use (affinity and cgroup quota).
    pub workers: Option<usize>,
    /// Threads of the handshake pool; `None` = half as many as workers, at least one.
    pub pool_threads: Option<usize>,
    /// Endpoints of one conference on one worker before further ones are placed on others.
    pub spill_after: usize,
    /// Socket receive buffer in bytes (`ice4j.harvest.udp.receive-buffer-size`).
    pub receive_buffer: usize,
    /// Use UDP segmentation offload when the kernel has it.
    pub gso: bool,
    /// Use UDP receive offload when the kernel has it.
    pub gro: bool,
    /// Hide addresses of clients in logs (`videobridge.redact-remote-addresses`).
    pub redact_remote_addresses: bool,
}

impl Default for NetConfig {
    fn default() -> Self {
        NetConfig {
            bind: Vec::new(),
            port: 10_000,
            workers: None,
            pool_threads: None,
            spill_after: 100,
            receive_buffer: 10 << 20,
            gso: true,
            gro: true,
            redact_remote_addresses: true,
        }
    }
}

/// ICE.
#[derive(Clone, Debug)]
pub struct IceConfig {
    /// Put in front of every local ufrag (`videobridge.ice.ufrag-prefix`); no `:`.
    pub ufrag_prefix: String,
    /// Advertise private host addresses to ordinary endpoints.
    pub advertise_private: bool,
    /// Public addresses: (local address, public address, public port or the local one).
    pub mappings: Vec<(std::net::IpAddr, std::net::IpAddr, Option<u16>)>,
    /// Send checks to signaled candidates with private addresses.
    pub allow_private_remotes: bool,
    /// Send checks to signaled loopback candidates.
    pub allow_loopback_remotes: bool,
    /// In-place restart (`videobridge.ice.restart.enabled`).
    pub restart_enabled: bool,
    /// Old session is kept this long after the cut-over.
    pub restart_transition: Duration,
    /// A restart that did not connect is dropped after this.
    pub restart_timeout: Duration,
    /// Mean consent check interval (randomised by 0.8–1.2).
    pub consent_interval: Duration,
    /// Retransmission interval of a consent check.
    pub consent_retry: Duration,
    /// Retransmissions of a consent check.
    pub consent_retries: u32,
}

impl Default for IceConfig {
    fn default() -> Self {
        IceConfig {
            ufrag_prefix: String::new(),
            advertise_private: true,
            mappings: Vec::new(),
            allow_private_remotes: true,
            allow_loopback_remotes: false,
            restart_enabled: true,
            restart_transition: Duration::from_secs(3),
            restart_timeout: Duration::from_secs(20),
            consent_interval: Duration::from_secs(5),
            consent_retry: Duration::from_millis(500),
            consent_retries: 5,
        }
    }
}

/// DTLS, SRTP, SCTP.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// Offer data channels (`videobridge.sctp.enabled`).
    pub sctp: bool,
    /// SRTP profiles in order of preference.
    pub srtp_profiles: Vec<crate::srtp::Profile>,
    /// Accept sha-1 fingerprints.
    pub accept_sha1_fingerprints: bool,
    /// Whole DTLS handshake (`jmt.dtls.handshake-timeout`).
    pub handshake_timeout: Duration,
}

impl Default for TransportConfig {
    fn default() -> Self {
        TransportConfig {
            sctp: true,
            srtp_profiles: vec![
                crate::srtp::Profile::AeadAes128Gcm,
                crate::srtp::Profile::Aes128CmSha1_80,
            ],
            accept_sha1_fingerprints: false,
            handshake_timeout: crate::limits::HANDSHAKE_TIMEOUT,
        }
    }
}

/// Bandwidth estimation (`jmt.bwe.estimator`).
#[derive(Clone, Copy, Debug)]
pub struct EstimatorConfig {
    /// First estimate.
    pub initial: Bitrate,
    /// Never below.
    pub min: Bitrate,
    /// Never above.
    pub max: Bitrate,
}

impl Default for EstimatorConfig {
    fn default() -> Self {
        EstimatorConfig {
            initial: Bitrate::kbps(2_500),
            min: Bitrate::kbps(30),
            max: Bitrate::kbps(20_000),
        }
    }
}

/// Pacing towards receivers whose estimate counts (`videobridge.cc.pacing`).
#[derive(Clone, Copy, Debug)]
pub struct PacingConfig {
    /// Video leaves at this multiple of the estimate; zero, the default: as it comes. libwebrtc: 2.5 until it has feedback
    /// (`kDefaultPaceMultiplier`), 1.1 after that (`kDefaultPaceMultiplierWithSendSideBwe`).
    pub factor: f64,
    /// What this rate sends in this time may leave at once (libwebrtc: `kDefaultBurstInterval`).
    pub burst: Duration,
}

impl Default for PacingConfig {
    fn default() -> Self {
        PacingConfig {
            factor: 0.0,
            burst: Duration::from_millis(40),
        }
    }
}

/// Bandwidth allocation (`videobridge.cc`).
#[derive(Clone, Debug)]
pub struct AllocationConfig {
    /// Re-allocate when the estimate changed by more than this share of the last one acted upon.
    pub estimate_change_threshold: f64,
    /// Default constraint of a receiver whose first message has none.
    pub default_max_height: i32,
    /// Default constraint before a receiver's first message.
    pub initial_max_height: i32,
    /// Preferred height on stage.
    pub onstage_preferred_height: i32,
    /// Preferred frame rate on stage.
    pub onstage_preferred_framerate: f64,
    /// Send a screen share on stage even above the estimate.
    pub allow_oversend_onstage: bool,
    /// By at most this much.
    pub max_oversend: Bitrate,
    /// Whether the estimate limits anything.
    pub trust_estimate: bool,
    /// Re-allocate at least this often.
    pub max_time_between_runs: Duration,
    /// Bridge-wide last-n; negative = no limit.
    pub last_n: i32,
    /// Last-n of a receiver before it or signaling says otherwise; negative = no limit.
    pub initial_last_n: i32,
    /// Limit up to which receivers may override the estimate.
    pub assumed_bandwidth_limit: Option<Bitrate>,
    /// Conference size → last-n (allocation spec §6.2).
    pub conference_last_n_limits: Vec<(usize, i32)>,
    /// Video slots of a rewriting receiver; also bounds last-n.
    pub video_slots: usize,
    /// Audio slots of a rewriting receiver.
    pub audio_slots: usize,
}

impl Default for AllocationConfig {
    fn default() -> Self {
        AllocationConfig {
            estimate_change_threshold: 0.15,
            default_max_height: 180,
            initial_max_height: 0,
            onstage_preferred_height: 360,
            onstage_preferred_framerate: 30.0,
            allow_oversend_onstage: true,
            max_oversend: Bitrate::kbps(500),
            trust_estimate: true,
            max_time_between_runs: Duration::from_secs(5),
            last_n: -1,
            initial_last_n: -1,
            assumed_bandwidth_limit: None,
            conference_last_n_limits: Vec::new(),
            video_slots: crate::limits::SSRC_SLOTS,
            audio_slots: crate::limits::SSRC_SLOTS,
        }
    }
}

/// Audio and speakers.
#[derive(Clone, Debug)]
pub struct AudioConfig {
    /// Drop silent audio after [`AudioConfig::forwarded_silence`] packets more than this.
    pub discard_silence: bool,
    /// `jmt.audio.level.forwarded-silence-packets-limit`; one more than this passes.
    pub forwarded_silence: u32,
    /// Forward only the loudest.
    pub route_loudest_only: bool,
    /// How many are the loudest.
    pub num_loudest: usize,
    /// Always forward the dominant speaker.
    pub always_route_dominant: bool,
    /// A speaker without levels for this long leaves the ranking.
    pub energy_expire: Duration,
    /// Weight of the newest level in percent.
    pub energy_alpha_pct: u32,
    /// Length of the list of previous speakers.
    pub recent_speakers: usize,
    /// Detect silence.
    pub silence_detection: bool,
    /// Silence after this.
    pub silence_timeout: Duration,
    /// Redundant audio.
    pub red: RedConfig,
}

/// What is done about redundant audio (media-plane spec §2.16). Receivers that can not take it never get it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum RedPolicy {
    /// Audio goes on as it came.
    #[default]
    Noop,
    /// Nobody gets it.
    Strip,
    /// Whoever takes it gets it.
    ProtectAll,
}

/// Redundant audio (`jmt.audio.red`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RedConfig {
    /// Who gets it.
    pub policy: RedPolicy,
    /// A packet made redundant carries the two before it, and not only one.
    pub two_packets: bool,
    /// Protect speech only, as the sender's audio level extension tells it.
    pub vad_only: bool,
}

impl Default for RedConfig {
    fn default() -> RedConfig {
        RedConfig {
            policy: RedPolicy::Noop,
            two_packets: true,
            vad_only: true,
        }
    }
}

impl Default for AudioConfig {
    fn default() -> Self {
        AudioConfig {
            discard_silence: true,
            forwarded_silence: 3,
            route_loudest_only: false,
            num_loudest: 3,
            always_route_dominant: true,
            energy_expire: Duration::from_millis(150),
            energy_alpha_pct: 50,
            recent_speakers: 10,
            silence_detection: false,
            silence_timeout: Duration::from_secs(3),
            red: RedConfig::default(),
        }
    }
}

/// Expiry and connectivity.
#[derive(Clone, Debug)]
pub struct LivenessConfig {
    /// Inactive if nothing came within this after creation.
    pub first_transfer_timeout: Duration,
    /// Inactive after this much silence.
    pub max_inactivity: Duration,
    /// Check period for both.
    pub check_interval: Duration,
    /// Endpoints expire after this much silence.
    pub expiry_timeout: Duration,
    /// Endpoints that never were active expire after this.
    pub never_active_timeout: Duration,
    /// Period of expiry checks.
    pub expiry_interval: Duration,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        LivenessConfig {
            first_transfer_timeout: Duration::from_secs(15),
            max_inactivity: Duration::from_secs(8),
            check_interval: Duration::from_millis(500),
            expiry_timeout: Duration::from_secs(60),
            never_active_timeout: Duration::from_secs(120),
            expiry_interval: Duration::from_secs(60),
        }
    }
}

/// Bridge channel.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    /// `version` in `ServerHello`, if announced.
    pub announce_version: Option<String>,
    /// Send `ConnectionStats`.
    pub connection_stats: bool,
    /// Period of `ConnectionStats`.
    pub connection_stats_interval: Duration,
    /// Conference size up to which `EndpointStats` go to everybody.
    pub stats_filter_threshold: usize,
}

impl Default for ChannelConfig {
    fn default() -> Self {
        ChannelConfig {
            announce_version: None,
            connection_stats: true,
            connection_stats_interval: Duration::from_secs(10),
            stats_filter_threshold: 20,
        }
    }
}

/// What is remembered of each endpoint ([`crate::timeline`]).
#[derive(Clone, Copy, Debug)]
pub struct TimelineConfig {
    /// Entries at most, half of them samples (`videobridge.timeline.entries`); 0 = none.
    pub entries: usize,
    /// For how long (`videobridge.timeline.max-age`).
    pub max_age: Duration,
}

impl Default for TimelineConfig {
    fn default() -> Self {
        TimelineConfig {
            entries: 512,
            max_age: Duration::from_secs(600),
        }
    }
}
