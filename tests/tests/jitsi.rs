//! A published lib-jitsi-meet meets through the bridge, with Prosody and a focus of our own between them.
//!
//! `scripts/test jitsi`

use causeway_tests::eventually;
use causeway_tests::jitsi::{Channel, Deployment, all_see_each_other};

use std::time::Duration;

use serde_json::json;

#[test]
fn three_clients_meet_over_websockets() {
    meet(Channel::WebSocket);
}

#[test]
fn three_clients_meet_over_data_channels() {
    meet(Channel::Sctp);
}

fn meet(channel: Channel) {
    let deployment = Deployment::start(channel);
    let (anna, bo, clara) = (
        deployment.join("anna"),
        deployment.join("bo"),
        deployment.join("clara"),
    );
    all_see_each_other(&[&anna, &bo, &clara]);
    let stats = deployment.bridge_stats();
    assert_eq!(stats["participants"], 3, "{stats:#}");
    assert_eq!(stats["conferences"], 1, "{stats:#}");

    let source = format!("{}-v0", bo.id());
    anna.sees_height(&bo, |height| (1..=180).contains(&height));
    anna.wants(&json!({
        "lastN": -1, "onStageSources": [source], "defaultConstraints": { "maxHeight": 180 },
        "constraints": { &source: { "maxHeight": 360 } },
    }));
    anna.sees_height(&bo, |height| height >= 300);
    anna.sees(&clara);

    // A message passes through the bridge channel.
    anna.says("ahoy");
    bo.awaits("gets the message", |state| {
        state["log"] == json!([{ "from": anna.id(), "text": "ahoy" }])
    });

    // Who is alone with an open microphone speaks.
    for (speaker, quiet) in [(&bo, [&anna, &clara]), (&clara, [&anna, &bo])] {
        speaker.mute(false);
        for one in quiet {
            one.mute(true);
        }
        anna.sees_speaking(speaker);
    }

    bo.share_screen();
    anna.sees_kind(&bo, "desktop");
    anna.sees(&bo);
    bo.show_camera();
    anna.sees_kind(&bo, "camera");
    anna.sees(&bo);

    clara.leave();
    anna.awaits("sees that clara is gone", |state| {
        state["people"] == json!([bo.id()])
            && state["tracks"].as_object().map(serde_json::Map::len) == Some(2)
    });
    anna.sees(&bo);
    bo.sees(&anna);
    eventually(
        "the bridge has two endpoints left",
        Duration::from_secs(30),
        || deployment.bridge_stats()["participants"].clone(),
        |participants| *participants == 2,
    );
    for one in [&anna, &bo] {
        assert_eq!(one.state()["failures"], json!([]));
    }
}
