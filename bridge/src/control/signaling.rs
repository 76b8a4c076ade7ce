//! What Colibri2 says about an endpoint: formats, transport, sources (colibri2 spec §3).
//!
//! Each validates everything before it changes anything: a refused operation leaves no trace (T69).

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{debug, info};

use super::Control;
use super::api::{
    ControlError, EndpointChange, LocalTransport, NewSource, RemoteTransport, RestartOutcome,
};
use super::endpoint::ForceMute;
use super::transport_state::{IceState, RemoteIceUse};
use crate::ids::{EndpointKey, SourceKey};
use crate::limits::MAX_REMOTE_CANDIDATES;
use crate::media::{EndpointSources, Extension, ExtensionMap, MediaFormats, SourceDescription};
use crate::messages::{Command, PoolCommand, RemoteIce};
use crate::time::Time;
use crate::timeline::What;
use crate::transport::ice::Credentials;
use crate::transport::secure::Setup;

impl Control {
    /// Merges formats into those that an endpoint has: a payload type number and an extension get their
    /// latest meaning, whether extension headers may be mixed is as in `formats`.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoEndpoint`], numbers out of range, or a limit.
    pub fn add_formats(
        &mut self,
        _now: Time,
        endpoint: EndpointKey,
        formats: MediaFormats,
    ) -> Result<(), ControlError> {
        let endpoint = self
            .endpoints
            .get_mut(&endpoint)
            .ok_or(ControlError::NoEndpoint)?;
        let merged = merge_formats(&endpoint.formats, formats)?;
        if *endpoint.formats != merged {
            endpoint.formats = Arc::new(merged);
            self.outputs.worker(
                endpoint.worker,
                Command::Formats(endpoint.key, Arc::clone(&endpoint.formats)),
            );
        }
        Ok(())
    }

    /// Sets the last-n that counts until the client says otherwise; negative = no limit.
    pub fn set_initial_last_n(&mut self, _now: Time, endpoint: EndpointKey, last_n: i32) {
        if let Some(endpoint) = self.endpoints.get(&endpoint) {
            self.outputs.worker(
                endpoint.worker,
                Command::InitialLastN(endpoint.key, last_n.max(-1)),
            );
        }
    }

    /// Applies what the peer signaled about its transport.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoEndpoint`] or malformed values. What comes too late, or for an ICE session that
    /// does not exist, is ignored without error.
    pub fn set_remote_transport(
        &mut self,
        _now: Time,
        endpoint: EndpointKey,
        mut remote: RemoteTransport,
    ) -> Result<(), ControlError> {
        self.check_change(
            endpoint,
            &EndpointChange {
                remote: Some(&remote),
                ..EndpointChange::default()
            },
        )?;
        let endpoint = self
            .endpoints
            .get_mut(&endpoint)
            .ok_or(ControlError::NoEndpoint)?;
        match remote.setup {
            Some(Setup::ActPass) => {
                info!(parent: &endpoint.span, "remote setup actpass ignored: the peer must choose");
                remote.setup = None;
            }
            Some(setup) => endpoint.transport.remote_setup = Some(setup),
            None => {}
        }
        if !remote.fingerprints.is_empty() || remote.setup.is_some() {
            let command = PoolCommand::Remote {
                endpoint: endpoint.key,
                fingerprints: remote.fingerprints,
                setup: remote.setup,
            };
            self.outputs.pool(endpoint.pool, command);
        }

        if remote.credentials.is_none() && remote.candidates.is_empty() {
            return Ok(());
        }
        // Generation 0 means the first session, as does none.
        let generation = remote.ice_generation.filter(|generation| *generation > 0);
        match endpoint
            .transport
            .accept_remote_ice(generation, remote.credentials.is_some())
        {
            RemoteIceUse::Apply => {
                remote.candidates.truncate(MAX_REMOTE_CANDIDATES);
                let ice = RemoteIce {
                    credentials: remote.credentials,
                    candidates: remote.candidates,
                    generation,
                };
                self.outputs
                    .worker(endpoint.worker, Command::RemoteIce(endpoint.key, ice));
            }
            RemoteIceUse::Ignore(why) => {
                debug!(parent: &endpoint.span, why, "remote ICE parameters ignored");
            }
        }
        Ok(())
    }

    /// Replaces an endpoint's sources. A source whose name, kind and first SSRC stay the same keeps its key
    /// and so everything learned about it.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoEndpoint`], [`ControlError::VisitorSources`], malformed sources, names or SSRCs
    /// that another endpoint of the conference has (T33), or a limit (T31).
    pub fn set_sources(
        &mut self,
        now: Time,
        endpoint: EndpointKey,
        sources: Vec<NewSource>,
    ) -> Result<(), ControlError> {
        self.check_change(
            endpoint,
            &EndpointChange {
                sources: Some(&sources),
                ..EndpointChange::default()
            },
        )?;
        let endpoint = self
            .endpoints
            .get_mut(&endpoint)
            .ok_or(ControlError::NoEndpoint)?;
        let conference = self
            .conferences
            .get_mut(&endpoint.conference)
            .ok_or(ControlError::NoConference)?;

        let old = Arc::clone(&endpoint.sources);
        let new: Vec<SourceDescription> = sources
            .into_iter()
            .map(|source| {
                let known = old.sources.iter().find(|known| {
                    known.name == source.name
                        && known.kind == source.kind
                        && source
                            .encodings
                            .first()
                            .is_some_and(|first| first.ssrc == known.primary_ssrc())
                });
                let key = known.map_or_else(
                    || {
                        self.last_source += 1;
                        SourceKey(self.last_source)
                    },
                    |known| known.key,
                );
                let told = endpoint.told_types.get(&source.name).copied();
                SourceDescription {
                    key,
                    video_type: told.or(source.video_type).unwrap_or_default(),
                    name: source.name,
                    kind: source.kind,
                    encodings: source.encodings,
                    synthetic: source.synthetic,
                }
            })
            .collect();
        if new == old.sources {
            return Ok(());
        }

        conference.replace_sources(endpoint.key, &old.sources, &new);
        let kept: BTreeSet<SourceKey> = new.iter().map(|source| source.key).collect();
        for gone in old
            .sources
            .iter()
            .filter(|source| !kept.contains(&source.key))
        {
            conference.constraints.remove_source(gone.key);
        }
        endpoint.sources = Arc::new(EndpointSources {
            endpoint: endpoint.key,
            id: endpoint.options.id.clone(),
            diarize: endpoint.options.diarize,
            sources: new,
        });
        let announced = u16::try_from(kept.len()).unwrap_or(u16::MAX);
        let what = What::Announced(announced);
        endpoint.timeline.note(&self.config.timeline, now, what);
        let command = || Command::Sources(conference.key, Arc::clone(&endpoint.sources));
        self.outputs.shards(conference, command);

        conference
            .speech
            .set_video_available(endpoint.key, endpoint.has_video_available());
        let conference = conference.key;
        self.publish_order(conference);
        Ok(())
    }

    /// Drops an endpoint's media of a kind on arrival, or no longer.
    pub fn set_force_mute(&mut self, now: Time, endpoint: EndpointKey, audio: bool, video: bool) {
        let Some(endpoint) = self.endpoints.get_mut(&endpoint) else {
            return;
        };
        let force_mute = ForceMute { audio, video };
        if endpoint.force_mute != force_mute {
            endpoint.force_mute = force_mute;
            let what = What::ForceMuted { audio, video };
            endpoint.timeline.note(&self.config.timeline, now, what);
            self.outputs.worker(
                endpoint.worker,
                Command::ForceMute {
                    endpoint: endpoint.key,
                    audio,
                    video,
                },
            );
        }
    }

    /// Asks for an ICE restart in place (media-plane spec §1.8, colibri2 spec §3.9).
    pub fn restart_ice(&mut self, now: Time, endpoint: EndpointKey) -> RestartOutcome {
        let config = &self.config.ice;
        let enabled = config.restart_enabled && !config.restart_timeout.is_zero();
        let Some(state) = self.endpoints.get_mut(&endpoint) else {
            return RestartOutcome::Unavailable;
        };
        if !enabled || state.transport.ice == IceState::Failed {
            self.counters.ice_restarts_rejected += 1;
            return RestartOutcome::Unavailable;
        }
        if state.transport.ice == IceState::Checking {
            self.counters.ice_restarts_not_established += 1;
            return self
                .local_transport(endpoint)
                .map_or(RestartOutcome::Unavailable, RestartOutcome::KeepExisting);
        }
        let (generation, credentials) = match state.transport.restart_to_repeat() {
            Some(pending) => (pending.generation, pending.credentials.clone()),
            None => {
                let credentials =
                    Credentials::generate(&mut self.random, &config.ufrag_prefix, state.worker);
                self.counters.ice_restarts_superseded +=
                    u64::from(state.transport.pending.is_some());
                self.counters.ice_restarts_started += 1;
                let generation = state.transport.begin_restart(credentials.clone());
                info!(parent: &state.span, generation, "ICE restart started");
                let what = What::IceRestart(generation);
                state.timeline.note(&self.config.timeline, now, what);
                let command = Command::RestartIce {
                    endpoint,
                    generation,
                    credentials: credentials.clone(),
                };
                self.outputs.worker(state.worker, command);
                (generation, credentials)
            }
        };
        self.local_transport(endpoint)
            .map_or(RestartOutcome::Unavailable, |transport| {
                RestartOutcome::Started(LocalTransport {
                    credentials,
                    ice_generation: Some(generation),
                    ..transport
                })
            })
    }
}

/// What an endpoint has after formats were merged in.
pub(super) fn merge_formats(
    known: &MediaFormats,
    new: MediaFormats,
) -> Result<MediaFormats, ControlError> {
    let mut merged = known.clone();
    for format in new.payload_types {
        if format.number > 127 {
            return Err(ControlError::Invalid("A payload type is beyond 127"));
        }
        let known = merged
            .payload_types
            .iter()
            .position(|known| known.number == format.number);
        match known.and_then(|at| merged.payload_types.get_mut(at)) {
            Some(known) => *known = format,
            // Numbers are distinct, so that there are never more than MAX_PAYLOAD_TYPES.
            None => merged.payload_types.push(format),
        }
    }
    let mut extensions = ExtensionMap::default();
    let mut taken = BTreeSet::new();
    for extension in Extension::ALL {
        if let Some(id) = new.extensions.id(extension) {
            if !taken.insert(id) {
                return Err(ControlError::Invalid(
                    "A header extension id has two meanings",
                ));
            }
            extensions.set(extension, id);
        }
    }
    for extension in Extension::ALL {
        // An id that means something else now loses its old meaning.
        if new.extensions.id(extension).is_none()
            && let Some(id) = known.extensions.id(extension)
            && taken.insert(id)
        {
            extensions.set(extension, id);
        }
    }
    // Id 15 ends a one-byte header (RFC 8285 §4.2), and without mixing nothing says that two-byte ones are understood.
    if !new.extmap_allow_mixed && taken.contains(&15) {
        return Err(ControlError::Invalid(
            "Header extension id 15 needs extmap-allow-mixed",
        ));
    }
    merged.extensions = extensions;
    merged.extmap_allow_mixed = new.extmap_allow_mixed;
    Ok(merged)
}
