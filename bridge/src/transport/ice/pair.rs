//! One candidate pair, which is one path, and the check that runs on it.

use std::time::Duration;

use crate::config::IceConfig;
use crate::ids::Path;
use crate::limits::CONSENT_EXPIRY;
use crate::time::Time;
use crate::wire::stun::TransactionId;

/// First retransmission of a connectivity check (media-plane §1.5).
const RTO: Duration = Duration::from_millis(100);
/// Longest wait between retransmissions.
const MAX_RTO: Duration = Duration::from_millis(1_600);
/// Transmissions of a connectivity check: one and six retransmissions (T09).
const TRANSMISSIONS: u8 = 7;
/// Transmissions of a probe.
const PROBE_TRANSMISSIONS: u8 = 3;
/// Wait between them.
const PROBE_RTO: Duration = Duration::from_millis(500);
/// Transmissions of a consent check after which another path may take over.
const SUSPECT_AFTER: u8 = 3;

/// What a check is for; decides how it is repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// Does the path work?
    Connectivity,
    /// The same with USE-CANDIDATE.
    Nomination,
    /// Does it still work, and is the peer still willing (RFC 7675)?
    Consent,
    /// Does it work again, although it left a whole check unanswered? Fewer transmissions, and only while
    /// the peer is heard.
    Probe,
}

/// A check that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transaction {
    pub id: TransactionId,
    pub purpose: Purpose,
    /// The role that we claimed.
    pub controlling: bool,
    pub transmissions: u8,
    pub started: Time,
    /// Latest transmission.
    pub sent: Time,
    /// When to transmit again, or after the last transmission, when to give up.
    pub next: Time,
}

impl Transaction {
    fn may_repeat(&self, config: &IceConfig) -> bool {
        let limit = match self.purpose {
            Purpose::Connectivity | Purpose::Nomination => TRANSMISSIONS,
            Purpose::Consent => {
                u8::try_from(config.consent_retries).map_or(u8::MAX, |n| n.saturating_add(1))
            }
            Purpose::Probe => PROBE_TRANSMISSIONS,
        };
        self.transmissions < limit
    }

    /// Notes a transmission at `now`.
    pub fn transmit(&mut self, now: Time, config: &IceConfig) {
        let wait = match self.purpose {
            Purpose::Connectivity | Purpose::Nomination => RTO
                .saturating_mul(1 << self.transmissions.min(8))
                .min(MAX_RTO),
            Purpose::Consent => config.consent_retry,
            Purpose::Probe => PROBE_RTO,
        };
        self.transmissions = self.transmissions.saturating_add(1);
        self.sent = now;
        self.next = now + wait;
    }
}

/// What a pair's check is doing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Check {
    /// Nothing.
    Idle,
    /// Waiting since then for its turn.
    Waiting(Purpose, Time),
    /// Waiting for an answer.
    InFlight(Transaction),
}

/// Order in which due checks are sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Rank {
    /// The connection waits for it.
    Nomination,
    /// The peer is there: its check came from this path.
    Triggered,
    /// All others, by age.
    Ordinary,
}

/// A candidate pair.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub path: Path,
    /// The peer's latest PRIORITY; 0 before its first check.
    pub priority: u32,
    /// When the peer last authenticated itself on this path by a check or an answer. `None`: the path
    /// was only signaled, and nothing that comes from it is accepted.
    pub validated: Option<Time>,
    /// When a check of ours was last answered. `None`: never, and no media is sent to it (T04).
    pub consent: Option<Time>,
    /// When a check of ours was first answered.
    pub valid_since: Time,
    /// When anything authentic last came, media included.
    pub heard: Time,
    /// A whole check stayed without answer since the last one that was answered.
    pub failed: bool,
    /// The peer, as the controlling agent, nominated it.
    pub nominated: bool,
    pub check: Check,
    /// When to ask for consent if this pair is the one that is sent on.
    pub next_consent: Time,
}

impl Pair {
    pub fn new(path: Path) -> Pair {
        Pair {
            path,
            priority: 0,
            validated: None,
            consent: None,
            valid_since: Time::FAR,
            heard: Time::ZERO,
            failed: false,
            nominated: false,
            check: Check::Idle,
            next_consent: Time::FAR,
        }
    }

    /// When consent ends, if it was ever given.
    pub fn consent_end(&self) -> Option<Time> {
        self.consent.map(|given| given + CONSENT_EXPIRY)
    }

    /// Whether media may be sent on it (T48).
    pub fn has_consent(&self, now: Time) -> bool {
        self.consent_end().is_some_and(|end| now < end)
    }

    /// Whether it looks dead although its consent has not ended yet: checks stay without answer and
    /// nothing else is heard.
    pub fn is_suspect(&self) -> bool {
        match &self.check {
            _ if self.failed => true,
            Check::InFlight(transaction) => {
                transaction.transmissions >= SUSPECT_AFTER && self.heard < transaction.started
            }
            _ => false,
        }
    }

    /// Whether a check waits or runs.
    pub fn is_undecided(&self) -> bool {
        !matches!(self.check, Check::Idle)
    }

    /// The next transmission: its rank and when. `keep` says that consent is kept on this pair.
    pub fn due(&self, keep: bool, config: &IceConfig) -> Option<(Rank, Time)> {
        match &self.check {
            Check::Waiting(Purpose::Nomination, since) => Some((Rank::Nomination, *since)),
            Check::Waiting(_, since) if self.validated.is_some() => Some((Rank::Triggered, *since)),
            Check::Waiting(_, since) => Some((Rank::Ordinary, *since)),
            Check::InFlight(transaction) => transaction
                .may_repeat(config)
                .then_some((Rank::Ordinary, transaction.next)),
            Check::Idle => keep.then_some((Rank::Ordinary, self.next_consent)),
        }
    }

    /// When the running check is given up.
    pub fn expires(&self, config: &IceConfig) -> Option<Time> {
        match &self.check {
            Check::InFlight(transaction) if !transaction.may_repeat(config) => {
                Some(transaction.next)
            }
            _ => None,
        }
    }

    /// The peer's check, or its media, came from this path: have a check of ours follow (RFC 8445
    /// §7.3.1.4). `fresh` is the age below which an earlier answer is still good enough.
    pub fn trigger(&mut self, now: Time, fresh: Duration, config: &IceConfig) {
        match &mut self.check {
            // The peer's check may just have opened the way; do not wait for a long timeout.
            Check::InFlight(transaction) if transaction.may_repeat(config) => {
                transaction.next = transaction.next.min((transaction.sent + RTO).max(now));
            }
            Check::InFlight(_) => {}
            // Now it has another rank; its place in time stays.
            Check::Waiting(..) => {}
            Check::Idle if self.failed => self.check = Check::Waiting(Purpose::Probe, now),
            Check::Idle => match self.consent {
                None => self.check = Check::Waiting(Purpose::Connectivity, now),
                Some(given) if now - given >= fresh => {
                    self.check = Check::Waiting(Purpose::Consent, now);
                }
                Some(_) => {}
            },
        }
    }

    /// The running check stays without answer. `pause` is the time from its start to the next consent
    /// check.
    pub fn fail(&mut self, now: Time, pause: Duration) {
        if let Check::InFlight(transaction) = &self.check
            && transaction.purpose != Purpose::Probe
        {
            self.next_consent = (transaction.started + pause).max(now);
        }
        self.failed = true;
        self.check = Check::Idle;
    }
}
