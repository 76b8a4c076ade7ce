//! Asking a sender for keyframes (media-plane §2.18).

use std::time::Duration;

use crate::ids::EndpointKey;
use crate::limits::{
    KEYFRAME_INTERVAL, KEYFRAME_PERIOD, KEYFRAME_REQUESTERS, KEYFRAME_REQUESTS, KEYFRAME_RETRIES,
};
use crate::time::Time;

/// A request is repeated when no keyframe came within 1.5 round trips and this.
const RETRY_MARGIN: Duration = Duration::from_millis(100);
/// Longest wait between two repetitions.
const MAX_RETRY: Duration = Duration::from_secs(2);
/// Round-trip time while it is unknown.
const DEFAULT_RTT: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
struct Requester {
    endpoint: EndpointKey,
    /// When it was last granted one.
    granted: Option<Time>,
    /// Until when its share is used up, if it is used evenly.
    used_until: Time,
}

/// What one request takes of a requester's share.
const SHARE: Duration =
    Duration::from_micros(KEYFRAME_PERIOD.as_micros() as u64 / KEYFRAME_REQUESTS as u64);

/// Requests for keyframes of one stream, at its owner.
///
/// All requests that come before a keyframe begins are answered by it, so they become one: it is sent at
/// once if the last one is [`KEYFRAME_INTERVAL`] and a round trip ago, else then, and repeated until a
/// keyframe begins. A requester counts against its own limit (T44) only when it starts a new round.
#[derive(Debug)]
pub struct KeyframeRequester {
    /// Somebody waits, and the next request to the sender is due at this time.
    next: Option<Time>,
    last_sent: Option<Time>,
    /// Requests sent since somebody waits.
    attempts: u32,
    rtt: Duration,
    /// In order of `endpoint`; at most [`KEYFRAME_REQUESTERS`].
    requesters: Vec<Requester>,
}

impl Default for KeyframeRequester {
    fn default() -> Self {
        KeyframeRequester {
            next: None,
            last_sent: None,
            attempts: 0,
            rtt: DEFAULT_RTT,
            requesters: Vec::new(),
        }
    }
}

impl KeyframeRequester {
    /// Nobody waits.
    pub fn new() -> KeyframeRequester {
        KeyframeRequester::default()
    }

    /// Somebody needs a keyframe; may be repeated with every packet. `requester` is `None` for the
    /// bridge's own reasons, which have no limit of their own. False if the requester is over its limit
    /// and nobody else waits; it still profits from the next keyframe.
    pub fn request(&mut self, now: Time, requester: Option<EndpointKey>) -> bool {
        if self.next.is_some() {
            return true;
        }
        if let Some(endpoint) = requester
            && !self.grant(now, endpoint)
        {
            return false;
        }
        self.attempts = 0;
        self.next = Some(
            self.last_sent
                .map_or(now, |last| now.max(last + self.interval())),
        );
        true
    }

    /// The first packet of a keyframe came: nobody waits any more.
    pub fn on_keyframe(&mut self, _now: Time) {
        self.next = None;
    }

    /// True if a request is to be sent to the sender now. `rtt` is the round-trip time to it.
    pub fn poll(&mut self, now: Time, rtt: Option<Duration>) -> bool {
        self.rtt = rtt.unwrap_or(DEFAULT_RTT).min(MAX_RETRY);
        if self.next.is_none_or(|next| next > now) {
            return false;
        }
        if self.attempts > KEYFRAME_RETRIES {
            // It does not send, or cannot. Whoever still needs one will ask again.
            self.next = None;
            return false;
        }
        let wait = self.rtt.mul_f64(1.5) + RETRY_MARGIN;
        let wait = wait
            .saturating_mul(1 << self.attempts.min(8))
            .min(MAX_RETRY);
        self.attempts += 1;
        self.last_sent = Some(now);
        self.next = Some(now + wait.max(self.interval()));
        true
    }

    /// When [`KeyframeRequester::poll`] has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.next
    }

    /// Forgets an endpoint that left.
    pub fn remove(&mut self, endpoint: EndpointKey) {
        if let Ok(at) = self.position(endpoint) {
            self.requesters.remove(at);
        }
    }

    fn interval(&self) -> Duration {
        self.rtt.max(KEYFRAME_INTERVAL)
    }

    fn position(&self, endpoint: EndpointKey) -> Result<usize, usize> {
        self.requesters
            .binary_search_by_key(&endpoint, |requester| requester.endpoint)
    }

    fn grant(&mut self, now: Time, endpoint: EndpointKey) -> bool {
        let at = match self.position(endpoint) {
            Ok(at) => at,
            Err(_) => {
                if self.requesters.len() >= KEYFRAME_REQUESTERS {
                    self.make_room(now);
                }
                let at = self.position(endpoint).unwrap_or_else(|at| at);
                self.requesters.insert(
                    at,
                    Requester {
                        endpoint,
                        granted: None,
                        used_until: now,
                    },
                );
                at
            }
        };
        let interval = self.interval();
        let requester = &mut self.requesters[at];
        let too_soon = requester.granted.is_some_and(|last| now - last < interval);
        let used_until = requester.used_until.max(now) + SHARE;
        if too_soon || used_until - now > KEYFRAME_PERIOD {
            return false;
        }
        requester.granted = Some(now);
        requester.used_until = used_until;
        true
    }

    /// Forgets those without a recent grant, or else the one whose last grant is oldest. That one may get
    /// more than its share, which the limit of the stream makes harmless.
    fn make_room(&mut self, now: Time) {
        let recent = |requester: &Requester| {
            requester
                .granted
                .is_some_and(|last| now - last < KEYFRAME_PERIOD)
        };
        self.requesters.retain(recent);
        if self.requesters.len() >= KEYFRAME_REQUESTERS {
            let oldest = self
                .requesters
                .iter()
                .enumerate()
                .min_by_key(|(_, requester)| requester.granted);
            if let Some((at, _)) = oldest {
                self.requesters.remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Option<Duration> = Some(Duration::from_millis(40));

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn endpoint(number: u64) -> Option<EndpointKey> {
        Some(EndpointKey(number))
    }

    #[test]
    fn media_plane_case_117_requests_of_two_receivers_become_one() {
        let mut keyframes = KeyframeRequester::new();
        assert!(keyframes.request(ms(0), endpoint(1)));
        assert!(keyframes.poll(ms(0), RTT));
        assert!(keyframes.request(ms(50), endpoint(2)));
        assert!(!keyframes.poll(ms(50), RTT));
        keyframes.on_keyframe(ms(60));
        assert_eq!(keyframes.poll_timeout(), None);

        assert!(keyframes.request(ms(300), endpoint(1)));
        assert!(keyframes.poll(ms(300), RTT), "a second request");
        keyframes.on_keyframe(ms(350));
        assert!(keyframes.request(ms(600), endpoint(1)));
        assert!(keyframes.poll(ms(600), RTT));
        keyframes.on_keyframe(ms(650));

        assert!(
            !keyframes.request(ms(3_333), endpoint(1)),
            "the fourth at once"
        );
        assert!(!keyframes.poll(ms(3_333), RTT));
        // JVB lets it wait for 10 s, and so the picture of who lost three keyframes in a row.
        assert!(keyframes.request(ms(3_334), endpoint(1)));
        assert!(keyframes.poll(ms(3_334), RTT));
        keyframes.on_keyframe(ms(3_400));
        assert!(!keyframes.request(ms(6_666), endpoint(1)));
    }

    #[test]
    fn a_request_right_after_a_keyframe_waits_for_the_interval() {
        let mut keyframes = KeyframeRequester::new();
        keyframes.request(ms(0), endpoint(1));
        assert!(keyframes.poll(ms(0), RTT));
        keyframes.on_keyframe(ms(40));
        keyframes.request(ms(41), endpoint(2));
        assert!(!keyframes.poll(ms(199), RTT));
        assert_eq!(keyframes.poll_timeout(), Some(ms(200)));
        assert!(keyframes.poll(ms(200), RTT));
    }

    #[test]
    fn a_lost_request_is_repeated_until_a_keyframe_begins() {
        let mut keyframes = KeyframeRequester::new();
        keyframes.request(ms(0), endpoint(1));
        let mut sent = Vec::new();
        while let Some(at) = keyframes.poll_timeout().filter(|at| *at < ms(3_000)) {
            if keyframes.poll(at, RTT) {
                sent.push(at.as_millis());
            }
        }
        // 1.5 RTT + 100 ms, not below the interval, then less and less often.
        assert_eq!(sent, [0, 200, 520, 1_160, 2_440]);
        keyframes.on_keyframe(ms(3_000));
        assert_eq!(keyframes.poll_timeout(), None);
    }

    #[test]
    fn a_sender_that_never_answers_is_not_asked_for_ever() {
        let mut keyframes = KeyframeRequester::new();
        keyframes.request(ms(0), endpoint(1));
        let mut sent = 0;
        while let Some(at) = keyframes.poll_timeout() {
            sent += u32::from(keyframes.poll(at, RTT));
        }
        assert_eq!(sent, 1 + KEYFRAME_RETRIES);
    }

    #[test]
    fn t44_a_flood_is_limited_and_a_newcomer_is_served() {
        let mut keyframes = KeyframeRequester::new();
        let mut sent = Vec::new();
        let mut keyframe_at = None;
        let mut newcomer = None;
        // 500 receivers, each 100 requests/s for 30 s; the sender answers within 60 ms.
        for now in (0..30_000).map(ms) {
            if keyframe_at == Some(now) {
                keyframes.on_keyframe(now);
                if now >= ms(20_000) && newcomer.is_none() {
                    newcomer = Some(now);
                }
            }
            for number in (0..500).filter(|number| number % 10 == now.as_millis() % 10) {
                keyframes.request(now, endpoint(number));
            }
            if now == ms(20_000) {
                keyframes.request(now, endpoint(1_000));
            }
            if keyframes.poll(now, RTT) {
                sent.push(now);
                keyframe_at = Some(now + Duration::from_millis(60));
            }
        }
        assert!(sent.len() <= 5 * 30, "{}", sent.len());
        assert!(newcomer.is_some_and(|at| at <= ms(20_400)));
    }

    #[test]
    fn t44_the_memory_of_requesters_is_bounded() {
        let mut keyframes = KeyframeRequester::new();
        for number in 0..2 * KEYFRAME_REQUESTERS as u64 {
            keyframes.request(ms(number), endpoint(number));
            keyframes.on_keyframe(ms(number));
        }
        assert_eq!(keyframes.requesters.len(), KEYFRAME_REQUESTERS);
        keyframes.remove(EndpointKey(2 * KEYFRAME_REQUESTERS as u64 - 1));
        assert_eq!(keyframes.requesters.len(), KEYFRAME_REQUESTERS - 1);
        keyframes.request(ms(60_000), endpoint(1));
        keyframes.on_keyframe(ms(60_000));
        assert!(keyframes.requesters.len() <= KEYFRAME_REQUESTERS);
    }
}
