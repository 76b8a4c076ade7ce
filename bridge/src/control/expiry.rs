//! Timers: what silently went away is removed (media-plane spec §1.7, colibri2 spec §3.10).

use std::time::Duration;

use tracing::{error, info};

use super::endpoint::Endpoint;
use super::transport_state::IceState;
use super::{Control, Timer};
use crate::channel::ServerMessage;
use crate::config::LivenessConfig;
use crate::ids::{ConferenceKey, EndpointKey};
use crate::time::Time;

/// A conference may be empty until this long after its creation (colibri2 spec §3.10).
const EMPTY_CONFERENCE: Duration = Duration::from_secs(20);

impl Control {
    /// When [`Control::handle_timeout`] is due; `None` = only after another call.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((due, timer)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, timer));
            match timer {
                Timer::Expiry => self.expire(now),
                Timer::ConnectionStats(key) => self.send_connection_stats(now, key),
                Timer::ChannelCheck(key) => self.check_channel(key),
            }
        }
    }

    /// Makes sure that there is a next expiry check.
    pub(super) fn start_expiry(&mut self, now: Time) {
        if self.conferences.len() == 1 {
            self.timers
                .insert((now + self.expiry_interval(), Timer::Expiry));
        }
    }

    fn expiry_interval(&self) -> Duration {
        // Zero would never let go of the loop above.
        self.config
            .liveness
            .expiry_interval
            .max(Duration::from_millis(1))
    }

    fn expire(&mut self, now: Time) {
        let keys: Vec<ConferenceKey> = self.conferences().collect();
        for key in keys {
            let gone: Vec<EndpointKey> = self
                .endpoints(key)
                .filter(|member| {
                    self.endpoints
                        .get(member)
                        .is_some_and(|endpoint| is_gone(now, endpoint, &self.config.liveness))
                })
                .collect();
            if !gone.is_empty() {
                self.counters.endpoints_timed_out += gone.len() as u64;
                self.remove_endpoints(now, key, &gone);
            }
            let empty = self.conferences.get(&key).is_some_and(|conference| {
                conference.members.is_empty() && now.since(conference.created) > EMPTY_CONFERENCE
            });
            // Whoever just left may come back: the conference itself goes at the next check.
            if empty && gone.is_empty() {
                self.remove_conference(now, key, 1001, "endpoint closed");
            }
        }
        if !self.conferences.is_empty() {
            self.timers
                .insert((now + self.expiry_interval(), Timer::Expiry));
        }
    }

    fn send_connection_stats(&mut self, now: Time, key: EndpointKey) {
        let interval = self
            .config
            .channel
            .connection_stats_interval
            .max(Duration::from_millis(1));
        let Some(endpoint) = self.endpoints.get_mut(&key) else {
            return;
        };
        let due = now + interval;
        endpoint.stats_due = Some(due);
        self.timers.insert((due, Timer::ConnectionStats(key)));
        if let Some(estimated_downlink_bandwidth) = endpoint.estimate {
            self.tell(
                key,
                ServerMessage::ConnectionStats {
                    estimated_downlink_bandwidth,
                },
            );
        }
    }

    fn check_channel(&mut self, key: EndpointKey) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else {
            return;
        };
        endpoint.channel_check = None;
        if endpoint.channel.active().is_none() {
            self.counters.endpoints_without_channel += 1;
            error!(parent: &endpoint.span, "no bridge channel 30 s after DTLS connected");
        }
    }
}

/// Whether an endpoint has to go, with a line in the log that says why.
fn is_gone(now: Time, endpoint: &Endpoint, liveness: &LivenessConfig) -> bool {
    let reason = match endpoint.last_activity {
        _ if endpoint.transport.ice == IceState::Failed => "ICE failed",
        None if now.since(endpoint.created) >= liveness.never_active_timeout => "never active",
        Some(last) if now.since(last) >= liveness.expiry_timeout => "silent",
        _ => return false,
    };
    info!(parent: &endpoint.span, reason, "endpoint times out");
    true
}
