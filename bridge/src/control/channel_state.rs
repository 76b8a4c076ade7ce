//! An endpoint's bridge channel: which transports are open, which one is used, what passed.

use std::collections::BTreeMap;

use crate::channel::MessageBudget;
use crate::limits::SENDER_FAN_OUT_BYTES_PER_SECOND;
pub(super) use crate::timeline::ChannelKind as Transport;
use crate::token_bucket::TokenBucket;

/// State of one endpoint's bridge channel.
#[derive(Clone, Debug)]
pub(super) struct ChannelState {
    pub(super) websocket: bool,
    pub(super) data_channel: bool,
    websocket_last_active: bool,
    /// Messages that found no channel.
    pub(super) dropped: u64,
    /// By class.
    pub(super) received: BTreeMap<&'static str, u64>,
    /// By class.
    pub(super) sent: BTreeMap<&'static str, u64>,
    /// Incoming text that was refused by the parser.
    pub(super) malformed: u64,
    /// Incoming text that was refused by a budget (T54).
    pub(super) over_budget: u64,
    /// What this client may send.
    pub(super) budget: MessageBudget,
    /// What its messages may cost in outgoing bytes.
    pub(super) fan_out: TokenBucket,
}

impl ChannelState {
    pub(super) fn new() -> ChannelState {
        ChannelState {
            websocket: false,
            data_channel: false,
            websocket_last_active: false,
            dropped: 0,
            received: BTreeMap::new(),
            sent: BTreeMap::new(),
            malformed: 0,
            over_budget: 0,
            budget: MessageBudget::new(),
            fan_out: TokenBucket::new(
                SENDER_FAN_OUT_BYTES_PER_SECOND,
                SENDER_FAN_OUT_BYTES_PER_SECOND,
            ),
        }
    }

    /// Notes that a transport opened.
    pub(super) fn opened(&mut self, transport: Transport) {
        match transport {
            Transport::WebSocket => (self.websocket, self.websocket_last_active) = (true, true),
            Transport::DataChannel => self.data_channel = true,
        }
    }

    /// Notes that a transport closed.
    pub(super) fn closed(&mut self, transport: Transport) {
        match transport {
            Transport::WebSocket => (self.websocket, self.websocket_last_active) = (false, false),
            Transport::DataChannel => self.data_channel = false,
        }
    }

    /// Notes that something came: answers go where the peer spoke last.
    pub(super) fn active_on(&mut self, transport: Transport) {
        self.websocket_last_active = transport == Transport::WebSocket;
    }

    /// The transport to send on (bridge-channel spec §2.3); `None` = there is no channel.
    pub(super) fn active(&self) -> Option<Transport> {
        match (self.websocket, self.data_channel) {
            (true, _) if self.websocket_last_active => Some(Transport::WebSocket),
            (_, true) => Some(Transport::DataChannel),
            (true, false) => Some(Transport::WebSocket),
            (false, false) => None,
        }
    }

    /// Whether that transport is open.
    pub(super) fn is_open(&self, transport: Transport) -> bool {
        match transport {
            Transport::WebSocket => self.websocket,
            Transport::DataChannel => self.data_channel,
        }
    }

    /// Counts a received message.
    pub(super) fn count_received(&mut self, class: &'static str) {
        *self.received.entry(class).or_default() += 1;
    }

    /// Counts a sent message.
    pub(super) fn count_sent(&mut self, class: &'static str) {
        *self.sent.entry(class).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Transport::{DataChannel, WebSocket};

    #[test]
    fn bridge_channel_case_28_the_channel_that_spoke_last_is_used() {
        let mut channel = ChannelState::new();
        assert_eq!(channel.active(), None);
        channel.opened(DataChannel);
        assert_eq!(channel.active(), Some(DataChannel));
        channel.opened(WebSocket);
        assert_eq!(
            channel.active(),
            Some(WebSocket),
            "accepting counts as activity"
        );
        channel.active_on(DataChannel);
        assert_eq!(channel.active(), Some(DataChannel));
        channel.active_on(WebSocket);
        assert_eq!(channel.active(), Some(WebSocket));
        channel.closed(WebSocket);
        assert_eq!(channel.active(), Some(DataChannel));
        channel.closed(DataChannel);
        assert_eq!(channel.active(), None);
    }

    #[test]
    fn a_websocket_serves_while_the_data_channel_is_gone() {
        let mut channel = ChannelState::new();
        channel.opened(WebSocket);
        channel.active_on(DataChannel);
        assert_eq!(channel.active(), Some(WebSocket));
    }
}
