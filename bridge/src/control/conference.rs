//! One conference as the control plane sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::{Span, error_span};

use super::api::{ConferenceOptions, ControlError, NewSource};
use super::exports::Exports;

use crate::allocation::{SenderConstraints, SpeechOrder};
use crate::channel::FanOutBudget;
use crate::ids::{ConferenceKey, EndpointId, EndpointKey, SourceKey, SourceName, WorkerId};
use crate::limits::MAX_INACTIVE_ABSENT;
use crate::media::SourceDescription;
use crate::messages::ConferenceSetup;
use crate::time::Time;

/// Time between two warnings about dropped messages.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// A conference: who is in it, on which workers, and who owns which SSRC and source name.
pub(super) struct Conference {
    pub(super) key: ConferenceKey,
    /// Log lines about it belong here: they get its ids, whatever their level.
    pub(super) span: Span,
    pub(super) options: ConferenceOptions,
    pub(super) created: Time,
    /// Shown to collectors of statistics.
    pub(super) rtcstats: bool,
    pub(super) audio_ssrc: u32,
    pub(super) video_ssrc: u32,
    /// Worker that detects its dominant speaker; has a shard for as long as the conference lives.
    pub(super) home: WorkerId,
    /// Workers that have a shard, and how many endpoints each serves.
    pub(super) shards: BTreeMap<WorkerId, usize>,
    pub(super) members: BTreeMap<EndpointId, EndpointKey>,
    /// First owner keeps an SSRC (T33).
    ssrcs: BTreeMap<u32, EndpointKey>,
    names: BTreeMap<SourceName, EndpointKey>,
    /// Owners of signaled sources.
    owners: BTreeMap<SourceKey, EndpointKey>,
    pub(super) speech: SpeechOrder,
    /// Order as the shards know it.
    pub(super) order: Arc<[EndpointKey]>,
    pub(super) silence: bool,
    pub(super) constraints: SenderConstraints,
    /// Ids announced as inactive; survives the endpoint, so that one who returns is announced active.
    pub(super) inactive: BTreeSet<EndpointId>,
    /// What forwarding clients' messages may cost (T54).
    pub(super) fan_out: FanOutBudget,
    /// Media exports that run.
    pub(super) exports: Exports,
    warned: Option<Time>,
}

impl Conference {
    pub(super) fn new(
        now: Time,
        key: ConferenceKey,
        options: ConferenceOptions,
        home: WorkerId,
        (audio_ssrc, video_ssrc): (u32, u32),
        recent_speakers: usize,
    ) -> Conference {
        let name = options.name.as_deref().map(str::escape_debug);
        let span = error_span!(
            "conference",
            conf = %key,
            conf_name = name.map(tracing::field::display),
            meeting = %options.meeting_id,
        );
        Conference {
            key,
            span,
            options,
            created: now,
            rtcstats: true,
            audio_ssrc,
            video_ssrc,
            home,
            shards: BTreeMap::from([(home, 0)]),
            members: BTreeMap::new(),
            ssrcs: BTreeMap::new(),
            names: BTreeMap::new(),
            owners: BTreeMap::new(),
            speech: SpeechOrder::new(recent_speakers),
            order: Arc::new([]),
            silence: false,
            constraints: SenderConstraints::default(),
            inactive: BTreeSet::new(),
            fan_out: FanOutBudget::new(),
            exports: Exports::new(),
            warned: None,
        }
    }

    /// What its shards must know.
    pub(super) fn setup(&self) -> ConferenceSetup {
        ConferenceSetup {
            key: self.key,
            meeting_id: self.options.meeting_id.clone(),
            shards: self.shards.keys().copied().collect(),
            home: self.home,
            audio_ssrc: self.audio_ssrc,
            video_ssrc: self.video_ssrc,
        }
    }

    /// Where the next endpoint goes: the home worker, then others that have room, and only when all are
    /// full a further worker, or, when there is none, the least loaded one. `loads` counts all endpoints
    /// of each worker.
    pub(super) fn place(&self, loads: &[usize], spill_after: usize) -> WorkerId {
        let load = |worker: &WorkerId| {
            (
                loads
                    .get(usize::from(worker.0))
                    .copied()
                    .unwrap_or(usize::MAX),
                worker.0,
            )
        };
        let room = |worker: &WorkerId| {
            self.shards
                .get(worker)
                .is_some_and(|count| *count < spill_after.max(1))
        };
        if room(&self.home) {
            return self.home;
        }
        let all = || {
            (0..loads.len())
                .filter_map(|index| u8::try_from(index).ok())
                .map(WorkerId)
        };
        self.shards
            .keys()
            .copied()
            .filter(|worker| room(worker))
            .min_by_key(load)
            .or_else(|| {
                all()
                    .filter(|worker| !self.shards.contains_key(worker))
                    .min_by_key(load)
            })
            .or_else(|| all().min_by_key(load))
            .unwrap_or(self.home)
    }

    /// The owner of a signaled source.
    pub(super) fn owner(&self, source: SourceKey) -> Option<EndpointKey> {
        self.owners.get(&source).copied()
    }

    /// The endpoint that has a source of that name.
    pub(super) fn owner_of_name(&self, name: &SourceName) -> Option<EndpointKey> {
        self.names.get(name).copied()
    }

    /// Whether some endpoint has that source.
    pub(super) fn is_signaled(&self, source: SourceKey) -> bool {
        self.owners.contains_key(&source)
    }

    /// Whether `endpoint`, or a new one, may have these sources in place of what it has: nothing that belongs to
    /// somebody else (T33).
    pub(super) fn check_owners(
        &self,
        endpoint: Option<EndpointKey>,
        sources: &[NewSource],
    ) -> Result<(), ControlError> {
        let foreign = |owner: Option<&EndpointKey>| owner.is_some() && owner != endpoint.as_ref();
        for source in sources {
            if foreign(self.names.get(&source.name)) {
                return Err(ControlError::Invalid(
                    "A source name belongs to another endpoint of the conference",
                ));
            }
            for ssrc in source.ssrcs() {
                if ssrc == self.audio_ssrc || ssrc == self.video_ssrc {
                    return Err(ControlError::Invalid(
                        "An SSRC is the bridge's own; choose another",
                    ));
                }
                if foreign(self.ssrcs.get(&ssrc)) {
                    return Err(ControlError::Invalid(
                        "An SSRC belongs to another endpoint of the conference",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Moves the ownership tables from an endpoint's old sources to its new ones.
    pub(super) fn replace_sources(
        &mut self,
        endpoint: EndpointKey,
        old: &[SourceDescription],
        new: &[SourceDescription],
    ) {
        for source in old {
            self.names.remove(&source.name);
            self.owners.remove(&source.key);
            for ssrc in ssrcs(source) {
                self.ssrcs.remove(&ssrc);
            }
        }
        for source in new {
            self.names.insert(source.name.clone(), endpoint);
            self.owners.insert(source.key, endpoint);
            self.ssrcs
                .extend(ssrcs(source).map(|ssrc| (ssrc, endpoint)));
        }
    }

    /// Notes what a worker says about an endpoint's connectivity; true if everybody must be told.
    pub(super) fn set_active(&mut self, id: &EndpointId, active: bool) -> bool {
        if active {
            return self.inactive.remove(id);
        }
        if self.inactive.len() >= self.members.len() + MAX_INACTIVE_ABSENT {
            let members = &self.members;
            self.inactive.retain(|id| members.contains_key(id));
        }
        self.inactive.insert(id.clone())
    }

    /// Whether to warn about dropped messages: at most once a minute.
    pub(super) fn worth_a_warning(&mut self, now: Time) -> bool {
        let quiet = self
            .warned
            .is_none_or(|warned| now.since(warned) >= WARN_INTERVAL);
        if quiet {
            self.warned = Some(now);
        }
        quiet
    }

    /// Whether nothing is left in the ownership tables.
    #[cfg(test)]
    pub(super) fn owns_nothing(&self) -> bool {
        self.ssrcs.is_empty() && self.names.is_empty() && self.owners.is_empty()
    }
}

fn ssrcs(source: &SourceDescription) -> impl Iterator<Item = u32> + '_ {
    source
        .encodings
        .iter()
        .flat_map(|encoding| [Some(encoding.ssrc), encoding.rtx_ssrc])
        .flatten()
}
