//! What the control plane knows of an endpoint's transport: the credentials in force, a pending ICE
//! restart (media-plane spec §1.8), and how far ICE and DTLS came.

use crate::ids::Path;
use crate::transport::ice::Credentials;
use crate::transport::secure::{FailureReason, Setup};

/// How far ICE came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum IceState {
    /// No usable path yet.
    Checking,
    /// There was a usable path.
    Connected,
    /// No path within the time limit.
    Failed,
}

/// How far DTLS came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DtlsState {
    /// Not complete.
    Handshaking,
    /// Media keys exist.
    Connected,
    /// Gave up.
    Failed(FailureReason),
}

/// A restart that did not end yet.
#[derive(Clone, Debug)]
pub(super) struct PendingRestart {
    pub(super) generation: u32,
    pub(super) credentials: Credentials,
    /// The peer's credentials for it came: its checks run.
    pub(super) checks_begun: bool,
}

/// Transport of one endpoint.
#[derive(Clone, Debug)]
pub(super) struct TransportState {
    current: Credentials,
    pub(super) pending: Option<PendingRestart>,
    /// Generation of the latest restart; 0 = none.
    generation: u32,
    pub(super) ice: IceState,
    pub(super) dtls: DtlsState,
    pub(super) path: Option<Path>,
    /// The peer's role, once signaled.
    pub(super) remote_setup: Option<Setup>,
}

/// What must be done with a signaled change of the peer's ICE parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RemoteIceUse {
    /// Tell the worker.
    Apply,
    /// It is late, repeated or for no session that exists.
    Ignore(&'static str),
}

impl TransportState {
    pub(super) fn new(credentials: Credentials) -> TransportState {
        TransportState {
            current: credentials,
            pending: None,
            generation: 0,
            ice: IceState::Checking,
            dtls: DtlsState::Handshaking,
            path: None,
            remote_setup: None,
        }
    }

    /// Credentials of the session in use.
    pub(super) fn credentials(&self) -> &Credentials {
        &self.current
    }

    /// The role to signal: open until the peer's is known.
    pub(super) fn local_setup(&self) -> Setup {
        match self.remote_setup {
            Some(Setup::Active) => Setup::Passive,
            Some(Setup::Passive) => Setup::Active,
            Some(Setup::ActPass) | None => Setup::ActPass,
        }
    }

    /// Decides about remote ICE parameters tagged with `generation` (rules 2 and 3 of §1.8); the first
    /// complete ones for a pending restart start its checks.
    pub(super) fn accept_remote_ice(
        &mut self,
        generation: Option<u32>,
        credentials: bool,
    ) -> RemoteIceUse {
        match (generation, &mut self.pending) {
            (Some(tag), Some(pending)) if pending.generation == tag => {
                if pending.checks_begun && credentials {
                    return RemoteIceUse::Ignore("repeated answer to an ICE restart");
                }
                pending.checks_begun |= credentials;
                RemoteIceUse::Apply
            }
            (Some(_), _) => RemoteIceUse::Ignore("no pending ICE restart has that generation"),
            (None, _) if self.ice == IceState::Connected => {
                RemoteIceUse::Ignore("ICE is connected")
            }
            (None, _) => RemoteIceUse::Apply,
        }
    }

    /// The pending restart if a further request must get it again: the peer did not answer it yet.
    pub(super) fn restart_to_repeat(&self) -> Option<&PendingRestart> {
        self.pending
            .as_ref()
            .filter(|pending| !pending.checks_begun)
    }

    /// Begins a restart; a pending one is superseded. Returns its generation.
    pub(super) fn begin_restart(&mut self, credentials: Credentials) -> u32 {
        self.generation = self.generation.saturating_add(1);
        let generation = self.generation;
        self.pending = Some(PendingRestart {
            generation,
            credentials,
            checks_begun: false,
        });
        generation
    }

    /// A restart cut over or was given up.
    pub(super) fn restart_ended(&mut self, generation: u32, cut_over: bool) {
        // The end of a superseded restart changes nothing: the later one's end will tell.
        if let Some(pending) = self
            .pending
            .take_if(|pending| pending.generation == generation)
            && cut_over
        {
            self.current = pending.credentials;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(ufrag: &str) -> Credentials {
        Credentials {
            ufrag: ufrag.into(),
            password: "0123456789012345678901".into(),
        }
    }

    #[test]
    fn the_local_role_answers_the_remote_one() {
        let mut transport = TransportState::new(credentials("a"));
        assert_eq!(transport.local_setup(), Setup::ActPass);
        transport.remote_setup = Some(Setup::Active);
        assert_eq!(transport.local_setup(), Setup::Passive);
        transport.remote_setup = Some(Setup::Passive);
        assert_eq!(transport.local_setup(), Setup::Active);
    }

    #[test]
    fn media_plane_case_26_an_answer_tagged_with_a_stale_generation_is_ignored() {
        let mut transport = TransportState::new(credentials("a"));
        transport.ice = IceState::Connected;
        assert!(matches!(
            transport.accept_remote_ice(Some(1), true),
            RemoteIceUse::Ignore(_)
        ));
        assert_eq!(transport.begin_restart(credentials("b")), 1);
        assert_eq!(
            transport.accept_remote_ice(Some(1), true),
            RemoteIceUse::Apply
        );
        assert!(matches!(
            transport.accept_remote_ice(Some(1), true),
            RemoteIceUse::Ignore(_)
        ));
        assert_eq!(
            transport.accept_remote_ice(Some(1), false),
            RemoteIceUse::Apply,
            "trickled candidates"
        );
        assert_eq!(transport.begin_restart(credentials("c")), 2);
        assert!(matches!(
            transport.accept_remote_ice(Some(1), true),
            RemoteIceUse::Ignore(_)
        ));
        assert!(matches!(
            transport.accept_remote_ice(None, true),
            RemoteIceUse::Ignore(_)
        ));
    }

    #[test]
    fn the_end_of_a_superseded_restart_changes_nothing() {
        let mut transport = TransportState::new(credentials("a"));
        transport.begin_restart(credentials("b"));
        transport.begin_restart(credentials("c"));
        transport.restart_ended(1, true);
        assert_eq!(&*transport.credentials().ufrag, "a");
        transport.restart_ended(2, true);
        assert_eq!(&*transport.credentials().ufrag, "c");
        assert!(transport.pending.is_none());
    }
}
