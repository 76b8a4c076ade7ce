//! The queue of things to do.

use std::collections::VecDeque;
use std::sync::Arc;

use super::api::{ControlOutput, Notice};
use super::channel_state::Transport;
use super::conference::Conference;
use super::endpoint::Endpoint;
use crate::channel::Topic;
use crate::export::ExportCommand;
use crate::ids::{EndpointKey, WorkerId};
use crate::messages::{Command, PoolCommand};

/// What the control plane wants done, in order.
#[derive(Default)]
pub(super) struct Outputs {
    queue: VecDeque<ControlOutput>,
    /// Messages put on data channels so far.
    pub(super) data_channel_messages: u64,
}

impl Outputs {
    pub(super) fn pop(&mut self) -> Option<ControlOutput> {
        self.queue.pop_front()
    }

    pub(super) fn worker(&mut self, worker: WorkerId, command: Command) {
        self.queue.push_back(ControlOutput::Worker(worker, command));
    }

    /// A command for every shard of a conference.
    pub(super) fn shards(&mut self, conference: &Conference, command: impl Fn() -> Command) {
        for worker in conference.shards.keys() {
            self.worker(*worker, command());
        }
    }

    pub(super) fn pool(&mut self, thread: usize, command: PoolCommand) {
        self.queue.push_back(ControlOutput::Pool(thread, command));
    }

    pub(super) fn close_websocket(
        &mut self,
        endpoint: EndpointKey,
        code: u16,
        reason: &'static str,
    ) {
        self.queue
            .push_back(ControlOutput::CloseWebSocket(endpoint, code, reason));
    }

    pub(super) fn export(&mut self, command: ExportCommand) {
        self.queue.push_back(ControlOutput::Export(command));
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.queue.push_back(ControlOutput::Notice(notice));
    }

    /// A message of that class for an endpoint on its active channel; false if it has none: nothing is
    /// kept for later, the state is replayed when a channel connects.
    pub(super) fn deliver(
        &mut self,
        endpoint: &mut Endpoint,
        class: &'static str,
        topic: Option<Topic>,
        text: &Arc<str>,
    ) -> bool {
        let Some(transport) = endpoint.channel.active() else {
            endpoint.channel.dropped += 1;
            return false;
        };
        endpoint.channel.count_sent(class);
        self.put(endpoint, transport, topic, text);
        true
    }

    /// The same on a given transport, for answers that belong to where the question came from.
    pub(super) fn reply(
        &mut self,
        endpoint: &mut Endpoint,
        transport: Transport,
        class: &'static str,
        text: &Arc<str>,
    ) {
        endpoint.channel.count_sent(class);
        self.put(endpoint, transport, None, text);
    }

    fn put(
        &mut self,
        endpoint: &Endpoint,
        transport: Transport,
        topic: Option<Topic>,
        text: &Arc<str>,
    ) {
        let text = Arc::clone(text);
        match transport {
            Transport::WebSocket => self
                .queue
                .push_back(ControlOutput::WebSocket(endpoint.key, text)),
            Transport::DataChannel => {
                self.data_channel_messages += 1;
                self.pool(endpoint.pool, PoolCommand::Send(endpoint.key, text, topic))
            }
        }
    }
}
