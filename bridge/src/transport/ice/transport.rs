//! One endpoint's ICE: its sessions, and the path that media is sent on.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::address::canonical;
use super::session::{Change, Session, Verdict};
use super::{Credentials, IceEvent, Refusal, Shared};
use crate::config::IceConfig;
use crate::ids::{Path, WorkerId};
use crate::limits::{MAX_REMOTE_CANDIDATES, MAX_STUN_ANSWERS, STUN_ERRORS_PER_SECOND};
use crate::messages::RemoteIce;
use crate::random::Random;
use crate::time::Time;
use crate::wire::stun::{BINDING, Class, StunMessage, TransactionId};

/// Time between any two transmissions of checks of one endpoint: Ta (media-plane §1.5), and with it at
/// most 50 checks a second (T09).
const PACE: Duration = Duration::from_millis(20);
/// Media must come from another path for this long, and none on the current one, before ours goes there:
/// longer than packets of two paths overtake each other, short enough that nobody notices.
const FOLLOW_AFTER: Duration = Duration::from_millis(250);
/// If nothing was heard on the current path for this long when another one becomes valid, the current
/// one is asked for consent at once.
const QUIET: Duration = Duration::from_secs(1);
/// Without any valid pair this long after the remote credentials came, ICE failed. Longer than JVB's
/// grace of 5 s: without signaled candidates there is no check list that could run dry.
const FAILURE_AFTER: Duration = Duration::from_secs(30);

/// An answer that waits to be sent.
#[derive(Clone, Copy, Debug)]
struct Answer {
    generation: u32,
    path: Path,
    transaction: TransactionId,
    verdict: Verdict,
}

/// A check that waits to be sent: that of a path of a session.
#[derive(Clone, Copy, Debug)]
struct DueCheck {
    generation: u32,
    path: Path,
}

/// The session before the last restart, kept so that late packets and checks are served.
struct Retired {
    session: Session,
    until: Time,
}

/// One endpoint's ICE agent.
///
/// After each call that takes `now`, drain [`IceTransport::poll_transmit`] and
/// [`IceTransport::poll_event`], and ask [`IceTransport::poll_timeout`] when to call
/// [`IceTransport::handle_timeout`].
///
/// # The path that media is sent on
///
/// At first it is the first pair that worked, then the nominated one, and it stays while the peer answers
/// on it, with two exceptions:
///
/// - *The peer moved*: its media comes on another path, on which it also answers our checks, and none
///   came on the current one for a quarter of a second.
/// - *The path died*: consent ended, or a few consent checks in a row stayed without answer, while the
///   peer was heard on another path on which it answers our checks.
///
/// As the controlling agent we then nominate the new path too, so that a peer which only follows
/// nominations moves along.
pub struct IceTransport {
    shared: Shared,
    current: Session,
    /// A restart that has not connected yet.
    pending: Option<Box<Session>>,
    retired: Option<Box<Retired>>,
    /// The path of the current session that media is sent on, consent aside.
    target: Option<Path>,
    /// Another path that the peer's media comes on, and since when.
    moving: Option<(Path, Time)>,
    connected: bool,
    failed: bool,
    consent_lost: bool,
    answers: VecDeque<Answer>,
    check: Option<DueCheck>,
    /// No check is sent before.
    pace: Time,
    /// Error answers in the second that began then.
    errors: (Time, u32),
    events: VecDeque<IceEvent>,
}

impl std::fmt::Debug for IceTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceTransport")
            .field("local", &self.current.local)
            .field("generation", &self.current.generation)
            .field("controlling", &self.current.controlling)
            .field("pairs", &self.current.pairs())
            .field("selected", &self.current.selected)
            .field("target", &self.target)
            .field("restarting", &self.pending.is_some())
            .finish_non_exhaustive()
    }
}

impl IceTransport {
    /// A new agent. `sockets` are the local addresses by [`crate::ids::SocketId`]; `controlling` is the
    /// role at first.
    pub fn new(
        config: Arc<IceConfig>,
        worker: WorkerId,
        credentials: Credentials,
        controlling: bool,
        sockets: Arc<[SocketAddr]>,
        mut random: Random,
        now: Time,
    ) -> IceTransport {
        let tag = random.u32();
        let mut shared = Shared {
            config,
            sockets,
            worker,
            tag,
            random,
            relayed: Vec::new(),
        };
        let ufrag = credentials.ufrag.clone();
        let current = Session::new(now, 0, credentials, controlling, &mut shared);
        IceTransport {
            shared,
            current,
            pending: None,
            retired: None,
            target: None,
            moving: None,
            connected: false,
            failed: false,
            consent_lost: false,
            answers: VecDeque::new(),
            check: None,
            pace: now,
            errors: (now, 0),
            events: VecDeque::from([IceEvent::UfragAdded(ufrag)]),
        }
    }

    /// Sets what [`super::tag_of_transaction`] finds in the transaction ids of this agent's checks, such
    /// as the worker's index of the endpoint. Without it the tag is random.
    pub fn with_tag(mut self, tag: u32) -> IceTransport {
        self.shared.tag = tag;
        self
    }

    // ---- questions ------------------------------------------------------------------------------

    /// Whether the peer authenticated itself on this path; datagrams from other paths are not its.
    pub fn accepts(&self, path: Path) -> bool {
        self.sessions().any(|session| session.is_validated(path))
    }

    /// Where to send now; `None` before the first check was answered and while there is no consent.
    pub fn send_path(&self, now: Time) -> Option<Path> {
        let target = self.target?;
        self.current
            .pair(target)?
            .has_consent(now)
            .then_some(target)
    }

    /// Whether there ever was a path to send on.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether this side is the controlling agent at present.
    pub fn is_controlling(&self) -> bool {
        self.current.controlling
    }

    /// The nominated path of the current session.
    pub fn selected_path(&self) -> Option<Path> {
        self.current.selected
    }

    /// The generation of the current session: 0, or that of the last successful restart.
    pub fn generation(&self) -> u32 {
        self.current.generation
    }

    /// The generation of the restart that is going on.
    pub fn pending_generation(&self) -> Option<u32> {
        self.pending.as_ref().map(|session| session.generation)
    }

    /// All local ufrags to which requests are answered: of the current session, of one that a restart
    /// began, and for a while of the one before the last restart.
    pub fn local_ufrags(&self) -> impl Iterator<Item = &Arc<str>> {
        self.sessions().map(|session| &session.local.ufrag)
    }

    fn sessions(&self) -> impl Iterator<Item = &Session> {
        let retired = self.retired.as_deref().map(|retired| &retired.session);
        std::iter::once(&self.current)
            .chain(self.pending.as_deref())
            .chain(retired)
    }

    fn session(&self, generation: u32) -> Option<&Session> {
        self.sessions()
            .find(|session| session.generation == generation)
    }

    // ---- signaling ------------------------------------------------------------------------------

    /// Takes what was signaled about the peer (media-plane §1.8, colibri2 §3.8).
    ///
    /// Tagged with the generation of a pending restart it goes to that session; with another one nowhere;
    /// untagged (or with 0) to the current session unless that is connected already. The first
    /// credentials of a session count; later updates only add candidates.
    pub fn set_remote(&mut self, now: Time, remote: RemoteIce) {
        let own = |session: &Session, theirs: &Credentials| session.local.ufrag == theirs.ufrag;
        let credentials = remote.credentials.filter(|theirs| {
            // Our own credentials would make this agent talk to itself.
            theirs.is_usable() && !self.sessions().any(|session| own(session, theirs))
        });
        let session = match remote.generation.unwrap_or(0) {
            0 if self.connected => return,
            0 => &mut self.current,
            tag => match &mut self.pending {
                Some(pending) if pending.generation == tag => &mut **pending,
                _ => return,
            },
        };
        session.add_candidates(now, &remote.candidates, &self.shared);
        if session.remote.is_none()
            && let Some(credentials) = credentials
        {
            session.start(now, credentials);
        }
        self.pump(now);
    }

    /// Signaling says that this remote address is a relay: such a pair is only nominated if no other
    /// becomes valid within 800 ms (media-plane §1.5). Peer-reflexive paths do not tell.
    pub fn note_relayed(&mut self, remote: SocketAddr) {
        let remote = canonical(remote);
        if self.shared.relayed.len() < MAX_REMOTE_CANDIDATES && !self.shared.is_relayed(remote) {
            self.shared.relayed.push(remote);
        }
    }

    /// Begins an in-place restart with these new local credentials, instead of one that is still
    /// pending; a generation that is pending already changes nothing. Returns whether `generation` is
    /// pending now: it is not if restarts are disabled or ICE never connected.
    pub fn restart(&mut self, now: Time, generation: u32, credentials: Credentials) -> bool {
        if self.pending_generation() == Some(generation) {
            return true;
        }
        if !self.shared.config.restart_enabled
            || !self.connected
            || self.session(generation).is_some()
        {
            return false;
        }
        self.end_pending();
        self.events
            .push_back(IceEvent::UfragAdded(credentials.ufrag.clone()));
        let controlling = self.current.controlling;
        let session = Session::new(now, generation, credentials, controlling, &mut self.shared);
        self.pending = Some(Box::new(session));
        true
    }

    /// Drops a restart that did not connect.
    fn end_pending(&mut self) {
        if let Some(session) = self.pending.take() {
            let generation = session.generation;
            self.bury(&session);
            self.events.push_back(IceEvent::RestartEnded {
                generation,
                success: false,
            });
        }
    }

    /// Tells about what goes with a session that is no longer among ours.
    fn bury(&mut self, session: &Session) {
        self.events
            .push_back(IceEvent::UfragRemoved(session.local.ufrag.clone()));
        for pair in session
            .pairs()
            .iter()
            .filter(|pair| pair.validated.is_some())
        {
            self.note_removed(pair.path);
        }
    }

    /// The pending session works: it becomes the current one.
    fn cut_over(&mut self, now: Time, selected: Path) {
        let Some(session) = self.pending.take() else {
            return;
        };
        if let Some(older) = self.retired.take() {
            self.bury(&older.session);
        }
        let generation = session.generation;
        let session = std::mem::replace(&mut self.current, *session);
        let transition = self.shared.config.restart_transition;
        if transition.is_zero() {
            self.bury(&session);
        } else {
            self.retired = Some(Box::new(Retired {
                session,
                until: now + transition,
            }));
        }
        self.set_target(now, selected);
        self.events.push_back(IceEvent::RestartEnded {
            generation,
            success: true,
        });
    }

    // ---- the network ----------------------------------------------------------------------------

    /// Takes a request whose USERNAME begins with one of our ufrags. `Err`: it changes nothing and gets
    /// no answer.
    pub fn handle_request(
        &mut self,
        now: Time,
        path: Path,
        message: &StunMessage<'_>,
    ) -> Result<(), Refusal> {
        if message.class() != Class::Request || message.method() != BINDING {
            return Err(Refusal::Unexpected);
        }
        let (local, remote) = message.username().ok_or(Refusal::UnknownUfrag)?;
        let session = self
            .sessions()
            .find(|session| session.local.ufrag.as_bytes() == local)
            .ok_or(Refusal::UnknownUfrag)?;
        session.authenticate(remote, message)?;

        // From here on the peer is who it says it is.
        let generation = session.generation;
        let known = self.accepts(path);
        let kept = self.kept(generation);
        let shared = &self.shared;
        let session = if self.current.generation == generation {
            &mut self.current
        } else {
            match (&mut self.pending, &mut self.retired) {
                (Some(pending), _) if pending.generation == generation => &mut **pending,
                (_, Some(retired)) => &mut retired.session,
                _ => return Err(Refusal::UnknownUfrag),
            }
        };
        let verdict = session.judge(now, message);
        let change = (verdict == Verdict::Success)
            .then(|| session.request(now, path, message, kept, shared));
        self.answer(
            now,
            Answer {
                generation,
                path,
                transaction: *message.transaction(),
                verdict,
            },
        );
        if let Some(change) = change {
            self.apply(now, generation, path, known, change);
        }
        self.pump(now);
        Ok(())
    }

    /// Takes a response. `Err`: it changes nothing.
    pub fn handle_response(
        &mut self,
        now: Time,
        path: Path,
        message: &StunMessage<'_>,
    ) -> Result<(), Refusal> {
        if message.method() != BINDING {
            return Err(Refusal::Unexpected);
        }
        let known = self.accepts(path);
        let (session, kept) = if self.current.awaits(path, message.transaction()) {
            (&mut self.current, self.target)
        } else {
            (
                self.pending.as_deref_mut().ok_or(Refusal::Unexpected)?,
                None,
            )
        };
        let change = session.response(now, path, message, kept, &mut self.shared)?;
        let generation = session.generation;
        self.apply(now, generation, path, known, change);
        self.pump(now);
        Ok(())
    }

    /// Notes that media which authenticated under SRTP came on `path`. Cheap; once per packet. Returns
    /// whether to poll for events and the next timeout as after other calls, which is rare.
    #[inline]
    #[must_use]
    pub fn note_authenticated_media(&mut self, now: Time, path: Path) -> bool {
        // A path that only another session knows says nothing about this one's.
        let Some(pair) = self.current.pair_mut(path) else {
            return false;
        };
        pair.heard = now;
        if self.target == Some(path) {
            self.moving = None;
            return false;
        }
        self.media_elsewhere(now, path);
        true
    }

    fn media_elsewhere(&mut self, now: Time, path: Path) {
        match self.moving {
            Some((moving, _)) if moving == path => self.follow_media(now),
            _ => self.moving = Some((path, now)),
        }
        // The way to there must be known to work before it can be taken.
        if self.target != Some(path) {
            let config = &self.shared.config;
            if let Some(pair) = self.current.pair_mut(path) {
                pair.trigger(now, config.consent_interval, config);
            }
            self.pump(now);
        }
    }

    /// Moves to where the peer's media has been coming from, if that lasted and works in our direction.
    fn follow_media(&mut self, now: Time) {
        let Some((path, since)) = self.moving else {
            return;
        };
        let usable = self
            .current
            .pair(path)
            .is_some_and(|pair| pair.has_consent(now) && !pair.failed);
        if usable && now - since >= FOLLOW_AFTER {
            self.set_target(now, path);
            self.current.nominate(now, path);
        }
    }

    /// Another endpoint's peer authenticated itself on this path (T05): it is no longer ours.
    pub fn path_taken(&mut self, now: Time, path: Path) {
        self.current.forget(path);
        if let Some(session) = &mut self.pending {
            session.forget(path);
        }
        if let Some(retired) = &mut self.retired {
            retired.session.forget(path);
        }
        if self.target == Some(path) {
            self.target = None;
        }
        self.reconsider(now);
        if self.target.is_none()
            && let Some(selected) = self.current.selected
        {
            // Without consent, but it is the one to ask for it.
            self.set_target(now, selected);
        }
        self.pump(now);
    }

    /// The path of that session which has its own consent checks.
    fn kept(&self, generation: u32) -> Option<Path> {
        self.target
            .filter(|_| generation == self.current.generation)
    }

    fn answer(&mut self, now: Time, answer: Answer) {
        if answer.verdict != Verdict::Success {
            if now - self.errors.0 >= Duration::from_secs(1) {
                self.errors = (now, 0);
            }
            if self.errors.1 >= STUN_ERRORS_PER_SECOND {
                return;
            }
            self.errors.1 += 1;
        }
        if self.answers.len() < MAX_STUN_ANSWERS {
            self.answers.reserve_exact(1);
            self.answers.push_back(answer);
        }
    }

    /// Draws the consequences of an authentic message that came on `path`, which was `known` before.
    fn apply(&mut self, now: Time, generation: u32, path: Path, known: bool, change: Change) {
        if let Some(evicted) = change.evicted {
            self.note_removed(evicted);
        }
        if !known && self.accepts(path) {
            self.events.push_back(IceEvent::PathValidated(path));
        }
        if let Some(round_trip) = change.round_trip {
            self.events.push_back(IceEvent::RoundTrip(round_trip));
        }
        if generation != self.current.generation {
            if self.pending_generation() == Some(generation)
                && let Some(selected) = change.selected
            {
                self.cut_over(now, selected);
            }
            return;
        }
        if let Some(selected) = change.selected {
            self.set_target(now, selected);
        }
        if change.succeeded {
            self.follow_media(now);
            self.hasten_consent(now, path);
        }
        self.reconsider(now);
    }

    fn note_removed(&mut self, path: Path) {
        if !self.accepts(path) {
            self.events.push_back(IceEvent::PathRemoved(path));
        }
    }

    /// Another path than the current one works. Does the current one?
    fn hasten_consent(&mut self, now: Time, path: Path) {
        let Some(target) = self.target.filter(|target| *target != path) else {
            return;
        };
        if let Some(pair) = self.current.pair_mut(target)
            && now - pair.heard >= QUIET
        {
            pair.next_consent = pair.next_consent.min(now);
        }
    }

    // ---- the path to send on --------------------------------------------------------------------

    fn set_target(&mut self, now: Time, path: Path) {
        self.moving = None;
        let changed = self.target != Some(path);
        self.target = Some(path);
        if !self.connected {
            self.connected = true;
            self.events.push_back(IceEvent::Connected(path));
        } else if changed {
            self.events.push_back(IceEvent::SendPathChanged(path));
        }
        if changed {
            // The new path's consent is as old as its last answer; ask again in time.
            let pause = self.shared.consent_pause();
            if let Some(pair) = self.current.pair_mut(path) {
                let due = pair.consent.map_or(now, |given| given + pause);
                pair.next_consent = due.max(now);
            }
        }
        self.note_consent(now);
    }

    /// Leaves the current path if it looks dead and another one is alive.
    fn reconsider(&mut self, now: Time) {
        let target = self.target.and_then(|target| self.current.pair(target));
        let heard = match target {
            Some(pair) if pair.has_consent(now) && !pair.is_suspect() => {
                self.note_consent(now);
                return;
            }
            Some(pair) => Some(pair.heard),
            None => None,
        };
        let selected = self.current.selected;
        let better = self
            .current
            .pairs()
            .iter()
            .filter(|pair| Some(pair.path) != self.target)
            .filter(|pair| pair.has_consent(now) && !pair.is_suspect())
            .filter(|pair| heard.is_none_or(|heard| pair.heard > heard))
            .max_by_key(|pair| (Some(pair.path) == selected, pair.consent))
            .map(|pair| pair.path);
        match better {
            Some(path) => {
                let moved = self.connected;
                self.set_target(now, path);
                if moved {
                    self.current.nominate(now, path);
                }
            }
            None => self.note_consent(now),
        }
    }

    /// Tells when consent ends or comes back.
    fn note_consent(&mut self, now: Time) {
        if !self.connected {
            return;
        }
        let lost = self.send_path(now).is_none();
        if lost != self.consent_lost {
            self.consent_lost = lost;
            self.events.push_back(match lost {
                true => IceEvent::ConsentLost,
                false => IceEvent::ConsentRegained,
            });
        }
    }

    // ---- time and output ------------------------------------------------------------------------

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        self.current.expire(now, &mut self.shared);
        if let Some(pending) = &mut self.pending {
            pending.expire(now, &mut self.shared);
        }
        if self
            .pending_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.end_pending();
        }
        if let Some(retired) = self.retired.take_if(|retired| retired.until <= now) {
            self.bury(&retired.session);
        }
        while let Some(path) = self.current.take_stale(now, self.target) {
            self.note_removed(path);
        }
        self.reconsider(now);
        if self
            .failure_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.failed = true;
            self.events.push_back(IceEvent::Failed);
        }
        self.pump(now);
    }

    fn pending_deadline(&self) -> Option<Time> {
        Some(self.pending.as_ref()?.created + self.shared.config.restart_timeout)
    }

    fn failure_deadline(&self) -> Option<Time> {
        let waiting = !self.connected && !self.failed && self.current.remote.is_some();
        waiting.then(|| self.current.started + FAILURE_AFTER)
    }

    /// Lets the next check out if it is time.
    fn pump(&mut self, now: Time) {
        if self.check.is_some() || now < self.pace {
            return;
        }
        let current = self.current.next_due(now, self.target, &self.shared);
        let pending = match &mut self.pending {
            Some(session) => session
                .next_due(now, None, &self.shared)
                .map(|due| (due, &mut **session)),
            None => None,
        };
        let ((.., path), session) = match (current, pending) {
            (None, None) => return,
            (Some(due), None) => (due, &mut self.current),
            (None, Some(pending)) => pending,
            (Some(due), Some(pending)) if (due.0, due.1) <= (pending.0.0, pending.0.1) => {
                (due, &mut self.current)
            }
            (Some(_), Some(pending)) => pending,
        };
        session.transmit(now, path, &mut self.shared);
        self.check = Some(DueCheck {
            generation: session.generation,
            path,
        });
        self.pace = now + PACE;
    }

    /// When to call [`IceTransport::handle_timeout`]; `None` if nothing will happen by itself.
    pub fn poll_timeout(&self) -> Option<Time> {
        let consent_end = || {
            let pair = self.current.pair(self.target?)?;
            pair.consent_end().filter(|_| !self.consent_lost)
        };
        let pending = self.pending.as_deref();
        let transmission = [
            self.current.transmission_timeout(self.target, &self.shared),
            pending.and_then(|pending| pending.transmission_timeout(None, &self.shared)),
        ];
        let others = [
            self.current.expiry_timeout(&self.shared),
            pending.and_then(|pending| pending.expiry_timeout(&self.shared)),
            self.current.nomination_timeout(&self.shared),
            pending.and_then(|pending| pending.nomination_timeout(&self.shared)),
            self.pending_deadline(),
            self.retired.as_ref().map(|retired| retired.until),
            self.failure_deadline(),
            consent_end(),
        ];
        let transmission = transmission
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.max(self.pace));
        others.into_iter().flatten().chain(transmission).min()
    }

    /// Writes the next datagram to send into `out`, which needs
    /// [`MAX_WRITTEN`](crate::wire::stun::MAX_WRITTEN) bytes. Returns where it goes and its length.
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> Option<(Path, usize)> {
        while let Some(Answer {
            generation,
            path,
            transaction,
            verdict,
        }) = self.answers.pop_front()
        {
            let written = self
                .session(generation)
                .and_then(|session| session.write_answer(out, &transaction, path.remote, &verdict));
            if let Some(len) = written {
                return Some((path, len));
            }
        }
        let DueCheck { generation, path } = self.check.take()?;
        let len = self
            .session(generation)?
            .write_check(out, path, &self.shared)?;
        Some((path, len))
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<IceEvent> {
        let event = self.events.pop_front();
        if event.is_none() && self.events.capacity() > 0 {
            // Events are rare; ten thousand idle queues are not worth their memory.
            self.events = VecDeque::new();
        }
        event
    }
}
