//! Each reason, and that the first which applies is told.

use super::super::testing::{World, height, names, rvc, with_bitrates};
use super::super::{LayerView, allocate};
use super::Reason;
use crate::channel::ReceiverVideoConstraints;
use crate::media::VideoType;
use crate::units::Bitrate;

/// What everything is given of which there is too little.
const NARROW: u64 = 400;

fn wanting(max_height: i32, on_stage: &str) -> ReceiverVideoConstraints {
    ReceiverVideoConstraints {
        on_stage_sources: Some(names(on_stage)),
        default_constraints: Some(height(max_height)),
        ..rvc()
    }
}

/// Reasons in the order of the sources' names.
fn reasons(world: &World, kbps: impl Into<Option<u64>>) -> Vec<Reason> {
    let bandwidth = kbps.into().map(Bitrate::kbps);
    let allocation = allocate(&world.config, &world.settings, &world.views(), bandwidth);
    let mut reasons: Vec<_> = allocation
        .entries
        .iter()
        .map(|entry| (entry.position, entry.reason))
        .collect();
    reasons.sort_by_key(|(position, _)| *position);
    reasons.into_iter().map(|(_, reason)| reason).collect()
}

#[test]
fn all_that_there_is() {
    assert_eq!(
        reasons(&World::new("a", wanting(720, "")), None),
        [Reason::Best]
    );
}

#[test]
fn the_constraint_excludes_more() {
    let world = World::new("a b", wanting(180, ""));
    assert_eq!(reasons(&world, None), [Reason::Constraint; 2]);
}

#[test]
fn the_bandwidth_does_not_suffice() {
    let world = World::new("a b", wanting(720, ""));
    assert_eq!(reasons(&world, NARROW), [Reason::Bandwidth; 2]);
}

#[test]
fn a_source_on_stage_comes_first() {
    let world = World::new("a b", wanting(720, "a"));
    assert_eq!(reasons(&world, NARROW), [Reason::Bandwidth, Reason::Stage]);
}

#[test]
fn a_screen_on_stage_is_sent_beyond_the_bandwidth() {
    let mut world = World::new("a b", wanting(-1, "a"));
    world.source("a").video_type = VideoType::Desktop;
    assert_eq!(reasons(&world, 100)[0], Reason::Oversending);
}

#[test]
fn nothing_is_wanted_and_that_comes_before_last_n() {
    let message = ReceiverVideoConstraints {
        last_n: Some(0),
        ..wanting(0, "")
    };
    assert_eq!(
        reasons(&World::new("a", message), None),
        [Reason::NotWanted]
    );
}

#[test]
fn others_come_first_within_last_n() {
    let message = ReceiverVideoConstraints {
        last_n: Some(1),
        ..wanting(720, "")
    };
    let world = World::new("a b", message);
    assert_eq!(reasons(&world, None), [Reason::Best, Reason::LastN]);
}

#[test]
fn its_owner_switched_it_off() {
    let mut world = World::new("a", wanting(720, ""));
    world.source("a").video_type = VideoType::None;
    assert_eq!(reasons(&world, None), [Reason::SwitchedOff]);
}

#[test]
fn no_layer_is_sent() {
    let mut world = World::new("a", wanting(720, ""));
    let layers: Vec<LayerView> = world.sources[0].layers.clone();
    let silent = vec![0; layers.len()];
    world.source("a").layers = with_bitrates(layers, &silent);
    assert_eq!(reasons(&world, None), [Reason::Silent]);
}
