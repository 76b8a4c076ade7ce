//! What happened to an endpoint lately, for whoever has to find out afterwards.
//!
//! Workers keep what they notice in a [`Notebook`] until the control plane collects it with the statistics, once a
//! second; the control plane keeps it, with what it sees itself, in a [`Timeline`]. Both are bounded by entries, the
//! second one also by age, and take no memory before something happens. Nothing here is touched by a packet: workers
//! notice in timers, allocations and feedback, and when a keyframe that was asked for begins.

mod sample;

pub use self::sample::{Sample, Samples, Totals};

use std::collections::VecDeque;
use std::time::Duration;

use crate::allocation::Reason;
use crate::config::TimelineConfig;
use crate::ids::{Path, SourceName};
use crate::limits;
use crate::media::VideoType;
use crate::time::Time;
use crate::transport::secure::FailureReason;

/// Repetitions of a keyframe request within this time are one entry.
const REPEATED: Duration = Duration::from_secs(1);
/// An estimate is worth an entry when it differs by more than this share from the last one that was.
const ESTIMATE_CHANGE: f64 = 0.1;

/// A transport of the bridge channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelKind {
    /// A websocket.
    WebSocket,
    /// A data channel.
    DataChannel,
}

/// Why a stream that should be sent stands still.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stall {
    /// No path with consent, or no keys.
    NotConnected,
    /// No packets of the source arrive.
    NoPackets,
    /// The source has not sent the keyframe from which the stream could go on.
    NoKeyframe,
    /// The receiver did not negotiate the codec that the source is sent in.
    Codec,
    /// Packets arrive, but none of a layer that may be sent.
    NoLayer,
}

/// What became of an allocation for one source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// Which source.
    pub source: SourceName,
    /// Layer index if bandwidth were unlimited; −1 = none.
    pub ideal: i32,
    /// Layer index that is sent; −1 = none.
    pub target: i32,
    /// Height of that layer; −1 = unknown or none.
    pub height: i32,
    /// Why not more.
    pub reason: Reason,
    /// Bandwidth that was given out in all, kbit/s; `u32::MAX` = without limit.
    pub bandwidth_kbps: u32,
    /// The estimate is higher, but a rise counts only when it lasted.
    pub held: bool,
}

/// What can happen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// The endpoint was created.
    Created,
    /// ICE has its first usable path.
    IceConnected(Path),
    /// Media goes on another path now.
    PathChanged(Path),
    /// The peer answers no more: nothing is sent.
    ConsentLost,
    /// It answers again.
    ConsentRegained,
    /// No path within the time limit.
    IceFailed,
    /// An ICE restart of that generation began.
    IceRestart(u32),
    /// It ended; true = its paths are used now.
    IceRestartEnded(u32, bool),
    /// Media keys exist.
    DtlsConnected,
    /// No media keys.
    DtlsFailed(FailureReason),
    /// The bridge channel opened.
    ChannelOpened(ChannelKind),
    /// It closed.
    ChannelClosed(ChannelKind),
    /// Something came lately (true), or nothing for long.
    Active(bool),
    /// The endpoint announced so many sources.
    Announced(u16),
    /// It says what its source shows.
    VideoType(SourceName, VideoType),
    /// A moderator muted these kinds, or none.
    ForceMuted {
        /// Audio.
        audio: bool,
        /// Video.
        video: bool,
    },
    /// It asked for other video; so many sources on stage, and selected.
    Wishes {
        /// Its last-n, if the message had one.
        last_n: Option<i32>,
        /// Height for sources that are not named, if the message had one.
        default_height: Option<i32>,
        /// Sources on stage.
        on_stage: u16,
        /// Sources selected.
        selected: u16,
    },
    /// It was told the largest height that anybody wants of its source; −1 = no limit.
    SenderConstraint(SourceName, i32),
    /// The bandwidth towards it, bits per second.
    Estimate(u64),
    /// What it is to get of a source changed, or why.
    Allocated(Decision),
    /// What it is sent of a source is another layer now: index before and after, −1 = nothing.
    Switched(SourceName, i32, i32),
    /// It needs a keyframe of a source; so many times.
    KeyframeWanted(SourceName, u32),
    /// It was asked for a keyframe of its source; so many times.
    KeyframeRequested(SourceName, u32),
    /// The keyframe came that it was asked for.
    KeyframeCame(SourceName),
    /// Nothing of a source could be sent for a while.
    Stalled(SourceName, Stall),
    /// It goes on, after so many milliseconds.
    Resumed(SourceName, u32),
}

impl What {
    /// Takes `other` in, if it is the same once more.
    fn repeat(&mut self, other: &What) -> bool {
        match (self, other) {
            (What::KeyframeWanted(source, count), What::KeyframeWanted(same, more))
            | (What::KeyframeRequested(source, count), What::KeyframeRequested(same, more))
                if source == same =>
            {
                *count = count.saturating_add(*more);
                true
            }
            _ => false,
        }
    }
}

/// Something that happened, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Happened {
    /// Monotonic time of the bridge.
    pub at: Time,
    /// What.
    pub what: What,
}

/// What a worker noticed about an endpoint and nobody collected yet.
#[derive(Clone, Default, Debug)]
pub struct Notebook {
    noted: Vec<Happened>,
    missed: u32,
}

impl Notebook {
    /// Notes something, unless there is no room for it.
    pub fn note(&mut self, now: Time, what: What) {
        let mut recent = self.noted.iter_mut().rev();
        if recent
            .by_ref()
            .take_while(|known| now.since(known.at) < REPEATED)
            .any(|known| known.what.repeat(&what))
        {
            return;
        }
        if self.noted.len() < limits::TIMELINE_NOTES {
            self.noted.push(Happened { at: now, what });
        } else {
            self.missed = self.missed.saturating_add(1);
        }
    }

    /// What was noted, and how much more there was; leaves it empty.
    pub fn take(&mut self) -> (Vec<Happened>, u32) {
        (
            std::mem::take(&mut self.noted),
            std::mem::take(&mut self.missed),
        )
    }
}

/// The memory of one endpoint.
#[derive(Clone, Default, Debug)]
pub struct Timeline {
    events: VecDeque<(u32, Happened)>,
    samples: Samples,
    /// Number of the next entry, events and samples alike.
    next: u32,
    missed: u64,
    estimate: Option<u64>,
}

impl Timeline {
    /// Notes something. What is too old or too much is forgotten.
    pub fn note(&mut self, config: &TimelineConfig, at: Time, what: What) {
        let most = config.entries / 2;
        if most == 0 {
            return;
        }
        while self.events.len() >= most {
            self.events.pop_front();
        }
        self.expire(config, at);
        self.events.push_back((self.next, Happened { at, what }));
        self.next = self.next.wrapping_add(1);
    }

    /// Forgets what is too old at `now`.
    pub fn expire(&mut self, config: &TimelineConfig, now: Time) {
        while self
            .events
            .front()
            .is_some_and(|(_, oldest)| now.since(oldest.at) > config.max_age)
        {
            self.events.pop_front();
        }
        self.samples.expire(config, now);
        if self.events.capacity() > 16 && self.events.len() < self.events.capacity() / 4 {
            self.events.shrink_to(self.events.len() * 2);
        }
    }

    /// Takes in what a worker noted.
    pub fn take_in(&mut self, config: &TimelineConfig, noted: Vec<Happened>, missed: u32) {
        self.missed += u64::from(missed);
        for Happened { at, what } in noted {
            self.note(config, at, what);
        }
    }

    /// Takes note of the estimate if it changed by more than a tenth since it was last noted. To be called about
    /// once a second.
    pub fn note_estimate(&mut self, config: &TimelineConfig, now: Time, bps: u64) {
        let before = self.estimate.unwrap_or(0) as f64;
        if (bps as f64 - before).abs() > ESTIMATE_CHANGE * before {
            self.estimate = Some(bps);
            self.note(config, now, What::Estimate(bps));
        }
    }

    /// Takes note of what was counted until now. To be called about once a second.
    pub fn sample(&mut self, config: &TimelineConfig, now: Time, totals: Totals) {
        let most = config.entries / 2;
        if self.samples.take(most, now, totals, self.next) {
            self.next = self.next.wrapping_add(1);
        }
    }

    /// What happened from entry number `since` on, in the order of time.
    pub fn events(&self, since: u32) -> Vec<(u32, &Happened)> {
        let late = self.events.iter().filter(|(number, _)| *number >= since);
        let mut late: Vec<_> = late.map(|(number, it)| (*number, it)).collect();
        late.sort_by_key(|(number, it)| (it.at, *number));
        late
    }

    /// Figures from entry number `since` on, in the order of time.
    pub fn samples(&self, since: u32) -> impl Iterator<Item = (u32, &Sample)> {
        self.samples.since(since)
    }

    /// Number that the next entry will have.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// What workers noticed and had no room for.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests;
