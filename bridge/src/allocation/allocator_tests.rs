//! Allocation spec cases 6 to 40 and the tables of §7.7.

use proptest::prelude::*;

use super::super::testing::{Source, World, height, names, rvc, with_bitrates};
use super::super::{initial_layers, layer_index};
use super::*;
use crate::channel::{ReceiverVideoConstraints, VideoConstraints};
use crate::ids::SourceName;

impl World {
    fn allocate(&self, kbps: impl Into<Option<u64>>) -> Allocation {
        let bandwidth = kbps.into().map(Bitrate::kbps);
        allocate(&self.config, &self.settings, &self.views(), bandwidth)
    }

    /// `name:height` of all sources, most important first.
    fn effective(&self) -> String {
        let allocation = self.allocate(None);
        let texts = allocation
            .entries
            .iter()
            .map(|entry| format!("{}:{}", self.sources[entry.position].name, entry.max_height));
        texts.collect::<Vec<_>>().join(" ")
    }

    /// What every source gets in the order of the world, such as `360/30 180/7.5 –`.
    fn shown(&self, kbps: impl Into<Option<u64>>) -> String {
        let allocation = self.allocate(kbps);
        let mut texts = vec![String::from("?"); self.sources.len()];
        for entry in &allocation.entries {
            let layers = &self.sources[entry.position].layers;
            let layer = layers.iter().find(|layer| layer.index == entry.target);
            texts[entry.position] = layer.map_or(String::from("–"), |layer| {
                format!("{}/{}", layer.height, layer.frame_rate)
            });
        }
        if allocation.oversending {
            texts.push(String::from("oversending"));
        }
        texts.join(" ")
    }

    /// Indices of what comes into question for the first source.
    fn candidates(&self, on_stage: bool) -> (Vec<i32>, Option<i32>) {
        let source = self.sources[0].view();
        let max_height = self.settings.wanted_height(source.name);
        let mut layers = Vec::new();
        let found = candidates::find(&self.config, &source, max_height, on_stage, &mut layers);
        let indices: Vec<i32> = layers[found.range.clone()]
            .iter()
            .map(|l| l.index)
            .collect();
        let preferred = found.preferred.map(|at| indices[at]);
        (indices, preferred)
    }
}

fn default_height(max_height: i32) -> ReceiverVideoConstraints {
    ReceiverVideoConstraints {
        default_constraints: Some(height(max_height)),
        ..rvc()
    }
}

/// These sources on stage with this height, and 180 for the others.
fn stage(on_stage: &str, max_height: i32) -> ReceiverVideoConstraints {
    let on_stage = names(on_stage);
    ReceiverVideoConstraints {
        constraints: Some(
            on_stage
                .iter()
                .cloned()
                .map(|name| (name, height(max_height)))
                .collect(),
        ),
        on_stage_sources: Some(on_stage),
        default_constraints: Some(height(180)),
        ..rvc()
    }
}

fn constraints(list: &[(&str, i32)]) -> ReceiverVideoConstraints {
    let map = list
        .iter()
        .map(|(name, max)| (SourceName::from(*name), height(*max)));
    ReceiverVideoConstraints {
        constraints: Some(map.collect()),
        ..default_height(0)
    }
}

/// Walks the bandwidth up in steps of 5 kbit/s and checks that what is shown changes exactly where
/// `rows` say, and into what they say.
fn check_table(world: &World, up_to: u64, rows: &[(u64, &str)]) {
    let mut rows = rows.iter().peekable();
    let mut expected = "";
    for kbps in (0..=up_to).step_by(5) {
        while let Some((_, row)) = rows.next_if(|(from, _)| *from <= kbps) {
            expected = row;
        }
        assert_eq!(world.shown(kbps), expected, "at {kbps} kbit/s");
    }
    assert_eq!(rows.next(), None, "rows beyond the walk");
}

// ---- last-n and constraints -----------------------------------------------------------------------

#[test]
fn allocation_case_1_without_constraints_nothing_is_forwarded() {
    let mut world = World::new("A-v0", rvc());
    world.settings = ReceiverSettings::new(&world.config);
    assert_eq!(world.effective(), "A-v0:0");
    assert_eq!(world.shown(None), "–");
}

#[test]
fn allocation_case_6_disabled_sources_do_not_use_up_last_n() {
    let with_last_n = |order: &str, last_n| {
        let mut world = World::new(
            order,
            ReceiverVideoConstraints {
                last_n: Some(last_n),
                ..default_height(180)
            },
        );
        world.source("s4").video_type = VideoType::Disabled;
        world.source("s5").video_type = VideoType::Disabled;
        world.source("s6").video_type = VideoType::None;
        world.effective()
    };
    assert_eq!(
        with_last_n("s1 s2 s3 s4 s5 s6", 0),
        "s1:0 s2:0 s3:0 s4:0 s5:0 s6:0"
    );
    assert_eq!(
        with_last_n("s1 s2 s3 s4 s5 s6", 1),
        "s1:180 s2:0 s3:0 s4:0 s5:0 s6:0"
    );
    assert_eq!(
        with_last_n("s4 s5 s6 s1 s2 s3", 1),
        "s1:180 s2:0 s3:0 s4:0 s5:0 s6:0"
    );
}

#[test]
fn allocation_case_7_unwanted_sources_do_not_use_up_last_n() {
    let message = constraints(&[("s2", 180), ("s3", 180)]);
    let world = World::new(
        "s1 s2 s3",
        ReceiverVideoConstraints {
            last_n: Some(1),
            ..message
        },
    );
    assert_eq!(world.effective(), "s1:0 s2:180 s3:0");
}

#[test]
fn allocation_case_8_constraints_of_absent_sources_are_harmless() {
    let world = World::new("s1 s2 s3", constraints(&[("s4", 720)]));
    assert_eq!(world.effective(), "s1:0 s2:0 s3:0");
}

#[test]
fn allocation_case_9_and_10_the_slots_limit_how_many_are_wanted() {
    let cameras: String = (0..60).map(|n| format!("s{n} ")).collect();
    for last_n in [-1, -5] {
        let message = ReceiverVideoConstraints {
            last_n: Some(last_n),
            ..default_height(180)
        };
        let heights: Vec<i32> = World::new(&cameras, message)
            .allocate(None)
            .entries
            .iter()
            .map(|e| e.max_height)
            .collect();
        assert_eq!(
            heights,
            [vec![180; 50], vec![0; 10]].concat(),
            "last-n {last_n}"
        );
    }
}

#[test]
fn allocation_case_13_selected_sources_come_first_in_their_order() {
    let selected = Some(names("s2 s1 s5"));
    let message = ReceiverVideoConstraints {
        selected_sources: selected,
        ..default_height(180)
    };
    let world = World::new("s6 s5 s4 s3 s2 s1", message);
    assert_eq!(
        world.effective(),
        "s2:180 s1:180 s5:180 s6:180 s4:180 s3:180"
    );
}

#[test]
fn allocation_case_14_on_stage_sources_come_before_selected_ones() {
    let message = ReceiverVideoConstraints {
        on_stage_sources: Some(names("C")),
        selected_sources: Some(names("D C")),
        last_n: Some(3),
        ..default_height(180)
    };
    assert_eq!(
        World::new("A B C D", message).effective(),
        "C:180 D:180 A:180 B:0"
    );
}

#[test]
fn allocation_case_15_a_disabled_source_on_stage_takes_nobodys_place() {
    let message = ReceiverVideoConstraints {
        last_n: Some(1),
        ..stage("A", 720)
    };
    let mut world = World::new("A B", message);
    world.source("A").video_type = VideoType::Disabled;
    assert_eq!(world.effective(), "B:180 A:0");
    assert_eq!(world.shown(None), "– 180/30");
}

#[test]
fn allocation_case_18_speakers_do_not_displace_selected_sources() {
    let message = ReceiverVideoConstraints {
        selected_sources: Some(names("A B")),
        last_n: Some(2),
        ..default_height(180)
    };
    for order in ["A B C D", "C A B D", "D C A B"] {
        let world = World::new(order, message.clone());
        let allocation = world.allocate(None);
        let mut forwarded: Vec<&str> = allocation
            .forwarded()
            .map(|e| world.sources[e.position].name.as_str())
            .collect();
        forwarded.sort_unstable();
        assert_eq!(forwarded, ["A", "B"], "order {order}");
    }
}

#[test]
fn allocation_case_39_a_muted_source_is_wanted_by_nobody() {
    let mut world = World::new("A B", default_height(360));
    world.source("A").video_type = VideoType::None;
    assert_eq!(world.effective(), "B:360 A:0");
    world.source("A").video_type = VideoType::Camera;
    assert_eq!(world.effective(), "A:360 B:360");
}

// ---- layers ---------------------------------------------------------------------------------------

#[test]
fn allocation_case_19_without_an_estimate_everything_fits() {
    assert_eq!(
        World::new("A B", stage("A", 720)).shown(None),
        "720/30 180/30"
    );
}

#[test]
fn allocation_case_20_stage_view_with_a_camera() {
    check_table(
        &World::new("A B C D", stage("A", 720)),
        3000,
        &[
            (0, "– – – –"),
            (50, "180/7.5 – – –"),
            (100, "180/15 – – –"),
            (150, "180/30 – – –"),
            (500, "360/30 – – –"),
            (555, "360/30 180/7.5 – –"),
            (605, "360/30 180/7.5 180/7.5 –"),
            (655, "360/30 180/7.5 180/7.5 180/7.5"),
            (705, "360/30 180/15 180/7.5 180/7.5"),
            (755, "360/30 180/15 180/15 180/7.5"),
            (805, "360/30 180/15 180/15 180/15"),
            (855, "360/30 180/30 180/15 180/15"),
            (905, "360/30 180/30 180/30 180/15"),
            (955, "360/30 180/30 180/30 180/30"),
            (2155, "720/30 180/7.5 180/7.5 180/7.5"),
            (2205, "720/30 180/15 180/7.5 180/7.5"),
            (2255, "720/30 180/15 180/15 180/7.5"),
            (2305, "720/30 180/15 180/15 180/15"),
            (2355, "720/30 180/30 180/15 180/15"),
            (2405, "720/30 180/30 180/30 180/15"),
            (2455, "720/30 180/30 180/30 180/30"),
        ],
    );
}

#[test]
fn allocation_case_20_stage_view_with_a_screen() {
    let mut world = World::new("A B C D", stage("A", -1));
    world.source("A").video_type = VideoType::Desktop;
    check_table(
        &world,
        2500,
        &[
            (0, "360/30 – – – oversending"),
            (160, "720/7.5 – – – oversending"),
            (660, "720/7.5 – – –"),
            (1320, "720/15 – – –"),
            (2000, "720/30 – – –"),
            (2055, "720/30 180/7.5 – –"),
            (2105, "720/30 180/7.5 180/7.5 –"),
            (2155, "720/30 180/7.5 180/7.5 180/7.5"),
            (2205, "720/30 180/15 180/7.5 180/7.5"),
            (2255, "720/30 180/15 180/15 180/7.5"),
            (2305, "720/30 180/15 180/15 180/15"),
            (2355, "720/30 180/30 180/15 180/15"),
            (2405, "720/30 180/30 180/30 180/15"),
            (2455, "720/30 180/30 180/30 180/30"),
        ],
    );
}

const TILES_180: [(u64, &str); 13] = [
    (0, "– – – –"),
    (55, "180/7.5 – – –"),
    (105, "180/7.5 180/7.5 – –"),
    (155, "180/7.5 180/7.5 180/7.5 –"),
    (205, "180/7.5 180/7.5 180/7.5 180/7.5"),
    (255, "180/15 180/7.5 180/7.5 180/7.5"),
    (305, "180/15 180/15 180/7.5 180/7.5"),
    (355, "180/15 180/15 180/15 180/7.5"),
    (405, "180/15 180/15 180/15 180/15"),
    (455, "180/30 180/15 180/15 180/15"),
    (505, "180/30 180/30 180/15 180/15"),
    (555, "180/30 180/30 180/30 180/15"),
    (605, "180/30 180/30 180/30 180/30"),
];

#[test]
fn allocation_case_20_tile_view_180() {
    check_table(
        &World::new("A B C D", default_height(180)),
        3000,
        &TILES_180,
    );
}

#[test]
fn allocation_case_20_tile_view_360() {
    let higher = [
        (955, "360/30 180/30 180/30 180/30"),
        (1305, "360/30 360/30 180/30 180/30"),
        (1655, "360/30 360/30 360/30 180/30"),
        (2005, "360/30 360/30 360/30 360/30"),
    ];
    let rows = [&TILES_180[..], &higher].concat();
    check_table(&World::new("A B C D", default_height(360)), 3000, &rows);
}

#[test]
fn allocation_case_20_tile_view_720() {
    check_table(
        &World::new("A B", default_height(720)),
        4500,
        &[
            (0, "– –"),
            (55, "180/7.5 –"),
            (105, "180/7.5 180/7.5"),
            (155, "180/15 180/7.5"),
            (205, "180/15 180/15"),
            (255, "180/30 180/15"),
            (305, "180/30 180/30"),
            (655, "360/30 180/30"),
            (1005, "360/30 360/30"),
            (2505, "720/30 360/30"),
            (4005, "720/30 720/30"),
        ],
    );
}

#[test]
fn allocation_case_21_a_stage_below_its_preferred_layer_starves_the_others() {
    let world = World::new("A B C", stage("A", 720));
    assert_eq!(world.shown(400), "180/30 – –");
    assert_eq!(world.shown(500), "360/30 – –");
    assert_eq!(world.shown(640), "360/30 180/7.5 180/7.5");
}

#[test]
fn allocation_case_22_two_on_stage_are_served_one_after_the_other() {
    let world = World::new("A B C", stage("A B", 720));
    assert_eq!(world.shown(600), "360/30 180/15 –");
    assert_eq!(world.shown(1060), "360/30 360/30 180/7.5");
    assert_eq!(world.shown(2600), "720/30 360/30 180/7.5");
}

#[test]
fn allocation_case_23_two_screens_on_stage() {
    let mut world = World::new("A-v1 B-v1", stage("B-v1 A-v1", -1));
    for name in ["A-v1", "B-v1"] {
        world.source(name).video_type = VideoType::Desktop;
    }
    assert_eq!(world.shown(100), "– 360/30 oversending");
    assert_eq!(world.shown(2100), "180/15 720/30");
    assert_eq!(world.shown(5000), "720/30 720/30");
}

#[test]
fn allocation_case_24_a_screen_on_stage_may_oversend() {
    let mut world = World::new("A", stage("A", -1));
    world.source("A").video_type = VideoType::DesktopHighFps;
    assert_eq!(world.shown(100), "360/30 oversending");
    assert_eq!(world.shown(165), "720/7.5 oversending");
    world.config.allow_oversend_onstage = false;
    assert_eq!(world.shown(100), "180/15");
}

#[test]
fn allocation_case_25_a_screen_off_stage_is_a_thumbnail() {
    let mut world = World::new("A", default_height(180));
    world.source("A").video_type = VideoType::Desktop;
    assert_eq!(world.shown(100), "180/7.5");
    assert_eq!(world.shown(40), "–");
    assert!(world.allocate(40).has_suspended);
    assert!(!world.allocate(100).has_suspended);
}

#[test]
fn allocation_case_26_the_only_resolution_is_better_than_nothing() {
    let mut world = World::new("A", default_height(180));
    let mut layers = with_bitrates(initial_layers(1), &[700, 1300, 2000]);
    layers.iter_mut().for_each(|layer| layer.height = 720);
    world.source("A").layers = layers;
    assert_eq!(world.shown(5000), "720/30");
    assert_eq!(world.shown(800), "720/7.5");
    world.settings.apply(&default_height(0));
    assert_eq!(world.shown(5000), "–");
}

#[test]
fn allocation_case_27_a_slow_camera_needs_no_more_than_its_own_rate() {
    let mut world = World::new("A", default_height(360));
    let mut layers = initial_layers(2);
    layers.retain(|layer| layer.frame_rate < 30.0);
    world.source("A").layers = with_bitrates(layers, &[50, 100, 250, 500]);
    assert_eq!(world.shown(5000), "360/15");
    assert_eq!(world.shown(300), "180/15");
}

#[test]
fn allocation_case_28_a_better_layer_that_costs_less_is_taken() {
    let mut world = World::new("A", default_height(720));
    world.source("A").layers = with_bitrates(
        initial_layers(3),
        &[50, 100, 150, 165, 330, 500, 200, 300, 400],
    );
    assert_eq!(world.shown(390), "180/30");
    assert_eq!(world.shown(410), "180/30");
    assert_eq!(world.shown(600), "720/30");
}

/// Firefox and others send no temporal layers: all that are assumed cost as much as the encoding. The loop must not
/// take the free step from one of them to the next for the last one (§7.6, where the reference stops).
#[test]
fn a_camera_without_temporal_layers_gets_all_its_encodings() {
    let mut world = World::new("A", default_height(720));
    world.source("A").layers = with_bitrates(
        initial_layers(3),
        &[150, 150, 150, 500, 500, 500, 2000, 2000, 2000],
    );
    assert_eq!(world.shown(100), "–");
    assert_eq!(world.shown(400), "180/30");
    assert_eq!(world.shown(600), "360/30");
    assert_eq!(world.shown(2100), "720/30");
}

#[test]
fn allocation_case_29_layers_without_bitrate_need_a_little_bandwidth() {
    let mut world = World::new("A", default_height(720));
    world.source("A").layers = initial_layers(3);
    assert_eq!(world.shown(0), "–");
    assert!(!world.allocate(0).has_suspended);
    assert_ne!(world.shown(1), "–");
    world.settings.apply(&stage("A", 720));
    assert_ne!(world.shown(0), "–");
}

#[test]
fn allocation_case_30_a_svc_screen_larger_than_wanted() {
    let mut world = World::new("A", default_height(180));
    let layer = |spatial, kbps| LayerView {
        index: layer_index(0, spatial, 0),
        height: 720,
        frame_rate: -1.0,
        bitrate: Bitrate::kbps(kbps),
    };
    let source = world.source("A");
    source.video_type = VideoType::Desktop;
    source.layers = vec![layer(0, 150), layer(1, 370), layer(2, 750)];
    assert_eq!(world.candidates(true).0, [0, 8, 16]);
    assert_eq!(world.candidates(false).0, [0]);
}

/// Allocation spec Q6: a frame rate of 0 is no video, for the sender and the ideal as well.
#[test]
fn allocation_case_32_only_a_frame_rate_of_zero_has_an_effect() {
    let with_rate = |max_frame_rate| {
        let constraints = VideoConstraints {
            max_height: 180,
            max_frame_rate,
        };
        World::new(
            "A",
            ReceiverVideoConstraints {
                default_constraints: Some(constraints),
                ..rvc()
            },
        )
    };
    assert_eq!(with_rate(15.0).shown(5000), "180/30");
    let none = with_rate(0.0);
    assert_eq!(none.shown(5000), "–");
    assert_eq!(none.effective(), "A:0");
    assert_eq!(none.allocate(5000).ideal_bitrate, Bitrate::ZERO);
}

#[test]
fn allocation_case_33_assumed_bandwidth_gives_the_best_layer() {
    let world = World::new("A", default_height(720));
    assert_eq!(world.shown(100), "180/7.5");
    assert_eq!(world.shown(9_000), "720/30");
}

#[test]
fn allocation_case_35_inactive_layers_are_no_candidates() {
    let mut world = World::new("A", default_height(720));
    world.source("A").layers =
        with_bitrates(initial_layers(3), &[50, 100, 150, 165, 330, 0, 0, 0, 0]);
    assert_eq!(world.candidates(false), (vec![0, 1, 2], Some(2)));
}

#[test]
fn candidates_of_the_standard_layers() {
    let candidates = |max_height| World::new("A", default_height(max_height)).candidates(false);
    assert_eq!(candidates(720), (vec![0, 1, 2, 66, 130], Some(66)));
    assert_eq!(candidates(-1), (vec![0, 1, 2, 66, 130], Some(66)));
    assert_eq!(candidates(360), (vec![0, 1, 2, 66], Some(66)));
    assert_eq!(candidates(180), (vec![0, 1, 2], Some(2)));
    assert_eq!(candidates(0), (vec![], None));
}

/// Temporal layers of VP9 in flexible mode are found one by one and stand behind all spatial ones.
#[test]
fn layers_found_late_are_put_in_order() {
    let mut world = World::new("A", default_height(720));
    let layer = |spatial: u8, temporal: u8, frame_rate, kbps| LayerView {
        index: layer_index(0, spatial, temporal),
        height: 180 << spatial,
        frame_rate,
        bitrate: Bitrate::kbps(kbps),
    };
    world.source("A").layers = vec![
        layer(0, 0, 15.0, 100),
        layer(1, 0, 15.0, 300),
        layer(0, 1, 30.0, 150),
        layer(1, 1, 30.0, 400),
    ];
    assert_eq!(world.candidates(false).0, [0, 1, 9]);
    assert_eq!(world.shown(200), "180/30");
}

#[test]
fn sums_are_over_targets_and_ideals() {
    let allocation = World::new("A B", stage("A", 720)).allocate(640);
    assert_eq!(allocation.target_bitrate, Bitrate::kbps(600));
    assert_eq!(allocation.ideal_bitrate, Bitrate::kbps(2150));
    assert!(allocation.is_below_ideal());
}

#[test]
fn slots_go_to_wanted_sources_and_then_to_possible_ones() {
    let mut world = World::new("A B C D", constraints(&[("C", 180)]));
    world.source("B").video_type = VideoType::None;
    let slots = |capacity| {
        let allocation = world.allocate(None);
        let entries = allocation.slot_sources(capacity);
        entries
            .map(|entry| world.sources[entry.position].name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(slots(50), ["C", "A", "D"]);
    assert_eq!(slots(2), ["C", "A"]);
}

// ---- change detection -----------------------------------------------------------------------------

struct Runs {
    world: World,
    allocator: Allocator,
}

impl Runs {
    fn run(&mut self, kbps: u64) -> AllocationChanges {
        let world = &self.world;
        let bandwidth = Some(Bitrate::kbps(kbps));
        self.allocator
            .run(&world.config, &world.settings, &world.views(), bandwidth)
    }
}

#[test]
fn changes_are_reported_once_and_by_kind() {
    let changes = |allocation, forwarded, constraints| AllocationChanges {
        allocation,
        forwarded,
        constraints,
    };
    let world = World::new("A B", default_height(180));
    let mut runs = Runs {
        world,
        allocator: Allocator::new(),
    };
    assert_eq!(runs.run(1000), changes(true, true, true));
    assert_eq!(runs.run(1000), changes(false, false, false));
    assert_eq!(
        runs.run(150),
        changes(true, false, false),
        "lower layers of the same sources"
    );
    assert_eq!(runs.run(60), changes(true, true, false), "B is suspended");
    runs.world.sources.reverse();
    assert_eq!(runs.run(1000), changes(true, true, false));
    runs.world.sources.reverse();
    assert_eq!(
        runs.run(1000),
        changes(false, false, false),
        "only the order"
    );
    runs.world.settings.apply(&default_height(360));
    assert_eq!(runs.run(1000), changes(true, false, true));
    runs.world.source("A").video_type = VideoType::None;
    assert_eq!(runs.run(1000), changes(true, true, true));
    runs.world.sources.clear();
    assert_eq!(runs.run(1000), changes(true, true, true));
    assert_eq!(runs.allocator.allocation(), &Allocation::default());
}

/// A source that returns under its old name is another source (case 46 relies on it).
#[test]
fn a_source_with_another_key_is_a_change() {
    let mut runs = Runs {
        world: World::new("A", default_height(180)),
        allocator: Allocator::new(),
    };
    runs.run(1000);
    runs.world.sources[0].key = SourceKey(77);
    assert_eq!(
        runs.run(1000),
        AllocationChanges {
            allocation: true,
            forwarded: true,
            constraints: true
        }
    );
}

#[test]
fn a_change_of_the_oversending_flag_alone_is_a_change() {
    let mut world = World::new("A", stage("A", -1));
    world.source("A").video_type = VideoType::Desktop;
    let mut runs = Runs {
        world,
        allocator: Allocator::new(),
    };
    runs.run(200);
    assert!(runs.allocator.allocation().oversending);
    let changes = runs.run(700);
    assert!(!runs.allocator.allocation().oversending);
    assert_eq!(
        changes,
        AllocationChanges {
            allocation: true,
            ..AllocationChanges::default()
        }
    );
}

// ---- properties -----------------------------------------------------------------------------------

fn any_layer() -> impl Strategy<Value = LayerView> {
    let height = prop_oneof![Just(-1), Just(180), Just(360), Just(720), -1..2000i32];
    let rate = prop_oneof![Just(-1.0), Just(7.5), Just(15.0), Just(30.0)];
    let bitrate = prop_oneof![Just(0), 0..3_000_000u64, Just(u64::MAX)];
    (0u8..4, 0u8..8, 0u8..8, height, rate, bitrate).prop_map(
        |(encoding, spatial, temporal, height, frame_rate, bps)| LayerView {
            index: layer_index(encoding, spatial, temporal),
            height,
            frame_rate,
            bitrate: Bitrate::bps(bps),
        },
    )
}

fn any_type() -> impl Strategy<Value = VideoType> {
    prop_oneof![
        4 => Just(VideoType::Camera),
        2 => Just(VideoType::Desktop),
        1 => Just(VideoType::Disabled),
        1 => Just(VideoType::None),
    ]
}

fn any_world() -> impl Strategy<Value = World> {
    let source = (any_type(), prop::collection::vec(any_layer(), 0..12));
    let name = || (0..12u8).prop_map(|n| SourceName::new(format!("s{n}")));
    let lists = || prop::option::of(prop::collection::vec(name(), 0..6));
    let wish = (
        prop_oneof![Just(-1), Just(0), 1..1000i32],
        prop_oneof![Just(-1.0), Just(0.0)],
    )
        .prop_map(|(max_height, max_frame_rate)| VideoConstraints {
            max_height,
            max_frame_rate,
        });
    let map = prop::option::of(prop::collection::btree_map(name(), wish, 0..6));
    (
        prop::collection::vec(source, 0..10),
        lists(),
        lists(),
        map,
        -3..8i32,
        prop::bool::ANY,
    )
        .prop_map(
            |(sources, on_stage_sources, selected_sources, constraints, last_n, oversend)| {
                let mut world = World::new(
                    "",
                    ReceiverVideoConstraints {
                        last_n: Some(last_n),
                        selected_sources,
                        on_stage_sources,
                        constraints,
                        ..default_height(360)
                    },
                );
                world.config.allow_oversend_onstage = oversend;
                world.sources = (0..)
                    .zip(sources)
                    .map(|(key, (video_type, layers))| Source {
                        key: SourceKey(key),
                        name: SourceName::new(format!("s{key}")),
                        video_type,
                        layers,
                    })
                    .collect();
                world
            },
        )
}

proptest! {
    #[test]
    fn an_allocation_keeps_its_promises(world in any_world(), bps in prop::option::of(0..9_000_000u64)) {
        let bandwidth = bps.map(Bitrate::bps);
        let allocation = allocate(&world.config, &world.settings, &world.views(), bandwidth);

        prop_assert_eq!(allocation.entries.len(), world.sources.len());
        let limit = bandwidth.unwrap_or(Bitrate::INFINITE);
        if !allocation.oversending {
            prop_assert!(allocation.target_bitrate <= limit);
        }
        prop_assert!(!allocation.oversending || world.config.allow_oversend_onstage);
        prop_assert!(allocation.target_bitrate <= limit + world.config.max_oversend);
        let last_n = usize::try_from(world.settings.last_n()).unwrap_or(usize::MAX);
        prop_assert!(allocation.forwarded().count() <= last_n);
        prop_assert!(allocation.entries.iter().filter(|e| e.max_height != 0).count() <= last_n);
        for entry in &allocation.entries {
            let layers = &world.sources[entry.position].layers;
            let exists = |index| index == SUSPENDED || layers.iter().any(|l| l.index == index);
            prop_assert!(exists(entry.target) && exists(entry.ideal));
            prop_assert!(entry.target <= entry.ideal, "never better than ideal");
            prop_assert!(!entry.is_forwarded() || entry.max_height != 0);
            prop_assert!(!entry.is_forwarded() || entry.video_type.is_enabled());
        }
    }

    #[test]
    fn running_again_changes_nothing(world in any_world(), bps in prop::option::of(0..9_000_000u64)) {
        let bandwidth = bps.map(Bitrate::bps);
        let mut allocator = Allocator::new();
        allocator.run(&world.config, &world.settings, &world.views(), bandwidth);
        let first = allocator.allocation().clone();
        let changes = allocator.run(&world.config, &world.settings, &world.views(), bandwidth);
        prop_assert_eq!(changes, AllocationChanges::default());
        prop_assert_eq!(&first, allocator.allocation());
    }
}
