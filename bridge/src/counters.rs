//! Counters of a worker: plain integers, one add each, summed when somebody reads them.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// What was counted. `Counter as usize` is the index in [`Counters`].
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Counter { $($(#[doc = $doc])+ $name),+ }

        impl Counter {
            /// All counters, in order.
            pub const ALL: &'static [Counter] = &[$(Counter::$name),+];

            /// What it counts, in a sentence.
            pub fn help(self) -> &'static str {
                match self { $(Counter::$name => concat!($($doc),+).trim_ascii()),+ }
            }

            /// CamelCase name.
            pub const fn name(self) -> &'static str {
                match self { $(Counter::$name => stringify!($name)),+ }
            }
        }
    };
}

counters! {
    /// Datagrams received.
    DatagramsIn,
    /// Bytes received, UDP payload.
    BytesIn,
    /// Datagrams sent.
    DatagramsOut,
    /// Bytes sent, UDP payload.
    BytesOut,
    /// Dropped: empty, too long or of no known protocol.
    DropNotClassified,
    /// Dropped: from an address that never passed a check.
    DropUnknownAddress,
    /// Dropped: malformed STUN.
    DropStunMalformed,
    /// Dropped: STUN for a ufrag that does not exist.
    DropStunUnknownUfrag,
    /// Dropped: STUN that does not authenticate.
    DropStunIntegrity,
    /// Dropped: a STUN response to nothing that was asked, or an indication.
    DropStunUnexpected,
    /// Dropped: DTLS beyond the limits before the handshake is complete.
    DropDtlsLimit,
    /// Dropped: media before keys exist.
    DropNoKeys,
    /// Dropped: malformed RTP.
    DropRtpMalformed,
    /// Dropped: payload type not negotiated.
    DropRtpPayloadType,
    /// Dropped: SSRC not signaled by this endpoint.
    DropRtpSsrc,
    /// Dropped: SRTP that does not authenticate.
    DropSrtpAuth,
    /// Dropped: SRTP replay or too old.
    DropSrtpReplay,
    /// Dropped: malformed RTCP (inside a valid SRTCP packet).
    DropRtcpMalformed,
    /// Dropped: SRTCP that does not authenticate.
    DropSrtcpAuth,
    /// Dropped: SRTCP replay.
    DropSrtcpReplay,
    /// Dropped: duplicate RTP (after RTX).
    DropDuplicate,
    /// Dropped: media of a visitor or of a muted kind.
    DropMuted,
    /// Dropped: silent audio.
    DropSilence,
    /// Dropped: malformed payload descriptor.
    DropPayload,
    /// Dropped: more media than an endpoint may send.
    DropIngressLimit,
    /// Dropped: hand-over ring full.
    DropRingFull,
    /// Dropped: event queue full.
    DropEventFull,
    /// Dropped: send batch full.
    DropSendFull,
    /// Receive calls that failed.
    ReceiveErrors,
    /// Send calls that the kernel refused.
    SendErrors,
    /// RTP packets accepted from endpoints.
    RtpIn,
    /// RTP packets sent.
    RtpOut,
    /// RTX packets received.
    RtxIn,
    /// RTX packets sent.
    RtxOut,
    /// Packets of video that waited in a pacer.
    Paced,
    /// Packets that were sent before their time, as too many waited.
    PacerFull,
    /// NACKs for packets that are no longer known.
    NackMiss,
    /// Retransmissions refused by the budget.
    NackBudget,
    /// Keyframe requests sent.
    KeyframeRequestsOut,
    /// Keyframe requests received or made by projections.
    KeyframeRequestsIn,
    /// Keyframe requests dropped: a receiver sends too many.
    KeyframeRequestsDenied,
    /// Transport-cc feedback about nothing that is known to be sent.
    TwccUnmatched,
    /// Keyframes received.
    KeyframesIn,
    /// Layers of a local source that began to come.
    LayeringChanges,
    /// Packets received from endpoints that are gone.
    GonePacketsIn,
    /// Their bytes.
    GoneBytesIn,
    /// Packets sent to endpoints that are gone.
    GonePacketsOut,
    /// Their bytes.
    GoneBytesOut,
    /// Milliseconds in which video SSRCs of endpoints that are gone were active, summed over them.
    GoneVideoMillis,
    /// RTP packets sent at most 5 ms after the turn that they were received in began.
    TransitUpTo5Ms,
    /// RTP packets sent after more than 5 ms and at most 50 ms.
    TransitUpTo50Ms,
    /// RTP packets sent after more than 50 ms and at most 500 ms.
    TransitUpTo500Ms,
    /// RTP packets sent after more than 500 ms.
    TransitLonger,
    /// Microseconds that the packets of the four above took, summed over them.
    TransitMicros,
    /// Datagrams handed to another worker.
    HandedOver,
    /// Conferences ended by a panic.
    Panics,
}

/// One worker's counters.
#[derive(Clone, Debug)]
pub struct Counters([u64; Counter::ALL.len()]);

impl Default for Counters {
    fn default() -> Self {
        Counters([0; Counter::ALL.len()])
    }
}

impl Counters {
    /// Adds one.
    #[inline]
    pub fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&mut self, counter: Counter, n: u64) {
        let cell = &mut self.0[counter as usize];
        *cell = cell.wrapping_add(n);
    }

    /// The current value.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Counters) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.wrapping_add(theirs);
        }
    }
}
