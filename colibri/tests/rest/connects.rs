//! Media exports over REST (colibri2 spec §3.5).

use causeway_bridge::control::api::ControlOutput;
use causeway_bridge::export::ExportCommand;
use causeway_bridge::limits::MAX_CONNECTS;
use serde_json::{Value, json};

use crate::cases::{meeting, refused};
use crate::world::World;

/// A `connect` with these members besides the mandatory ones.
fn connect(members: Value) -> Value {
    let mut connect = json!({ "id": "t", "url": "wss://stt.example/m1", "protocol": "mediajson", "type": "transcriber", "audio": true });
    for (name, value) in members.as_object().unwrap() {
        connect[name] = value.clone();
    }
    connect
}

/// The media exports that were begun, changed and ended since the last call, by kind of command.
fn exports(world: &World) -> Vec<&'static str> {
    let outputs = world.take_outputs().into_iter();
    let commands = outputs.filter_map(|output| match output {
        ControlOutput::Export(ExportCommand::Open(_)) => Some("open"),
        ControlOutput::Export(ExportCommand::Update(..)) => Some("update"),
        ControlOutput::Export(ExportCommand::Close(_)) => Some("close"),
        _ => None,
    });
    commands.collect()
}

#[tokio::test]
async fn colibri2_cases_48_49_connects() {
    let world = meeting(&["a"]).await;
    let ask = async |connects: Value| world.patch(json!({ "connects": connects })).await;
    let done = (200, json!({}));
    refused(
        &ask(json!([connect(json!({}))])).await,
        "Unknown connect t",
        None,
    );
    let create = json!([connect(
        json!({ "create": true, "headers": { "Authorization": "Bearer x" } })
    )]);
    assert_eq!(ask(create.clone()).await, done);
    assert_eq!(exports(&world), ["open"]);
    refused(&ask(create).await, "Connect with ID t already exists", None);
    let changed = connect(
        json!({ "url": "wss://other.example", "type": "recorder", "audio": false, "ping": { "interval": 1000, "timeout": 500 } }),
    );
    refused(
        &ask(json!([changed])).await,
        "Changing url, type, audio, headers, ping of connect t: expire and create it instead",
        Some("feature_not_implemented"),
    );
    let video = connect(json!({ "id": "v", "create": true, "video": true }));
    let fine = connect(json!({ "id": "u", "create": true }));
    refused(
        &ask(json!([fine, video])).await,
        "Video",
        Some("feature_not_implemented"),
    );
    assert_eq!(
        ask(json!([connect(json!({ "id": "x", "expire": true }))])).await,
        done
    );
    assert_eq!(ask(json!([])).await, done);
    assert_eq!(exports(&world), [""; 0], "refused requests have no effect");

    // A delta: lists of sources are changed in place, the same ones again change nothing.
    let headers = json!({ "Authorization": "Bearer x" });
    let listed = json!([connect(
        json!({ "headers": headers, "exports": ["a-a0"], "requests": ["a-a0.fr"] })
    )]);
    assert_eq!(ask(listed.clone()).await, done);
    assert_eq!(ask(listed).await, done);
    assert_eq!(exports(&world), ["update"]);
    let other = connect(json!({ "id": "u", "create": true }));
    assert_eq!(ask(json!([other])).await, done);
    // Replaced by expire and create in one request, in whichever order.
    let expire = connect(json!({ "expire": true }));
    let again = connect(json!({ "create": true }));
    assert_eq!(ask(json!([again, expire])).await, done);
    assert_eq!(exports(&world), ["open", "close", "open"]);
    // What contradicts itself.
    for connects in [
        json!([expire, expire]),
        json!([expire, connect(json!({}))]),
        json!([connect(json!({})), connect(json!({}))]),
        json!([
            connect(json!({ "id": "n", "create": true })),
            connect(json!({ "id": "n", "create": true }))
        ]),
        json!([
            connect(json!({ "id": "n", "create": true })),
            connect(json!({ "id": "n" }))
        ]),
    ] {
        let (status, body) = ask(connects.clone()).await;
        assert_eq!((status, body.get("reason")), (400, None), "{connects}");
    }
    // The conference ends, and they with it.
    assert_eq!(exports(&world), [""; 0]);
    assert_eq!(world.patch(json!({ "expire": true })).await.0, 200);
    assert_eq!(exports(&world), ["close", "close"]);
}

#[tokio::test]
async fn t62_connects_are_bounded_and_can_not_smuggle_headers() {
    let world = meeting(&["a"]).await;
    let ask = async |connects: Value| world.patch(json!({ "connects": connects })).await;
    for members in [
        json!({ "url": "http://stt.example" }),
        json!({ "url": "stt.example" }),
        json!({ "protocol": "x" }),
        json!({ "type": "x" }),
        json!({ "headers": { "X:\r\nHost: y": "z" } }),
        json!({ "headers": { "": "z" } }),
        json!({ "headers": { "X": "\u{0}" } }),
        json!({ "headers": { "X": 1 } }),
        json!({ "ping": { "interval": 1 } }),
        json!({ "exports": [1] }),
    ] {
        let mut members = members;
        members["create"] = true.into();
        let (status, body) = ask(json!([connect(members.clone())])).await;
        assert_eq!(status, 400, "{members} {body}");
    }
    // Line ends in a value are removed, so that it stays one header.
    let folded = connect(json!({ "create": true, "headers": { "X": "a\r\nHost: y" } }));
    assert_eq!(ask(json!([folded])).await.0, 200);
    let outputs = world.take_outputs().into_iter();
    let headers = outputs.filter_map(|output| match output {
        ControlOutput::Export(ExportCommand::Open(setup)) => Some(setup.settings.headers),
        _ => None,
    });
    let expected = vec![("X".to_owned(), "aHost: y".to_owned())];
    assert_eq!(headers.collect::<Vec<_>>(), [expected]);
    let many: Vec<Value> = (0..MAX_CONNECTS)
        .map(|id| connect(json!({ "id": id.to_string(), "create": true })))
        .collect();
    assert_eq!(ask(json!(many)).await.0, 400, "one more than allowed");
    assert_eq!(ask(json!(many[1..])).await.0, 200);
}
