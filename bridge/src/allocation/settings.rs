//! What a receiver asked for (allocation spec §3).

use std::collections::BTreeMap;

use crate::channel::{ReceiverVideoConstraints, VideoConstraints};
use crate::config::AllocationConfig;
use crate::ids::SourceName;
use crate::units::Bitrate;

/// A receiver's wishes, kept over its messages.
#[derive(Clone, Debug)]
pub struct ReceiverSettings {
    on_stage: Vec<SourceName>,
    selected: Vec<SourceName>,
    constraints: BTreeMap<SourceName, VideoConstraints>,
    default: VideoConstraints,
    last_n: i32,
    assumed_bandwidth: Option<Bitrate>,
    /// A `ReceiverVideoConstraints` came.
    ever_set: bool,
    /// The selected list as (name, rank), by name: on-stage sources, then the other selected ones.
    ranks: Vec<(SourceName, u32)>,
    on_stage_ranks: u32,
    /// Default once the receiver has spoken.
    default_max_height: i32,
    assumed_bandwidth_limit: Option<Bitrate>,
}

/// Place of a source in the selected list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Priority {
    /// 0 = most important.
    pub rank: u32,
    /// Named in `onStageSources`.
    pub on_stage: bool,
}

impl ReceiverSettings {
    /// Of a receiver that has not said anything yet.
    pub fn new(config: &AllocationConfig) -> ReceiverSettings {
        ReceiverSettings {
            on_stage: Vec::new(),
            selected: Vec::new(),
            constraints: BTreeMap::new(),
            default: unlimited_rate(config.initial_max_height),
            last_n: config.initial_last_n.max(-1),
            assumed_bandwidth: None,
            ever_set: false,
            ranks: Vec::new(),
            on_stage_ranks: 0,
            default_max_height: config.default_max_height,
            assumed_bandwidth_limit: config.assumed_bandwidth_limit,
        }
    }

    /// Takes a message in; true if anything changed, so that the allocator must run.
    pub fn apply(&mut self, message: &ReceiverVideoConstraints) -> bool {
        let mut changed = false;
        if let Some(last_n) = message.last_n {
            changed |= self.set_last_n(last_n);
        }
        let mut lists_changed = replace(&mut self.on_stage, message.on_stage_sources.as_ref());
        lists_changed |= replace(&mut self.selected, message.selected_sources.as_ref());
        if lists_changed {
            self.rank();
        }
        changed |= lists_changed;
        changed |= replace(&mut self.constraints, message.constraints.as_ref());
        let first_default = unlimited_rate(self.default_max_height);
        let default = message.default_constraints.as_ref();
        changed |= replace(
            &mut self.default,
            default.or((!self.ever_set).then_some(&first_default)),
        );
        if let (Some(bps), Some(limit)) =
            (message.assumed_bandwidth_bps, self.assumed_bandwidth_limit)
        {
            let assumed = u64::try_from(bps)
                .ok()
                .map(|bps| Bitrate::bps(bps).min(limit));
            changed |= replace(&mut self.assumed_bandwidth, Some(&assumed));
        }
        self.ever_set = true;
        changed
    }

    /// `LastNChangedEvent`; true if it is a change. Every negative value means "no limit".
    pub fn set_last_n(&mut self, last_n: i32) -> bool {
        replace(&mut self.last_n, Some(&last_n.max(-1)))
    }

    /// `initial-last-n` from signaling, which has no effect once the receiver spoke for itself; true if it
    /// is a change.
    pub fn set_initial_last_n(&mut self, last_n: i32) -> bool {
        !self.ever_set && self.set_last_n(last_n)
    }

    /// Number of video sources at most; −1 = no limit.
    pub fn last_n(&self) -> i32 {
        self.last_n
    }

    /// Bandwidth that the receiver wants assumed, if it may.
    pub fn assumed_bandwidth(&self) -> Option<Bitrate> {
        self.assumed_bandwidth
    }

    /// What the receiver wants of a source.
    pub fn constraints(&self, source: &SourceName) -> VideoConstraints {
        self.constraints
            .get(source)
            .copied()
            .unwrap_or(self.default)
    }

    /// The height wanted of a source: −1 = no limit, 0 = nothing. A frame rate of 0 is no video either.
    pub fn wanted_height(&self, source: &SourceName) -> i32 {
        let constraints = self.constraints(source);
        if constraints.max_frame_rate == 0.0 {
            0
        } else {
            constraints.max_height.max(-1)
        }
    }

    /// The source's place in the selected list, if it is in it.
    pub fn priority(&self, source: &SourceName) -> Option<Priority> {
        let at = self
            .ranks
            .binary_search_by(|(name, _)| name.cmp(source))
            .ok()?;
        let (_, rank) = self.ranks.get(at)?;
        Some(Priority {
            rank: *rank,
            on_stage: *rank < self.on_stage_ranks,
        })
    }

    /// Names on stage, most important first.
    pub fn on_stage_sources(&self) -> &[SourceName] {
        &self.on_stage
    }

    /// Whether the source is on stage or selected.
    pub fn is_selected(&self, source: &SourceName) -> bool {
        self.priority(source).is_some()
    }

    fn rank(&mut self) {
        self.ranks.clear();
        self.ranks
            .extend(self.on_stage.iter().chain(&self.selected).cloned().zip(0..));
        // Of several places of a name the first counts.
        self.ranks.sort_unstable();
        self.ranks.dedup_by(|later, earlier| later.0 == earlier.0);
        self.on_stage_ranks = self.on_stage.len() as u32;
    }
}

fn unlimited_rate(max_height: i32) -> VideoConstraints {
    VideoConstraints {
        max_height,
        max_frame_rate: -1.0,
    }
}

/// Puts a copy of `new` into `field` if it differs.
fn replace<T: Clone + PartialEq>(field: &mut T, new: Option<&T>) -> bool {
    match new {
        Some(new) if new != field => {
            field.clone_from(new);
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{names, rvc};
    use super::*;

    fn settings() -> ReceiverSettings {
        ReceiverSettings::new(&AllocationConfig::default())
    }

    #[test]
    fn allocation_case_1_a_receiver_that_never_spoke_wants_nothing() {
        assert_eq!(settings().wanted_height(&"A-v0".into()), 0);
    }

    #[test]
    fn allocation_case_2_the_first_message_sets_the_default() {
        let mut settings = settings();
        assert!(settings.apply(&rvc()));
        assert_eq!(settings.wanted_height(&"A-v0".into()), 180);
        assert!(!settings.apply(&rvc()));
    }

    #[test]
    fn allocation_case_3_last_n_alone_leaves_the_default() {
        let mut settings = settings();
        assert!(settings.set_last_n(3));
        assert_eq!(settings.last_n(), 3);
        assert_eq!(settings.wanted_height(&"A-v0".into()), 0);
        assert!(
            settings.apply(&rvc()),
            "it did not count as the first message"
        );
        assert_eq!(settings.wanted_height(&"A-v0".into()), 180);
    }

    #[test]
    fn allocation_case_4_signaling_does_not_override_the_receiver() {
        let mut settings = settings();
        assert!(settings.set_initial_last_n(2));
        settings.apply(&rvc());
        assert!(!settings.set_initial_last_n(5));
        assert_eq!(settings.last_n(), 2);
    }

    #[test]
    fn allocation_case_5_a_message_without_default_keeps_it() {
        let mut settings = settings();
        settings.apply(&ReceiverVideoConstraints {
            default_constraints: Some(unlimited_rate(720)),
            ..rvc()
        });
        settings.apply(&ReceiverVideoConstraints {
            last_n: Some(1),
            ..rvc()
        });
        assert_eq!(settings.wanted_height(&"A-v0".into()), 720);
        assert_eq!(settings.last_n(), 1);
    }

    /// Allocation spec Q5.
    #[test]
    fn q5_every_negative_last_n_means_no_limit() {
        let mut settings = settings();
        assert!(!settings.set_last_n(-5));
        assert_eq!(settings.last_n(), -1);
    }

    #[test]
    fn lists_and_maps_are_replaced_as_a_whole_and_compared_by_value() {
        let mut settings = settings();
        let first = ReceiverVideoConstraints {
            selected_sources: Some(names("b a")),
            on_stage_sources: Some(names("c a c")),
            constraints: Some([("a".into(), unlimited_rate(360))].into()),
            ..rvc()
        };
        assert!(settings.apply(&first));
        assert!(!settings.apply(&first.clone()));
        assert_eq!(
            settings.priority(&"c".into()),
            Some(Priority {
                rank: 0,
                on_stage: true
            })
        );
        assert_eq!(
            settings.priority(&"a".into()),
            Some(Priority {
                rank: 1,
                on_stage: true
            })
        );
        assert_eq!(
            settings.priority(&"b".into()),
            Some(Priority {
                rank: 3,
                on_stage: false
            })
        );
        assert_eq!(settings.priority(&"x".into()), None);

        let reordered = ReceiverVideoConstraints {
            on_stage_sources: Some(names("a c")),
            ..rvc()
        };
        assert!(settings.apply(&reordered), "order matters");
        let emptied = ReceiverVideoConstraints {
            constraints: Some(BTreeMap::new()),
            ..rvc()
        };
        assert!(settings.apply(&emptied));
        assert_eq!(settings.wanted_height(&"a".into()), 180);
    }

    #[test]
    fn allocation_case_33_a_receiver_may_assume_bandwidth_only_up_to_a_configured_limit() {
        let ask = |bps| ReceiverVideoConstraints {
            assumed_bandwidth_bps: Some(bps),
            ..rvc()
        };
        let mut settings = settings();
        settings.apply(&rvc());
        assert!(!settings.apply(&ask(9_000_000)));
        assert_eq!(settings.assumed_bandwidth(), None);

        let mut settings = ReceiverSettings::new(&AllocationConfig {
            assumed_bandwidth_limit: Some(Bitrate::kbps(10_000)),
            ..AllocationConfig::default()
        });
        settings.apply(&ask(9_000_000));
        assert_eq!(settings.assumed_bandwidth(), Some(Bitrate::kbps(9_000)));
        settings.apply(&ask(20_000_000));
        assert_eq!(settings.assumed_bandwidth(), Some(Bitrate::kbps(10_000)));
        settings.apply(&ask(-1));
        assert_eq!(settings.assumed_bandwidth(), None);
    }
}
