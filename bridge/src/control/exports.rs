//! Media exports of a conference (colibri2 spec §3.5): what signaling asks for, and what peers say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::{debug, info, warn};

use super::Control;
use crate::channel::ServerMessage;
use crate::export::{
    Connect, ConnectAction, ConnectError, ExportCommand, ExportSettings, ExportSetup, Received, Tap,
};
use crate::ids::{ConferenceKey, ExportKey, SourceName};
use crate::limits::MAX_CONNECTS;
use crate::media::MediaKind;
use crate::messages::{Command, InjectedAudio};
use crate::time::Time;

/// An export that runs.
pub(super) struct Export {
    pub(super) key: ExportKey,
    pub(super) settings: ExportSettings,
    tap: Arc<Tap>,
}

/// The exports of one conference by their ids.
pub(super) type Exports = BTreeMap<String, Export>;

impl Control {
    /// Whether [`Control::apply_connects`] would do it, in a conference that exists or, for `None`, in a new one.
    ///
    /// # Errors
    ///
    /// The first connect that can not be done.
    pub fn check_connects(
        &self,
        conference: Option<ConferenceKey>,
        connects: &[Connect],
    ) -> Result<(), ConnectError> {
        let invalid = |text: String| Err(ConnectError::Invalid(text));
        let nothing = Exports::new();
        let conference = conference.and_then(|key| self.conferences.get(&key));
        let running = conference.map_or(&nothing, |conference| &conference.exports);
        let with = |wanted: ConnectAction| {
            let connects = connects.iter();
            connects.filter(move |connect| connect.action == wanted)
        };

        let mut expired = BTreeSet::new();
        for connect in with(ConnectAction::Expire) {
            let id = &connect.settings.id;
            if !expired.insert(id) {
                return invalid(format!("Connect {id} is expired twice in a request"));
            }
        }
        let mut named = BTreeSet::new();
        for connect in with(ConnectAction::Create) {
            let id = &connect.settings.id;
            check_media(connect)?;
            if !named.insert(id) {
                return invalid(format!("Connect {id} is in the request twice"));
            }
            if running.contains_key(id) && !expired.contains(id) {
                return invalid(format!("Connect with ID {id} already exists"));
            }
        }
        for connect in with(ConnectAction::Update) {
            let id = &connect.settings.id;
            check_media(connect)?;
            if !named.insert(id) || expired.contains(id) {
                return invalid(format!("Connect {id} is in the request twice"));
            }
            let Some(export) = running.get(id) else {
                return invalid(format!("Unknown connect {id}"));
            };
            let changed = changed_fields(&export.settings, &connect.settings);
            if !changed.is_empty() {
                return Err(ConnectError::Unsupported(format!(
                    "Changing {} of connect {id}: expire and create it instead",
                    changed.join(", ")
                )));
            }
        }
        let kept = running.keys().filter(|id| !expired.contains(id)).count();
        if kept + with(ConnectAction::Create).count() > MAX_CONNECTS {
            return invalid(format!(
                "A conference has at most {MAX_CONNECTS} connects; expire one"
            ));
        }
        Ok(())
    }

    /// Ends, begins and changes exports, in this order. The others go on.
    ///
    /// # Errors
    ///
    /// Those of [`Control::check_connects`]; nothing was changed then.
    pub fn apply_connects(
        &mut self,
        conference: ConferenceKey,
        connects: Vec<Connect>,
    ) -> Result<(), ConnectError> {
        self.check_connects(Some(conference), &connects)?;
        let Some(conference) = self.conferences.get_mut(&conference) else {
            return Ok(());
        };
        let mut members_changed = false;
        let mut connects = connects;
        connects.sort_by_key(|connect| match connect.action {
            ConnectAction::Expire => 0,
            ConnectAction::Create => 1,
            ConnectAction::Update => 2,
        });
        for Connect {
            action, settings, ..
        } in connects
        {
            let id = settings.id.escape_debug().to_string();
            match action {
                ConnectAction::Expire => match conference.exports.remove(&settings.id) {
                    Some(export) => {
                        info!(parent: &conference.span, id, "media export ends");
                        self.exports.remove(&export.key);
                        self.outputs.export(ExportCommand::Close(export.key));
                        members_changed = true;
                    }
                    None => warn!(parent: &conference.span, id, "no such media export to end"),
                },
                ConnectAction::Create => {
                    self.last_export += 1;
                    let key = ExportKey(self.last_export);
                    let tap = Arc::new(Tap::default());
                    let kind = settings.kind.name();
                    info!(parent: &conference.span, id, kind, "media export begins");
                    self.outputs
                        .export(ExportCommand::Open(Box::new(ExportSetup {
                            key,
                            conference: conference.key,
                            meeting_id: conference.options.meeting_id.clone(),
                            settings: settings.clone(),
                            tap: Arc::clone(&tap),
                        })));
                    self.exports.insert(key, conference.key);
                    let export = Export { key, settings, tap };
                    conference
                        .exports
                        .insert(export.settings.id.clone(), export);
                    members_changed = true;
                }
                ConnectAction::Update => {
                    let Some(export) = conference.exports.get_mut(&settings.id) else {
                        continue;
                    };
                    let same = export.settings.exports == settings.exports
                        && export.settings.requests == settings.requests;
                    if !same {
                        self.outputs.export(ExportCommand::Update(
                            export.key,
                            settings.exports.clone(),
                            settings.requests.clone(),
                        ));
                        export.settings = settings;
                        info!(parent: &conference.span, id, "media export changes its sources");
                    }
                }
            }
        }
        if members_changed {
            let taps = taps(&conference.exports);
            let key = conference.key;
            self.outputs
                .shards(conference, || Command::Taps(key, Arc::clone(&taps)));
        }
        Ok(())
    }

    /// Carries out what the peer of an export said. One that is gone says nothing any more.
    pub fn export_received(&mut self, now: Time, export: ExportKey, received: Received) {
        let Some(key) = self.exports.get(&export).copied() else {
            return;
        };
        match received {
            Received::Transcript(text) => self.transcript(now, key, &text),
            Received::Media {
                tag,
                timestamp,
                payload,
            } => {
                let Some((worker, source)) = self.synthetic_source(key, &tag) else {
                    debug!(conf = %key, tag = %tag.escape_debug(), "audio for no synthetic source dropped");
                    return;
                };
                let audio = InjectedAudio {
                    source,
                    timestamp,
                    payload,
                };
                self.outputs
                    .worker(worker, Command::InjectAudio(key, Box::new(audio)));
            }
            Received::Sending {
                tag,
                sending,
                timestamp,
            } => {
                if self.synthetic_source(key, &tag).is_none() {
                    return;
                }
                let message = ServerMessage::SyntheticSourceSendingChangeEvent {
                    source: &SourceName::new(tag),
                    sending,
                    timestamp,
                };
                let (class, text) = (message.class(), message.to_json().into());
                self.broadcast(key, class, message.topic().as_ref(), &text);
            }
        }
    }

    /// Sends a transcript to everybody (bridge-channel spec §7.7), within the budget of the conference (T54).
    fn transcript(&mut self, now: Time, key: ConferenceKey, object: &str) {
        let Some(conference) = self.conferences.get_mut(&key) else {
            return;
        };
        let text: Arc<str> = format!(
            r#"{{"colibriClass":"EndpointMessage","to":"","msgPayload":{object},"from":"transcriber"}}"#
        )
        .into();
        let receivers = conference.members.len();
        if !conference.fan_out.admit(now, text.len(), receivers) {
            self.counters.messages_over_budget += 1;
            if conference.worth_a_warning(now) {
                warn!(parent: &conference.span, "message budget of the conference is used up: some transcripts are dropped");
            }
            return;
        }
        self.broadcast(key, "EndpointMessage", None, &text);
    }

    /// A synthetic audio source of a conference, and the worker of its owner.
    fn synthetic_source(
        &self,
        conference: ConferenceKey,
        name: &str,
    ) -> Option<(crate::ids::WorkerId, crate::ids::SourceKey)> {
        let conference = self.conferences.get(&conference)?;
        let owner = conference.owner_of_name(&SourceName::new(name))?;
        let owner = self.endpoints.get(&owner)?;
        let source = owner.sources.sources.iter().find(|source| {
            source.name.as_str() == name && source.synthetic && source.kind == MediaKind::Audio
        })?;
        Some((owner.worker, source.key))
    }
}

/// Where the workers of a conference leave its audio.
pub(super) fn taps(exports: &Exports) -> Arc<[Arc<Tap>]> {
    let wanted = exports.values().filter(|export| export.settings.audio);
    wanted.map(|export| Arc::clone(&export.tap)).collect()
}

fn check_media(connect: &Connect) -> Result<(), ConnectError> {
    if connect.video {
        return Err(ConnectError::Unsupported("Video".to_owned()));
    }
    Ok(())
}

/// What differs of that which can not be changed.
fn changed_fields(old: &ExportSettings, new: &ExportSettings) -> Vec<&'static str> {
    let fields = [
        ("url", old.url == new.url),
        ("type", old.kind == new.kind),
        ("audio", old.audio == new.audio),
        ("headers", old.headers == new.headers),
        ("ping", old.pings == new.pings),
    ];
    let changed = fields.into_iter().filter(|(_, same)| !same);
    changed.map(|(name, _)| name).collect()
}
