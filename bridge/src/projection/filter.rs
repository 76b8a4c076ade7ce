//! Which frames pass: the choice of the encoding and of temporal layers (media-plane spec §3.4,
//! allocation spec §10).
//!
//! A keyframe request makes an encoder emit one keyframe per encoding close together, a *keyframe
//! group*. The filter takes the lowest of the group that comes and moves towards the target within it.

use std::cmp::Ordering;
use std::time::Duration;

use super::LayerIndex;
use crate::time::Time;

/// A keyframe that comes later than this after the first of a group begins a new group.
const KEYFRAME_GROUP: Duration = Duration::from_millis(300);
/// An encoding without keyframe knowledge is given up for a lower one after this long without a packet.
const STALE: Duration = Duration::from_secs(1);

/// How a frame whose encoding passes comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    /// As a keyframe, from which its encoding is sent.
    Keyframe,
    /// Its encoding is sent until the greater one that is wanted has a keyframe.
    Below,
    /// Its encoding is wanted.
    Wanted,
    /// Its encoding is sent until the lesser one that is wanted has a keyframe.
    Above,
}

#[derive(Debug)]
pub(super) struct QualityFilter {
    target: LayerIndex,
    current: Option<u8>,
    /// When the current encoding began to be sent.
    since: Option<Time>,
    needs_keyframe: bool,
    /// First keyframe of the current group.
    group: Option<Time>,
    /// Last packet of the current encoding; kept for codecs without keyframe knowledge only.
    seen: Time,
    /// A stream whose keyframes can not be seen just began: ask once.
    blind_start: bool,
}

impl QualityFilter {
    pub(super) fn new() -> QualityFilter {
        QualityFilter {
            target: LayerIndex::SUSPENDED,
            current: None,
            since: None,
            needs_keyframe: false,
            group: None,
            seen: Time::ZERO,
            blind_start: false,
        }
    }

    /// Forgets what was forwarded; the target stays.
    pub(super) fn restart(&mut self) {
        let target = self.target;
        *self = QualityFilter::new();
        self.set_target(target);
    }

    pub(super) fn target(&self) -> LayerIndex {
        self.target
    }

    pub(super) fn current(&self) -> Option<u8> {
        self.current
    }

    /// When the encoding began that is or was last sent.
    pub(super) fn since(&self) -> Option<Time> {
        self.since
    }

    pub(super) fn needs_keyframe(&self) -> bool {
        !self.target.is_suspended() && (self.needs_keyframe || self.blind_start)
    }

    pub(super) fn set_target(&mut self, target: LayerIndex) {
        let changed = target.encoding() != self.target.encoding();
        self.target = target;
        match target.encoding() {
            None => {
                self.current = None;
                self.needs_keyframe = false;
            }
            // Back before the switch took place: nothing to switch any more.
            encoding if changed => self.needs_keyframe = self.current != encoding,
            _ => {}
        }
    }

    /// The current encoding can not be decoded any further.
    pub(super) fn lose(&mut self) {
        self.current = None;
        self.needs_keyframe = true;
    }

    /// What was sent can not be gone on with as wanted.
    pub(super) fn want_keyframe(&mut self) {
        self.needs_keyframe = true;
    }

    /// Decides by temporal layer about a frame on its first packet.
    pub(super) fn admit(
        &mut self,
        now: Time,
        encoding: u8,
        keyframe: bool,
        temporal_id: u8,
    ) -> bool {
        match self.enter(now, encoding, keyframe) {
            None => false,
            Some(Entry::Keyframe | Entry::Below) => true,
            Some(Entry::Wanted) => temporal_id <= self.target.temporal(),
            Some(Entry::Above) => temporal_id == 0,
        }
    }

    /// Decides by encoding about a frame on its first packet.
    pub(super) fn enter(&mut self, now: Time, encoding: u8, keyframe: bool) -> Option<Entry> {
        let target = self.target.encoding()?;
        let group_over = self
            .group
            .is_none_or(|start| now.since(start) > KEYFRAME_GROUP);
        if keyframe {
            self.needs_keyframe = false;
            let accept = if group_over {
                self.group = Some(now);
                encoding <= target
            } else {
                match self.current {
                    Some(current) if current > target => encoding <= target,
                    Some(current) => current <= encoding && encoding <= target,
                    None => encoding <= target,
                }
            };
            if accept {
                if self.current != Some(encoding) {
                    self.since = Some(now);
                }
                self.current = Some(encoding);
                return Some(Entry::Keyframe);
            }
            if self.current == Some(encoding) {
                // What follows refers to the keyframe that is being refused here.
                self.current = None;
            }
            return None;
        }
        let Some(current) = self.current else {
            // The group brought nothing that fits, or was lost.
            self.needs_keyframe |= group_over;
            return None;
        };
        let towards_target =
            (encoding > current && current < target) || (encoding < current && current > target);
        if group_over && towards_target {
            self.needs_keyframe = true;
        }
        if encoding != current {
            return None;
        }
        Some(match current.cmp(&target) {
            Ordering::Less => Entry::Below,
            Ordering::Equal => Entry::Wanted,
            Ordering::Greater => Entry::Above,
        })
    }

    /// Decides about a packet of a codec that nobody here can read. One encoding at a time, as close to
    /// the target as what arrives; since keyframes can not be seen, one is asked for at each start.
    pub(super) fn admit_blind(&mut self, now: Time, encoding: u8) -> bool {
        self.blind_start = false;
        let Some(target) = self.target.encoding() else {
            return false;
        };
        let accept = match self.current {
            None => encoding <= target,
            Some(current) if current == encoding => true,
            Some(current) => {
                let closer = current < encoding || target < current;
                encoding <= target && (closer || now.since(self.seen) > STALE)
            }
        };
        if accept {
            self.seen = now;
            if self.current != Some(encoding) {
                self.since = Some(now);
                self.current = Some(encoding);
                self.blind_start = true;
                self.needs_keyframe = false;
            }
        }
        accept
    }
}
