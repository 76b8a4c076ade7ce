//! What a worker lends to the code that handles one input.

use std::collections::VecDeque;
use std::sync::Arc;

use super::buffers::PacketPool;
use super::egress::Egress;
use crate::counters::{Counter, Counters};
use crate::endpoint::formats::FormatTables;
use crate::export::{Exported, Tap};
use crate::ids::{Path, WorkerId};
use crate::limits;
use crate::messages::{Event, PoolCommand, RingMessage};
use crate::time::Time;
use crate::wire::dependency::MAX_ELEMENT;

/// Messages that a worker wants delivered; the driver empties them after each turn.
#[derive(Debug, Default)]
pub struct Outputs {
    /// To the control plane.
    pub events: VecDeque<Event>,
    /// To other workers.
    pub rings: VecDeque<(WorkerId, RingMessage)>,
    /// To media exports.
    pub exports: VecDeque<(Arc<Tap>, Exported)>,
    /// To threads of the handshake pool.
    pub pool: VecDeque<(usize, PoolCommand)>,
}

/// A change of the tables that lead a datagram to its endpoint.
#[derive(Clone, Debug)]
pub(crate) enum RouteChange {
    /// Datagrams from this path are the endpoint's.
    Validated(Path),
    /// Nothing from this path is the endpoint's any more.
    Removed(Path),
    /// Checks for this ufrag are the endpoint's.
    UfragAdded(std::sync::Arc<str>),
    /// No longer.
    UfragRemoved(std::sync::Arc<str>),
    /// No check with this tag awaits an answer any more.
    AgentRemoved(u32),
}

/// The worker's tools for the input at hand.
pub(crate) struct Context<'a> {
    pub now: Time,
    pub buffers: &'a mut PacketPool,
    pub egress: &'a mut Egress,
    pub counters: &'a mut Counters,
    pub out: &'a mut Outputs,
    pub routes: &'a mut Vec<RouteChange>,
    pub formats: &'a mut FormatTables,
    /// Room for one header extension element that is written anew.
    pub scratch: &'a mut [u8; MAX_ELEMENT],
}

impl Context<'_> {
    /// Counts one.
    #[inline]
    pub fn count(&mut self, counter: Counter) {
        self.counters.count(counter);
    }

    /// Tells the control plane; dropped and counted if it does not keep up.
    pub fn event(&mut self, event: Event) {
        if self.out.events.len() < limits::CONTROL_EVENTS {
            self.out.events.push_back(event);
        } else {
            self.count(Counter::DropEventFull);
        }
    }

    /// Tells a thread of the handshake pool; dropped and counted if it does not keep up.
    pub fn tell_pool(&mut self, thread: usize, command: PoolCommand) {
        if self.out.pool.len() < limits::POOL_QUEUE {
            self.out.pool.push_back((thread, command));
        } else {
            self.count(Counter::DropRingFull);
        }
    }

    /// Gives a packet to a media export; dropped and counted if the turn has too many.
    pub fn export(&mut self, tap: &Arc<Tap>, exported: Exported) {
        if self.out.exports.len() < limits::WORKER_RING {
            self.out.exports.push_back((Arc::clone(tap), exported));
        } else {
            self.count(Counter::DropRingFull);
        }
    }

    /// Tells another worker; dropped and counted if it does not keep up.
    pub fn tell_worker(&mut self, worker: WorkerId, message: RingMessage) {
        if self.out.rings.len() < limits::WORKER_RING {
            self.out.rings.push_back((worker, message));
        } else {
            self.count(Counter::DropRingFull);
        }
    }
}
