//! A browser with lib-jitsi-meet, driven through the page's `window.meet`.

use std::time::Duration;

use serde_json::{Value, json};

use super::focus::Channel;
use crate::eventually::{eventually, grows};
use crate::webdriver::Session;

/// Limit for what takes a second or two on an idle machine.
pub const SOON: Duration = Duration::from_secs(30);
/// Frames that have to be decoded anew before a picture counts as moving.
const MOVING: f64 = 15.0;
/// Samples that have to be received anew before sound counts as flowing: a second at 48 kHz.
const FLOWING: f64 = 48_000.0;

/// Someone in the room.
#[derive(Debug)]
pub struct Client {
    name: &'static str,
    id: String,
    session: Session,
}

impl Client {
    pub(super) fn join(
        session: Session,
        page: &str,
        focus: &str,
        channel: Channel,
        name: &'static str,
    ) -> Client {
        session.go_to(page);
        session.run(
            "return window.meet.join(arguments[0])",
            &[json!({ "focus": focus, "name": name })],
        );
        let mut client = Client {
            name,
            id: String::new(),
            session,
        };
        let mode = match channel {
            Channel::Sctp => "datachannel",
            Channel::WebSocket => "websocket",
        };
        let state = client.awaits(&format!("has an open {mode}"), |state| {
            state["channel"] == true && state["mode"] == mode
        });
        client.id = state["id"].as_str().expect("it has joined").to_owned();
        // What the library sends by itself has the keys of its time, which the bridge refuses like any of today's; without
        // constraints there are no pictures.
        client.wants(&json!({ "lastN": -1, "defaultConstraints": { "maxHeight": 180 } }));
        client
    }

    /// Id of the endpoint, which is the name in the room.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the page's `meet.state()` says.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.session.run("return window.meet.state()", &[])
    }

    /// Waits until the page's state is as it should be.
    #[track_caller]
    pub fn awaits(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let what = format!("{} {what}", self.name);
        eventually(&what, SOON, || self.state(), holds)
    }

    /// What is received of somebody's picture.
    #[track_caller]
    fn picture_of(&self, other: &Client) -> Value {
        self.state()["tracks"][format!("{}/video", other.id)].clone()
    }

    /// Waits until somebody's picture moves.
    #[track_caller]
    pub fn sees(&self, other: &Client) {
        let what = format!("{} sees {} move", self.name, other.name);
        grows(&what, MOVING, SOON, || {
            self.picture_of(other)["frames"].as_f64().unwrap_or(0.0)
        });
    }

    /// Waits until sound of somebody flows.
    #[track_caller]
    pub fn hears(&self, other: &Client) {
        let what = format!("{} hears {}", self.name, other.name);
        let track = format!("{}/audio", other.id);
        grows(&what, FLOWING, SOON, || {
            self.state()["tracks"][&track]["samples"]
                .as_f64()
                .unwrap_or(0.0)
        });
    }

    /// Waits until somebody's picture is as high as it should be.
    #[track_caller]
    pub fn sees_height(&self, other: &Client, fits: impl Fn(u64) -> bool) {
        let what = format!("{} sees {} in another size", self.name, other.name);
        eventually(
            &what,
            SOON,
            || self.picture_of(other),
            |picture| picture["height"].as_u64().is_some_and(&fits),
        );
    }

    /// Waits until somebody's picture is of this kind: `camera` or `desktop`.
    #[track_caller]
    pub fn sees_kind(&self, other: &Client, kind: &str) {
        let what = format!("{} sees the {kind} of {}", self.name, other.name);
        eventually(
            &what,
            SOON,
            || self.picture_of(other),
            |picture| picture["videoType"] == kind,
        );
    }

    /// Waits until the dominant speaker is this one.
    #[track_caller]
    pub fn sees_speaking(&self, other: &Client) {
        self.awaits(&format!("sees that {} speaks", other.name), |state| {
            state["dominant"] == other.id
        });
    }

    /// Tells the bridge what this client wants to receive.
    pub fn wants(&self, constraints: &Value) {
        self.session.run(
            "window.meet.room.setReceiverConstraints(arguments[0])",
            std::slice::from_ref(constraints),
        );
    }

    /// Mutes or unmutes the microphone.
    pub fn mute(&self, muted: bool) {
        let script = "return window.meet.local.audio[arguments[0] ? 'mute' : 'unmute']()";
        self.session.run(script, &[json!(muted)]);
    }

    /// Sends a message to everybody through the bridge.
    pub fn says(&self, text: &str) {
        self.session.run(
            "window.meet.room.broadcastEndpointMessage({ text: arguments[0] })",
            &[json!(text)],
        );
    }

    /// Shares a screen in place of the camera.
    pub fn share_screen(&self) {
        self.session.run("return window.meet.shareScreen()", &[]);
    }

    /// Goes back to the camera.
    pub fn show_camera(&self) {
        self.session.run("return window.meet.showCamera()", &[]);
    }

    /// Leaves the room; the page stays.
    pub fn leave(&self) {
        self.session.run("return window.meet.room.leave()", &[]);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let script =
                "return JSON.stringify([await window.meet.state(), window.meet.console], null, 1)";
            let state = self.session.run(script, &[]);
            eprintln!("---- {}: {}", self.name, state.as_str().unwrap_or_default());
        }
    }
}

/// Waits until everybody sees and hears everybody else.
#[track_caller]
pub fn all_see_each_other(everybody: &[&Client]) {
    for one in everybody {
        for other in everybody.iter().filter(|other| other.id != one.id) {
            one.sees(other);
            one.hears(other);
        }
    }
}
