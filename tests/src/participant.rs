//! A participant: a browser that shows the demo page, driven through `window.causeway`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::eventually::{eventually, grows};
use crate::webdriver::Session;

/// Limit for what takes a second or two on an idle machine.
pub const SOON: Duration = Duration::from_secs(30);
/// Frames that have to be decoded anew before a picture counts as moving.
const MOVING: f64 = 15.0;
/// Samples that have to be received anew before sound counts as flowing: a second at 48 kHz.
const FLOWING: f64 = 48_000.0;

/// Someone in a call.
#[derive(Debug)]
pub struct Participant {
    name: &'static str,
    /// The bridge channel that it is to have.
    channel: &'static str,
    session: Session,
}

impl Participant {
    /// Opens the demo page and joins the room, with these wishes as in the query of its address: `codec=vp9` prefers that
    /// codec, `channel=websocket` does without a data channel.
    ///
    /// The camera is the browser's stand-in, which costs less than the page's test picture; the microphone
    /// is the page's test tone, which pauses, so that the dominant speaker changes.
    pub fn join(
        session: Session,
        demo: &str,
        room: &str,
        name: &'static str,
        wishes: &str,
    ) -> Participant {
        session.go_to(&format!(
            "{demo}/?room={room}&name={name}&join=1&microphone=test&screen=test&{wishes}"
        ));
        let channel = if wishes.contains("channel=websocket") {
            "websocket"
        } else {
            "data channel"
        };
        let participant = Participant {
            name,
            channel,
            session,
        };
        participant.is_connected();
        participant
    }

    /// The display name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The browser.
    pub fn session(&self) -> &Session {
        &self.session
    }

    // ---- what the page shows --------------------------------------------------------------------------

    /// The page's `causeway.state()`; null while the page loads.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.session
            .run("return window.causeway?.state() ?? null", &[])
    }

    /// The page's `causeway.stats()`.
    #[track_caller]
    pub fn stats(&self) -> Value {
        self.session
            .run("return window.causeway?.stats() ?? null", &[])
    }

    /// Id of this participant's endpoint. Changes when the page joins again.
    #[track_caller]
    pub fn endpoint(&self) -> String {
        text(&self.state()["endpoint"])
    }

    /// Figures of what is received of `owner`'s camera and microphone; null before there are any.
    #[track_caller]
    pub fn figures_of(&self, owner: &Participant) -> Value {
        self.tile_of(owner, false)
    }

    #[track_caller]
    fn tile_of(&self, owner: &Participant, screen: bool) -> Value {
        let owner = owner.endpoint();
        let stats = self.stats();
        let tile = stats["tiles"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|tile| tile["owner"] == *owner && tile["screen"] == screen);
        tile.cloned().unwrap_or_default()
    }

    /// Height of the decoded picture of `owner`'s camera, in pixels; 0 without one.
    #[track_caller]
    pub fn height_of(&self, owner: &Participant) -> u64 {
        self.figures_of(owner)["video"]["frameHeight"]
            .as_u64()
            .unwrap_or(0)
    }

    /// IP address at which this browser reaches the bridge; empty before there is one.
    #[track_caller]
    pub fn bridge_address(&self) -> String {
        let remote = text(&self.stats()["link"]["remote"]);
        remote
            .rsplit_once(':')
            .map_or_else(String::new, |(address, _)| address.to_owned())
    }

    /// What the page says about the connection of the participant of this name; null if all is well.
    #[track_caller]
    pub fn status_of(&self, name: &str) -> Value {
        let state = self.state();
        let people = state["participants"].as_array();
        let endpoint = people
            .into_iter()
            .flatten()
            .find(|one| one["name"] == name)
            .map(|one| one["endpoint"].clone());
        let stats = self.stats();
        let tiles = stats["tiles"].as_array();
        tiles
            .into_iter()
            .flatten()
            .find(|tile| Some(&tile["owner"]) == endpoint.as_ref())
            .map_or(Value::Null, |tile| tile["status"].clone())
    }

    // ---- what is expected of it -----------------------------------------------------------------------

    /// Waits until media and bridge channel are connected.
    #[track_caller]
    pub fn is_connected(&self) {
        let what = format!("{} is connected, with a bridge channel", self.name);
        eventually(
            &what,
            SOON,
            || self.state(),
            |state| state["connection"] == "connected" && state["channel"] == self.channel,
        );
    }

    /// Waits until this many people are in the room, as this page sees it.
    #[track_caller]
    pub fn sees_people(&self, count: usize) {
        let what = format!("{} sees {count} people in the room", self.name);
        eventually(
            &what,
            SOON,
            || self.state(),
            |state| state["participants"].as_array().map(Vec::len) == Some(count),
        );
    }

    /// Waits until the picture of `owner` moves.
    #[track_caller]
    pub fn sees(&self, owner: &Participant) {
        let what = format!("{} sees {} move", self.name, owner.name);
        grows(&what, MOVING, SOON, || {
            number(&self.figures_of(owner)["video"]["framesDecoded"])
        });
    }

    /// Waits until a screen shared by `owner` is shown and changes.
    #[track_caller]
    pub fn sees_screen(&self, owner: &Participant) {
        let what = format!("{} sees {}'s screen", self.name, owner.name);
        grows(&what, MOVING, SOON, || {
            number(&self.tile_of(owner, true)["video"]["framesDecoded"])
        });
    }

    /// Waits until sound of `owner` flows, and is not silence.
    #[track_caller]
    pub fn hears(&self, owner: &Participant) {
        let audio = |key: &str| number(&self.figures_of(owner)["audio"][key]);
        let what = format!("sound flows from {} to {}", owner.name, self.name);
        grows(&what, FLOWING, SOON, || audio("totalSamplesReceived"));
        let what = format!("{} hears {}'s tone", self.name, owner.name);
        grows(&what, f64::MIN_POSITIVE, SOON, || audio("totalAudioEnergy"));
    }

    /// Waits until the bridge has named someone the dominant speaker.
    #[track_caller]
    pub fn sees_a_dominant_speaker(&self) -> String {
        let what = format!("{} sees a dominant speaker", self.name);
        let state = eventually(
            &what,
            SOON,
            || self.state(),
            |state| state["dominantSpeaker"].is_string(),
        );
        text(&state["dominantSpeaker"])
    }

    /// Waits until the decoded picture of `owner` is as high as `fits` wants.
    #[track_caller]
    pub fn sees_height(&self, owner: &Participant, what: &str, fits: impl Fn(u64) -> bool) {
        let what = format!("{} sees {} {what}", self.name, owner.name);
        eventually(
            &what,
            SOON,
            || (self.height_of(owner), self.figures_of(owner)),
            |(height, _)| fits(*height),
        );
    }

    // ---- what it does ---------------------------------------------------------------------------------

    /// Puts `owner` on stage.
    pub fn stage(&self, owner: &Participant) {
        let owner = owner.endpoint();
        self.session.run(
            "return window.causeway.actions.setStage(arguments[0])",
            &[json!(owner)],
        );
    }

    /// Goes back to equal tiles.
    pub fn show_tiles(&self) {
        self.session
            .run("return window.causeway.actions.setStage(null)", &[]);
    }

    /// Switches the camera.
    pub fn set_camera(&self, on: bool) {
        self.session.run(
            "return window.causeway.actions.setCamera(arguments[0])",
            &[json!(on)],
        );
    }

    /// Starts or ends sharing a stand-in for a screen.
    pub fn set_screen(&self, on: bool) {
        self.session.run(
            "return window.causeway.actions.setScreen(arguments[0])",
            &[json!(on)],
        );
    }

    /// Tells the bridge something that the page would not.
    pub fn tells(&self, class: &str, fields: &Value) {
        self.session.run(
            "return window.causeway.actions.send(arguments[0], arguments[1])",
            &[json!(class), fields.clone()],
        );
    }

    /// Asks the bridge for new ICE credentials, and waits until they are answered.
    pub fn restart_ice(&self) {
        self.session
            .run("return window.causeway.actions.restartIce()", &[]);
    }

    /// Leaves the room; the page goes back to its lobby.
    pub fn leave(&self) {
        self.session.run("window.causeway.actions.leave()", &[]);
    }

    /// Ends the browser without giving the page a chance to say goodbye.
    pub fn dies(self) {
        self.session.kill();
    }

    /// Joins the room again, with the lobby's button.
    pub fn join_again(&self) {
        self.session
            .run("document.getElementById('join-button').click()", &[]);
        self.is_connected();
    }
}

/// Waits until everybody sees and hears everybody else.
#[track_caller]
pub fn all_meet(everybody: &[&Participant]) {
    for one in everybody {
        one.sees_people(everybody.len());
        for other in everybody.iter().filter(|other| other.name != one.name) {
            one.sees(other);
            one.hears(other);
        }
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
