//! Calls of real browsers through the daemon.
//!
//! `cargo test -p causeway-tests --test browsers -- --test-threads=1`

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use causeway_tests::network::{self, Fault, Limit};
use causeway_tests::participant::{Participant, SOON, all_meet};
use causeway_tests::{Call, eventually};

/// Any free port of the loopback address.
const ANY_PORT: &str = "127.0.0.1:0";
/// The daemon's UDP port where the network is the test's own.
const PORT: u16 = 10_000;
const OWN_NETWORK: &str = "127.0.0.1:10000";

#[test]
fn three_browsers_meet() {
    let call = Call::start(ANY_PORT);
    let (anna, bo, clara) = (call.join("anna"), call.join("bo"), call.join("clara"));

    all_meet(&[&anna, &bo, &clara]);

    let everybody = BTreeSet::from([anna.endpoint(), bo.endpoint(), clara.endpoint()]);
    for one in [&anna, &bo, &clara] {
        let speaker = one.sees_a_dominant_speaker();
        assert!(
            everybody.contains(&speaker),
            "the dominant speaker {speaker} of {} is none of {everybody:?}",
            one.name()
        );
    }
}

#[test]
fn browsers_on_different_workers_meet() {
    let call = Call::with(&["--udp", ANY_PORT, "--workers", "2", "--spill-after", "1"]);
    let (anna, bo, clara) = (call.join("anna"), call.join("bo"), call.join("clara"));

    all_meet(&[&anna, &bo, &clara]);

    anna.stage(&bo);
    anna.sees_height(&bo, "on stage", |height| height >= 360);
}

#[test]
fn browsers_meet_over_ipv6() {
    let call = Call::start("[::1]:0");
    let (anna, bo) = (call.join("anna"), call.join("bo"));

    all_meet(&[&anna, &bo]);
}

#[test]
fn the_dominant_speaker_follows_who_speaks() {
    let call = Call::start(ANY_PORT);
    // Their test tones speak at different times.
    let (anna, bo) = (call.join("anna"), call.join("bo"));

    for speaker in [&anna, &bo, &anna] {
        let endpoint = speaker.endpoint();
        eventually(
            &format!("bo sees that {} speaks", speaker.name()),
            SOON,
            || bo.state()["dominantSpeaker"].clone(),
            |dominant| *dominant == *endpoint,
        );
    }
}

#[test]
fn the_stage_gets_a_large_picture_and_tiles_small_ones() {
    let call = Call::start(ANY_PORT);
    let (anna, bo) = (call.join("anna"), call.join("bo"));
    anna.sees_height(&bo, "in a small tile", |height| (1..=180).contains(&height));

    anna.stage(&bo);
    anna.sees_height(&bo, "on stage", |height| height >= 360);
    anna.sees(&bo);

    anna.show_tiles();
    anna.sees_height(&bo, "in a small tile again", |height| {
        (1..=180).contains(&height)
    });
    anna.sees(&bo);
}

/// The codec that `one` receives of `other`, such as `VP9`.
fn codec_of(one: &Participant, other: &Participant) -> String {
    let codec = one.figures_of(other)["video"]["codec"].clone();
    codec.as_str().unwrap_or_default().to_uppercase()
}

#[test]
fn pictures_come_in_vp9_and_follow_the_stage() {
    meet_with_codec("vp9", "VP9");
}

#[test]
fn pictures_come_in_av1_and_follow_the_stage() {
    meet_with_codec("av1", "AV1");
}

#[test]
fn pictures_come_in_h264_and_follow_the_stage() {
    meet_with_codec("h264", "H264");
}

fn meet_with_codec(codec: &str, name: &str) {
    let call = Call::start(ANY_PORT);
    let codec = format!("codec={codec}");
    let (anna, bo) = (call.join_with("anna", &codec), call.join_with("bo", &codec));
    all_meet(&[&anna, &bo]);
    assert!(
        codec_of(&anna, &bo).contains(name),
        "{}",
        anna.figures_of(&bo)
    );

    anna.stage(&bo);
    anna.sees_height(&bo, "on stage", |height| height >= 360);
    anna.sees(&bo);
    anna.show_tiles();
    anna.sees_height(&bo, "in a small tile", |height| (1..=180).contains(&height));
    anna.sees(&bo);
}

#[test]
fn spatial_layers_of_vp9_that_meet_in_key_pictures_follow_the_stage() {
    meet_with_layers("vp9", "VP9", "L3T3_KEY");
}

#[test]
fn spatial_layers_of_vp9_that_always_refer_to_each_other_follow_the_stage() {
    meet_with_layers("vp9", "VP9", "L3T3");
}

#[test]
fn spatial_layers_of_av1_that_meet_in_key_pictures_follow_the_stage() {
    meet_with_layers("av1", "AV1", "L3T3_KEY");
}

#[test]
fn spatial_layers_of_av1_that_always_refer_to_each_other_follow_the_stage() {
    meet_with_layers("av1", "AV1", "L3T3");
}

/// Bo sends one stream with three spatial layers, of which anna gets what fits.
fn meet_with_layers(codec: &str, name: &str, mode: &str) {
    let call = Call::start(ANY_PORT);
    let anna = call.join("anna");
    let bo = call.join_with("bo", &format!("codec={codec}&mode={mode}"));
    anna.sees(&bo);
    let encodings = bo.state()["cameraEncodings"].clone();
    assert_eq!(encodings.as_array().map(Vec::len), Some(1), "{encodings}");
    assert_eq!(encodings[0]["mode"], mode, "{encodings}");
    assert!(
        codec_of(&anna, &bo).contains(name),
        "{}",
        anna.figures_of(&bo)
    );
    anna.sees_height(&bo, "in a small tile", |height| (1..=180).contains(&height));

    // Each change goes on from what was decoded: the receiver itself never has to ask for a keyframe.
    let asked = |figures: &serde_json::Value| figures["video"]["pliCount"].as_u64();
    let before = asked(&anna.figures_of(&bo));
    for _ in 0..2 {
        anna.stage(&bo);
        anna.sees_height(&bo, "on stage", |height| height >= 720);
        anna.sees(&bo);
        anna.show_tiles();
        anna.sees_height(&bo, "in a small tile", |height| (1..=180).contains(&height));
        anna.sees(&bo);
    }
    let after = anna.figures_of(&bo);
    assert_eq!(asked(&after), before, "{after}");
}

#[test]
fn streams_are_told_apart_by_mid_alone() {
    let call = Call::start(ANY_PORT);
    let anna = call.join_with("anna", "demux=mid");
    let (bo, clara) = (call.join("bo"), call.join("clara"));
    all_meet(&[&anna, &bo, &clara]);

    let state = anna.state();
    let received = state["received"].as_array().expect("a list");
    for (kind, letter) in [("audio", "a"), ("video", "v")] {
        let mids: BTreeSet<&str> = received
            .iter()
            .filter(|one| one["kind"] == kind && one["live"] == true)
            .filter_map(|one| one["mid"].as_str())
            .collect();
        assert!(mids.len() >= 2, "{mids:?}");
        assert!(mids.iter().all(|mid| mid.starts_with(letter)), "{mids:?}");
    }
    anna.stage(&bo);
    anna.sees_height(&bo, "on stage", |height| height >= 360);
    anna.sees(&clara);
}

#[test]
fn a_wish_that_names_one_field_leaves_the_others_as_they_were() {
    let call = Call::start(ANY_PORT);
    let (anna, bo) = (call.join("anna"), call.join("bo"));
    anna.stage(&bo);
    anna.sees_height(&bo, "on stage", |height| height >= 720);

    let last_n = |count: i32| {
        anna.tells(
            "ReceiverVideoConstraints",
            &serde_json::json!({ "lastN": count }),
        );
    };
    last_n(0);
    eventually(
        "bo hears that nobody wants the camera",
        SOON,
        || bo.state()["senderConstraints"].clone(),
        |wanted| {
            wanted
                .as_object()
                .is_some_and(|wanted| wanted.values().any(|height| *height == 0))
        },
    );
    last_n(-1);
    eventually(
        "bo hears that the camera is wanted for the stage, as before",
        SOON,
        || bo.state()["senderConstraints"].clone(),
        |wanted| {
            wanted
                .as_object()
                .is_some_and(|wanted| wanted.values().any(|height| height.as_i64() >= Some(720)))
        },
    );
    anna.sees(&bo);
    anna.sees_height(&bo, "on stage again", |height| height >= 720);
}

#[test]
fn a_websocket_serves_where_a_data_channel_does_not_open() {
    let call = Call::start(ANY_PORT);
    let anna = call.join_with("anna", "channel=websocket");
    let bo = call.join("bo");
    all_meet(&[&anna, &bo]);

    // What one wants and what one is sent both pass through it.
    anna.stage(&bo);
    anna.sees_height(&bo, "on stage", |height| height >= 360);
    anna.show_tiles();
    anna.sees_height(&bo, "in a small tile", |height| (1..=180).contains(&height));
    anna.sees(&bo);
    bo.sees(&anna);
}

#[test]
fn someone_leaves_and_joins_again() {
    let call = Call::start(ANY_PORT);
    let (anna, bo, clara) = (call.join("anna"), call.join("bo"), call.join("clara"));
    all_meet(&[&anna, &bo, &clara]);

    clara.leave();
    anna.sees_people(2);
    bo.sees_people(2);
    anna.sees(&bo);

    clara.join_again();
    all_meet(&[&anna, &bo, &clara]);
}

#[test]
fn a_page_that_is_closed_leaves_the_room() {
    let call = Call::start(ANY_PORT);
    let (anna, bo, clara) = (call.join("anna"), call.join("bo"), call.join("clara"));
    all_meet(&[&anna, &bo, &clara]);

    clara.session().go_to("about:blank");

    anna.sees_people(2);
    all_meet(&[&anna, &bo]);
}

#[test]
fn a_browser_that_dies_is_shown_as_lost_and_then_removed() {
    let call = Call::start(ANY_PORT);
    let (anna, bo, clara) = (call.join("anna"), call.join("bo"), call.join("clara"));
    all_meet(&[&anna, &bo, &clara]);

    clara.dies();

    eventually(
        "anna sees that clara's connection is lost",
        SOON,
        || anna.status_of("clara"),
        |status| *status == "connection lost",
    );
    anna.sees(&bo);
    eventually(
        "clara is removed",
        2 * SOON,
        || anna.state()["participants"].clone(),
        |people| people.as_array().map(Vec::len) == Some(2),
    );
    all_meet(&[&anna, &bo]);
}

#[test]
fn media_outlives_an_ice_restart() {
    let call = Call::start(ANY_PORT);
    let (anna, bo) = (call.join("anna"), call.join("bo"));
    all_meet(&[&anna, &bo]);
    let endpoint = anna.endpoint();

    anna.restart_ice();

    anna.is_connected();
    all_meet(&[&anna, &bo]);
    assert_eq!(
        anna.endpoint(),
        endpoint,
        "anna did not have to join again: {:#}",
        anna.state()["log"]
    );
}

#[test]
fn a_camera_that_is_switched_off_and_on_comes_back() {
    let call = Call::start(ANY_PORT);
    let (anna, bo) = (call.join("anna"), call.join("bo"));
    anna.sees(&bo);

    bo.set_camera(false);
    eventually(
        "anna sees that bo's camera is off",
        SOON,
        || anna.figures_of(&bo)["shown"].clone(),
        |shown| *shown == false,
    );

    bo.set_camera(true);
    anna.sees(&bo);
}

#[test]
fn a_shared_screen_is_seen_beside_the_camera() {
    let call = Call::start(ANY_PORT);
    let (anna, bo) = (call.join("anna"), call.join("bo"));
    anna.sees(&bo);

    bo.set_screen(true);
    anna.sees_screen(&bo);
    anna.sees(&bo);

    bo.set_screen(false);
    anna.sees(&bo);
}

#[test]
fn a_path_that_is_lost_for_three_seconds_recovers() {
    network::apart(|| {
        let call = Call::start(OWN_NETWORK);
        let (anna, bo, clara) = (call.join("anna"), call.join("bo"), call.join("clara"));
        all_meet(&[&anna, &bo, &clara]);
        let endpoint = clara.endpoint();

        let cut = Fault::cut(clara.session().process());
        // The outage is what is tested: it has to be this long.
        thread::sleep(Duration::from_secs(3));
        drop(cut);

        clara.is_connected();
        all_meet(&[&anna, &bo, &clara]);
        assert_eq!(
            clara.endpoint(),
            endpoint,
            "clara did not have to join again: {:#}",
            clara.state()["log"]
        );
    });
}

#[test]
fn media_flows_over_a_path_that_loses_one_packet_in_twenty() {
    network::apart(|| {
        let call = Call::start(OWN_NETWORK);
        let _loss = Fault::loss(PORT, 5);
        let (anna, bo, clara) = (call.join("anna"), call.join("bo"), call.join("clara"));

        all_meet(&[&anna, &bo, &clara]);

        // Lost packets are sent again: with a key frame only now and then, the pictures would stand still.
        for (one, other) in [(&anna, &bo), (&bo, &clara), (&clara, &anna)] {
            let figures = eventually(
                "the loss is noticed",
                SOON,
                || one.figures_of(other),
                |figures| figures["video"]["nackCount"].as_u64().unwrap_or(0) > 0,
            );
            assert!(figures["video"]["framesDecoded"].as_u64().unwrap_or(0) > 0);
            one.sees(other);
        }
    });
}

#[test]
fn a_path_of_500_kbits_gets_a_stable_lower_layer_until_the_limit_goes() {
    network::apart(|| {
        let call = Call::start(OWN_NETWORK);
        let (anna, bo) = (call.join("anna"), call.join("bo"));
        all_meet(&[&anna, &bo]);
        anna.stage(&bo);
        anna.sees_height(&bo, "in the top layer", |height| height >= 720);

        let limit = Limit::towards(anna.session().process(), PORT, 500);
        anna.sees_height(&bo, "in a layer that fits", |height| {
            (1..720).contains(&height)
        });
        // Half a minute of the call, as its viewer has it.
        let heights: Vec<u64> = (0..120)
            .map(|_| {
                thread::sleep(Duration::from_millis(250));
                anna.height_of(&bo)
            })
            .collect();
        // The first layer that fits for a moment need not be the one that stays: five seconds are for finding that.
        let settled = &heights[20..];
        let changes = settled.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(
            heights.iter().all(|height| (1..720).contains(height)),
            "{heights:?}"
        );
        assert!(changes <= 2, "the picture flaps: {heights:?}");
        anna.sees(&bo);
        anna.hears(&bo);

        drop(limit);
        anna.sees_height(&bo, "in the top layer again", |height| height >= 720);
    });
}

#[test]
fn a_path_of_500_kbits_gets_lower_spatial_layers_of_vp9_until_the_limit_goes() {
    network::apart(|| {
        let call = Call::start(OWN_NETWORK);
        let anna = call.join("anna");
        let bo = call.join_with("bo", "codec=vp9&mode=L3T3_KEY");
        anna.sees(&bo);
        anna.stage(&bo);
        anna.sees_height(&bo, "in the top layer", |height| height >= 720);

        let limit = Limit::towards(anna.session().process(), PORT, 500);
        anna.sees_height(&bo, "in a layer that fits", |height| {
            (1..720).contains(&height)
        });
        anna.sees(&bo);
        anna.hears(&bo);

        drop(limit);
        anna.sees_height(&bo, "in the top layer again", |height| height >= 720);
    });
}

#[test]
fn a_second_local_address_takes_over_from_the_first() {
    network::apart(|| {
        let call = Call::start("127.0.0.1:10000,127.0.0.2:10000");
        let (anna, bo) = (call.join("anna"), call.join("bo"));
        all_meet(&[&anna, &bo]);

        let address = anna.bridge_address();
        let _outage = Fault::address(&address, PORT);

        eventually(
            "anna reaches the bridge at its other address",
            3 * SOON,
            || anna.bridge_address(),
            |now| !now.is_empty() && *now != address,
        );
        all_meet(&[&anna, &bo]);
    });
}
