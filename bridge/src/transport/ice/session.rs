//! One ICE session: local and remote credentials, a role and candidate pairs (RFC 8445).
//!
//! A session authenticates, answers, checks and nominates. What its results mean for media (the path to
//! send on, restarts, events) is [`super::IceTransport`]'s business.

use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::hmac;

use super::address::{canonical, may_probe};
use super::candidates::check_priority;
use super::credentials::new_transaction;
use super::pair::{Check, Pair, Purpose, Rank, Transaction};
use super::{Credentials, Refusal, Shared};
use crate::ids::{Path, SocketId};
use crate::limits::{MAX_CHECK_LIST, MAX_PATHS_PER_SESSION, MAX_REMOTE_CANDIDATES};
use crate::time::Time;
use crate::wire::stun::{self, BindingRequest, Class, RoleClaim, StunMessage, TransactionId};

/// Types that one 420 answer lists at most.
const MAX_UNKNOWN: usize = 8;
/// Requests refused with 487 that are remembered, so that a repetition gets the same answer whatever our
/// role is by then.
const MAX_CONFLICTS: usize = 4;
/// Lifetime of a transaction at the server (RFC 8489 §6.3.1.2 allows 40 s; JVB caches 16 s).
const TRANSACTION_LIFETIME: Duration = Duration::from_secs(16);
/// A valid pair of a relayed candidate waits this long for a better one before it is nominated.
const RELAYED_PATIENCE: Duration = Duration::from_millis(800);
/// A path that is not in use and on which nothing was heard for this long is forgotten. Browsers check
/// their spare pairs every 25 s.
const STALE_AFTER: Duration = Duration::from_secs(60);

/// How an authentic request is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Success,
    /// 420 with these types.
    Unknown([u16; MAX_UNKNOWN], u8),
    /// 487.
    RoleConflict,
}

/// What an authentic message changed.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Change {
    /// Path that was forgotten to make room for a new one.
    pub evicted: Option<Path>,
    /// Measured round trip.
    pub round_trip: Option<Duration>,
    /// A check of ours succeeded.
    pub succeeded: bool,
    /// Path that became the selected one.
    pub selected: Option<Path>,
}

pub(super) struct Session {
    /// 0 for the first one, then counts restarts.
    pub generation: u32,
    pub created: Time,
    pub local: Credentials,
    /// Made once: every request, authentic or not, is verified with it.
    key: hmac::Key,
    pub remote: Option<Credentials>,
    /// When the remote credentials came.
    pub started: Time,
    pub controlling: bool,
    tie_breaker: u64,
    pairs: Vec<Pair>,
    /// Distinct addresses taken from signaling.
    signaled: usize,
    /// The nominated pair.
    pub selected: Option<Path>,
    /// The pair that is being nominated by us.
    nominating: Option<Path>,
    conflicts: Vec<(TransactionId, Time)>,
}

impl Session {
    pub fn new(
        now: Time,
        generation: u32,
        local: Credentials,
        controlling: bool,
        shared: &mut Shared,
    ) -> Session {
        Session {
            generation,
            created: now,
            key: stun::integrity_key(&local.password),
            local,
            remote: None,
            started: Time::FAR,
            controlling,
            tie_breaker: shared.random.u64(),
            pairs: Vec::new(),
            signaled: 0,
            selected: None,
            nominating: None,
            conflicts: Vec::new(),
        }
    }

    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    pub fn pair(&self, path: Path) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.path == path)
    }

    pub fn pair_mut(&mut self, path: Path) -> Option<&mut Pair> {
        self.pairs.iter_mut().find(|pair| pair.path == path)
    }

    /// Whether the peer authenticated itself on this path.
    pub fn is_validated(&self, path: Path) -> bool {
        self.pair(path).is_some_and(|pair| pair.validated.is_some())
    }

    /// Forgets one path on which nothing was heard for long, and returns it.
    pub fn take_stale(&mut self, now: Time, kept: Option<Path>) -> Option<Path> {
        let stale = |pair: &&Pair| {
            pair.validated.is_some()
                && Some(pair.path) != kept
                && Some(pair.path) != self.selected
                && now - pair.heard >= STALE_AFTER
        };
        let path = self.pairs.iter().find(stale)?.path;
        self.forget(path);
        Some(path)
    }

    /// Forgets a path.
    pub fn forget(&mut self, path: Path) {
        self.pairs.retain(|pair| pair.path != path);
        self.selected = self.selected.filter(|selected| *selected != path);
        self.nominating = self.nominating.filter(|nominating| *nominating != path);
    }

    // ---- remote side ----------------------------------------------------------------------------

    /// The peer's credentials are known: checks may start.
    pub fn start(&mut self, now: Time, remote: Credentials) {
        self.remote = Some(remote);
        self.started = now;
    }

    /// Adds signaled candidates within the limits of T09; known ones change nothing.
    pub fn add_candidates(&mut self, now: Time, candidates: &[SocketAddr], shared: &Shared) {
        // Twice as many as can be kept is more than an honest peer sends; the rest is not even looked at.
        for candidate in candidates.iter().take(2 * MAX_REMOTE_CANDIDATES) {
            let remote = canonical(*candidate);
            if self.signaled >= MAX_REMOTE_CANDIDATES {
                return;
            }
            if !may_probe(remote, &shared.config, &shared.sockets)
                || self.pairs.iter().any(|pair| pair.path.remote == remote)
            {
                continue;
            }
            self.signaled += 1;
            for (index, socket) in shared.sockets.iter().enumerate() {
                let socket = canonical(*socket);
                let reachable = socket.is_ipv4() == remote.is_ipv4()
                    && (socket.ip().is_unspecified()
                        || socket.ip().is_loopback() == remote.ip().is_loopback());
                let Ok(index) = u8::try_from(index) else {
                    break;
                };
                if !reachable || self.pairs.len() >= MAX_CHECK_LIST {
                    continue;
                }
                let mut pair = Pair::new(Path {
                    socket: SocketId(index),
                    remote,
                });
                pair.check = Check::Waiting(Purpose::Connectivity, now);
                self.pairs.push(pair);
            }
        }
    }

    // ---- server side ----------------------------------------------------------------------------

    /// Whether a request to our ufrag is authentic and complete. Changes nothing, allocates nothing.
    pub fn authenticate(
        &self,
        remote_ufrag: &[u8],
        message: &StunMessage<'_>,
    ) -> Result<(), Refusal> {
        if self
            .remote
            .as_ref()
            .is_some_and(|remote| remote.ufrag.as_bytes() != remote_ufrag)
        {
            return Err(Refusal::Integrity);
        }
        if !message.verify_integrity(&self.key) {
            return Err(Refusal::Integrity);
        }
        if message.priority().is_none() {
            return Err(Refusal::Malformed);
        }
        Ok(())
    }

    /// Decides how an authentic request is answered, and switches the role if the peer has the better
    /// claim (RFC 8445 §7.3.1.1).
    pub fn judge(&mut self, now: Time, message: &StunMessage<'_>) -> Verdict {
        let mut types = [0; MAX_UNKNOWN];
        let mut count = 0;
        for (place, kind) in types.iter_mut().zip(message.unknown_required()) {
            *place = kind;
            count += 1;
        }
        if count > 0 {
            return Verdict::Unknown(types, count);
        }
        self.conflicts
            .retain(|(_, at)| now - *at < TRANSACTION_LIFETIME);
        if self
            .conflicts
            .iter()
            .any(|(id, _)| id == message.transaction())
        {
            return Verdict::RoleConflict;
        }
        let keeps_role = match (message.role(), self.controlling) {
            (Some(RoleClaim::Controlling(theirs)), true) => self.tie_breaker >= theirs,
            (Some(RoleClaim::Controlled(theirs)), false) => self.tie_breaker < theirs,
            _ => return Verdict::Success,
        };
        if keeps_role {
            if self.conflicts.len() == MAX_CONFLICTS {
                self.conflicts.remove(0);
            }
            self.conflicts.push((*message.transaction(), now));
            return Verdict::RoleConflict;
        }
        self.switch_role();
        Verdict::Success
    }

    fn switch_role(&mut self) {
        self.controlling = !self.controlling;
        self.nominating = None;
        for pair in &mut self.pairs {
            if let Check::Waiting(purpose @ Purpose::Nomination, _) = &mut pair.check {
                *purpose = Purpose::Connectivity;
            }
        }
    }

    /// Notes an authentic request that was answered with success. `kept`: the path that media is sent
    /// on, which has its own consent checks.
    pub fn request(
        &mut self,
        now: Time,
        path: Path,
        message: &StunMessage<'_>,
        kept: Option<Path>,
        shared: &Shared,
    ) -> Change {
        let mut change = Change {
            evicted: self.make_room(path, kept),
            ..Change::default()
        };
        let controlling = self.controlling;
        let fresh = if kept == Some(path) {
            Duration::MAX
        } else {
            shared.config.consent_interval
        };
        let pair = self.pair_or_new(path);
        pair.validated = Some(now);
        pair.heard = now;
        pair.priority = message.priority().unwrap_or(pair.priority);
        pair.nominated |= message.use_candidate() && !controlling;
        pair.trigger(now, fresh, &shared.config);
        if message.use_candidate() && !controlling {
            change.selected = self.follow_nomination(now, path);
        }
        // The request may have made us the controlling agent.
        self.nominate_first(now, shared);
        change
    }

    fn pair_or_new(&mut self, path: Path) -> &mut Pair {
        let index = self
            .pairs
            .iter()
            .position(|pair| pair.path == path)
            .unwrap_or_else(|| {
                // Most sessions have one or two pairs for all their life.
                self.pairs.reserve_exact(1);
                self.pairs.push(Pair::new(path));
                self.pairs.len() - 1
            });
        &mut self.pairs[index]
    }

    /// Forgets the least recently validated path if `path` would be one too many.
    fn make_room(&mut self, path: Path, kept: Option<Path>) -> Option<Path> {
        if self.is_validated(path) {
            return None;
        }
        if self
            .pairs
            .iter()
            .filter(|pair| pair.validated.is_some())
            .count()
            < MAX_PATHS_PER_SESSION
        {
            return None;
        }
        let oldest = self
            .pairs
            .iter()
            .filter(|pair| Some(pair.path) != kept && Some(pair.path) != self.selected)
            .filter_map(|pair| Some((pair.validated?, pair.path)))
            .min_by_key(|(validated, _)| *validated)?;
        self.forget(oldest.1);
        Some(oldest.1)
    }

    // ---- client side ----------------------------------------------------------------------------

    /// Whether a check with this id runs on this path.
    pub fn awaits(&self, path: Path, id: &TransactionId) -> bool {
        self.running(path, id).is_some()
    }

    fn running(&self, path: Path, id: &TransactionId) -> Option<Transaction> {
        match &self.pair(path)?.check {
            Check::InFlight(transaction) if transaction.id == *id => Some(*transaction),
            _ => None,
        }
    }

    /// Takes the answer to a check of ours. One that is not authentic changes nothing: the true one may
    /// still come.
    pub fn response(
        &mut self,
        now: Time,
        path: Path,
        message: &StunMessage<'_>,
        kept: Option<Path>,
        shared: &mut Shared,
    ) -> Result<Change, Refusal> {
        let transaction = self
            .running(path, message.transaction())
            .ok_or(Refusal::Unexpected)?;
        let remote = self.remote.as_ref().ok_or(Refusal::Unexpected)?;
        if !message.verify_integrity(&stun::integrity_key(&remote.password)) {
            return Err(Refusal::Integrity);
        }
        if message.unknown_required().next().is_some() {
            return Err(Refusal::Malformed);
        }
        match message.class() {
            Class::Success => Ok(self.succeed(now, path, &transaction, kept, shared)),
            Class::Error => {
                self.refused(now, path, &transaction, message, shared);
                Ok(Change::default())
            }
            Class::Request | Class::Indication => Err(Refusal::Unexpected),
        }
    }

    fn succeed(
        &mut self,
        now: Time,
        path: Path,
        transaction: &Transaction,
        kept: Option<Path>,
        shared: &mut Shared,
    ) -> Change {
        let mut change = Change {
            evicted: self.make_room(path, kept),
            succeeded: true,
            // After a retransmission nobody knows which one was answered.
            round_trip: (transaction.transmissions == 1).then(|| now - transaction.started),
            selected: None,
        };
        let pause = shared.consent_pause();
        let pair = self.pair_or_new(path);
        pair.check = Check::Idle;
        pair.failed = false;
        pair.validated = Some(now);
        pair.heard = now;
        pair.valid_since = pair.valid_since.min(now);
        pair.consent = Some(now);
        pair.next_consent = (transaction.started + pause).max(now);
        if !self.controlling {
            change.selected = self.follow_nomination(now, path);
        } else if self.nominating == Some(path) && transaction.purpose == Purpose::Nomination {
            self.nominating = None;
            self.select(path);
            change.selected = Some(path);
        }
        self.nominate_first(now, shared);
        change
    }

    fn select(&mut self, path: Path) {
        self.selected = Some(path);
        // RFC 8445 §8.1.1: what was not found valid by now is not needed.
        self.pairs.retain(|pair| pair.validated.is_some());
        self.pairs.shrink_to(2);
    }

    /// An authentic error answer.
    fn refused(
        &mut self,
        now: Time,
        path: Path,
        transaction: &Transaction,
        message: &StunMessage<'_>,
        shared: &mut Shared,
    ) {
        if message.error_code() == Some(487) {
            // A late answer to a check from before a switch is no reason for another one.
            if transaction.controlling == self.controlling {
                self.switch_role();
            }
            if let Some(pair) = self.pair_mut(path) {
                pair.heard = now;
                pair.check = Check::Waiting(Purpose::Connectivity, now);
            }
        } else {
            self.fail(now, path, shared);
        }
    }

    /// As the controlled agent: selects `path` if the peer nominated it and it is valid. Aggressive
    /// controlling agents nominate all pairs: a better one replaces a worse, and any a dead one.
    fn follow_nomination(&mut self, now: Time, path: Path) -> Option<Path> {
        let pair = self.pair(path)?;
        // The peer may have been given another address by a NAT since it nominated: then the nominated
        // pair fails, and the one that works is meant.
        let mut nominated = self.pairs.iter().filter(|pair| pair.nominated);
        let meant = pair.nominated
            || (self.selected.is_none() && nominated.next().is_some_and(|pair| pair.failed));
        if !meant || !pair.has_consent(now) || self.selected == Some(path) {
            return None;
        }
        let better = match self.selected.and_then(|selected| self.pair(selected)) {
            Some(selected) => {
                pair.priority > selected.priority
                    || selected.is_suspect()
                    || !selected.has_consent(now)
            }
            None => true,
        };
        if !better {
            return None;
        }
        self.select(path);
        Some(path)
    }

    /// As the controlling agent: nominates the first valid pair, once (media-plane §1.5). A relayed one
    /// waits for a better one as long as that may come.
    pub fn nominate_first(&mut self, now: Time, shared: &Shared) {
        if !self.controlling || self.selected.is_some() || self.nominating.is_some() {
            return;
        }
        let usable = |pair: &&Pair| pair.consent.is_some() && !pair.failed;
        let first = |relayed: bool| {
            self.pairs
                .iter()
                .filter(usable)
                .filter(|pair| shared.is_relayed(pair.path.remote) == relayed)
                .min_by_key(|pair| pair.valid_since)
        };
        let chosen = first(false).or_else(|| {
            let relayed = first(true)?;
            let waited = now - relayed.valid_since >= RELAYED_PATIENCE;
            let hope = self
                .pairs
                .iter()
                .any(|pair| pair.consent.is_none() && pair.is_undecided());
            (waited || !hope).then_some(relayed)
        });
        if let Some(path) = chosen.map(|pair| pair.path) {
            self.nominate(now, path);
        }
    }

    /// When [`Session::nominate_first`] wants to be called although nothing happened.
    pub fn nomination_timeout(&self, shared: &Shared) -> Option<Time> {
        if !self.controlling || self.selected.is_some() || self.nominating.is_some() {
            return None;
        }
        let relayed = |pair: &&Pair| {
            pair.consent.is_some() && !pair.failed && shared.is_relayed(pair.path.remote)
        };
        self.pairs
            .iter()
            .filter(relayed)
            .map(|pair| pair.valid_since + RELAYED_PATIENCE)
            .min()
    }

    /// As the controlling agent: repeats the check of a valid pair with USE-CANDIDATE.
    pub fn nominate(&mut self, now: Time, path: Path) {
        if !self.controlling || self.selected == Some(path) || self.nominating == Some(path) {
            return;
        }
        if let Some(pair) = self.pair_mut(path) {
            pair.check = Check::Waiting(Purpose::Nomination, now);
            self.nominating = Some(path);
        }
    }

    // ---- timers ---------------------------------------------------------------------------------

    /// Gives up checks whose time is over.
    pub fn expire(&mut self, now: Time, shared: &mut Shared) {
        let mut given_up = false;
        for index in 0..self.pairs.len() {
            let pair = &self.pairs[index];
            if pair.expires(&shared.config).is_some_and(|at| at <= now) {
                let path = pair.path;
                self.fail(now, path, shared);
                given_up = true;
            }
        }
        if given_up || self.nomination_timeout(shared).is_some_and(|at| at <= now) {
            self.nominate_first(now, shared);
        }
    }

    fn fail(&mut self, now: Time, path: Path, shared: &mut Shared) {
        let pause = shared.consent_pause();
        if let Some(pair) = self.pair_mut(path) {
            pair.fail(now, pause);
        }
        self.nominating = self.nominating.filter(|nominating| *nominating != path);
    }

    /// The transmission that is due first of all that are due at `now`.
    pub fn next_due(
        &self,
        now: Time,
        kept: Option<Path>,
        shared: &Shared,
    ) -> Option<(Rank, Time, Path)> {
        self.transmissions(kept, shared)
            .filter(|(_, at, _)| *at <= now)
            .min_by_key(|(rank, at, _)| (*rank, *at))
    }

    fn transmissions(
        &self,
        kept: Option<Path>,
        shared: &Shared,
    ) -> impl Iterator<Item = (Rank, Time, Path)> {
        let pairs = if self.remote.is_some() {
            &self.pairs[..]
        } else {
            &[]
        };
        // Until one pair is selected, all that worked are kept alive.
        let all = self.selected.is_none();
        pairs.iter().filter_map(move |pair| {
            let keep = Some(pair.path) == kept || (all && pair.consent.is_some());
            let (rank, at) = pair.due(keep, &shared.config)?;
            Some((rank, at, pair.path))
        })
    }

    /// When the next transmission is due.
    pub fn transmission_timeout(&self, kept: Option<Path>, shared: &Shared) -> Option<Time> {
        self.transmissions(kept, shared).map(|(_, at, _)| at).min()
    }

    /// When the next check is to be given up.
    pub fn expiry_timeout(&self, shared: &Shared) -> Option<Time> {
        self.pairs
            .iter()
            .filter_map(|pair| pair.expires(&shared.config))
            .min()
    }

    /// Starts or repeats the check of a path; [`Session::write_check`] then writes it.
    pub fn transmit(&mut self, now: Time, path: Path, shared: &mut Shared) {
        let controlling = self.controlling;
        let Some(pair) = self.pair_mut(path) else {
            return;
        };
        let purpose = match pair.check {
            Check::Idle => Purpose::Consent,
            Check::Waiting(purpose, _) => purpose,
            Check::InFlight(ref mut transaction) => {
                transaction.transmit(now, &shared.config);
                return;
            }
        };
        let mut transaction = Transaction {
            id: new_transaction(&mut shared.random, shared.worker, shared.tag),
            purpose,
            controlling,
            transmissions: 0,
            started: now,
            sent: now,
            next: now,
        };
        transaction.transmit(now, &shared.config);
        pair.check = Check::InFlight(transaction);
    }

    /// Writes the running check of a path; a repetition has the same bytes.
    pub fn write_check(&self, out: &mut [u8], path: Path, shared: &Shared) -> Option<usize> {
        let remote = self.remote.as_ref()?;
        let Check::InFlight(transaction) = &self.pair(path)?.check else {
            return None;
        };
        let local = shared.sockets.get(usize::from(path.socket.0))?;
        let request = BindingRequest {
            transaction: &transaction.id,
            remote_ufrag: &remote.ufrag,
            local_ufrag: &self.local.ufrag,
            priority: check_priority(local.ip()),
            role: if transaction.controlling {
                RoleClaim::Controlling(self.tie_breaker)
            } else {
                RoleClaim::Controlled(self.tie_breaker)
            },
            use_candidate: transaction.controlling && transaction.purpose == Purpose::Nomination,
        };
        stun::write_request(out, &request, &stun::integrity_key(&remote.password))
    }

    /// Writes the answer to an authentic request.
    pub fn write_answer(
        &self,
        out: &mut [u8],
        transaction: &TransactionId,
        source: SocketAddr,
        verdict: &Verdict,
    ) -> Option<usize> {
        match verdict {
            Verdict::Success => stun::write_success(out, transaction, source, &self.key),
            Verdict::RoleConflict => stun::write_error(out, transaction, 487, &[], &self.key),
            Verdict::Unknown(types, count) => {
                let types = types.get(..usize::from(*count)).unwrap_or_default();
                stun::write_error(out, transaction, 420, types, &self.key)
            }
        }
    }
}
