//! Which audio is worth forwarding (media-plane §2.15, allocation spec §13.2 and §13.3).

use crate::config::AudioConfig;

/// Level of digital silence in −dBov (RFC 6464 §3).
const SILENCE: u8 = 127;

/// What to do with an audio packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AudioVerdict {
    /// Forward it, and feed the level to speaker detection: 0 = silence to 127 = loudest; `None` if the
    /// packet did not say.
    Forward(Option<u8>),
    /// Discard it: silence.
    Silent,
    /// Discard it: the endpoint is muted by force.
    Muted,
}

/// Decides about one endpoint's audio.
///
/// JVB counts silence over all SSRCs of an endpoint. One gate for each SSRC is as good on the wire and
/// keeps two audio sources of an endpoint from disturbing each other.
#[derive(Clone, Debug)]
pub struct AudioGate {
    /// Silent packets passed since the last one that was not silent.
    passed: u32,
    /// Silent packets that may pass; `None` = all.
    allowed: Option<u32>,
    muted: bool,
}

impl AudioGate {
    /// As configured.
    pub fn new(config: &AudioConfig) -> AudioGate {
        // JVB's test is "more than the limit passed before", so one more passes.
        let allowed = config
            .discard_silence
            .then(|| config.forwarded_silence.saturating_add(1));
        AudioGate {
            passed: 0,
            allowed,
            muted: false,
        }
    }

    /// Forced mute on or off.
    pub fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// A packet, authenticated, with its level as in the header extension (0 = loudest to 127 = silence).
    pub fn on_packet(&mut self, level: Option<u8>) -> AudioVerdict {
        if self.muted {
            // Also without a level: JVB lets those pass.
            return AudioVerdict::Muted;
        }
        let Some(level) = level.map(|level| level.min(SILENCE)) else {
            return AudioVerdict::Forward(None);
        };
        if level < SILENCE {
            self.passed = 0;
        } else {
            if self.allowed.is_some_and(|allowed| self.passed >= allowed) {
                return AudioVerdict::Silent;
            }
            self.passed = self.passed.saturating_add(1);
        }
        AudioVerdict::Forward(Some(SILENCE - level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocation_case_51_four_silent_packets_pass_after_speech() {
        let mut gate = AudioGate::new(&AudioConfig::default());
        assert_eq!(gate.on_packet(Some(30)), AudioVerdict::Forward(Some(97)));
        let verdicts: Vec<_> = (0..10).map(|_| gate.on_packet(Some(127))).collect();
        assert_eq!(verdicts[..4], [AudioVerdict::Forward(Some(0)); 4]);
        assert_eq!(verdicts[4..], [AudioVerdict::Silent; 6]);
        assert_eq!(
            gate.on_packet(None),
            AudioVerdict::Forward(None),
            "no level: neither dropped nor fed"
        );
        assert_eq!(
            gate.on_packet(Some(127)),
            AudioVerdict::Silent,
            "and it ends no silence"
        );
        assert_eq!(gate.on_packet(Some(40)), AudioVerdict::Forward(Some(87)));
        assert_eq!(gate.on_packet(Some(127)), AudioVerdict::Forward(Some(0)));
    }

    #[test]
    fn silence_passes_where_it_is_configured_to() {
        let config = AudioConfig {
            discard_silence: false,
            ..AudioConfig::default()
        };
        let mut gate = AudioGate::new(&config);
        assert!((0..100).all(|_| gate.on_packet(Some(127)) == AudioVerdict::Forward(Some(0))));
    }

    #[test]
    fn forced_mute_discards_packets_without_a_level_too() {
        let mut gate = AudioGate::new(&AudioConfig::default());
        gate.set_muted(true);
        assert_eq!(gate.on_packet(Some(3)), AudioVerdict::Muted);
        assert_eq!(gate.on_packet(None), AudioVerdict::Muted);
        gate.set_muted(false);
        assert_eq!(gate.on_packet(None), AudioVerdict::Forward(None));
    }
}
