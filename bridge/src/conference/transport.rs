//! The shard's side of ICE, DTLS and keys.

use bytes::Bytes;

use super::Shard;
use crate::counters::Counter;
use crate::endpoint::Endpoint;
use crate::ids::Path;
use crate::messages::{Event, PoolCommand, RemoteIce};
use crate::srtp::KeyingMaterial;
use crate::timeline::What;
use crate::transport::ice::{Credentials, IceEvent};
use crate::wire::demux::Class;
use crate::wire::stun::StunMessage;
use crate::worker::context::{Context, RouteChange};

impl Shard {
    /// A datagram from a path that belongs to the endpoint.
    pub fn handle_datagram(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        path: Path,
        class: Class,
        data: &[u8],
    ) {
        match class {
            Class::Rtp => self.handle_rtp(cx, index, path, data),
            Class::Rtcp => self.handle_rtcp(cx, index, path, data),
            Class::Dtls => {
                let Some(endpoint) = self.endpoints.get_mut(index) else {
                    return;
                };
                if endpoint.admit_dtls(cx.now) {
                    let (pool, key) = (endpoint.pool, endpoint.key);
                    cx.tell_pool(
                        pool,
                        PoolCommand::Datagram(key, Bytes::copy_from_slice(data)),
                    );
                } else {
                    cx.count(Counter::DropDtlsLimit);
                }
            }
            Class::Stun => cx.count(Counter::DropStunUnexpected),
        }
    }

    pub fn handle_stun_request(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        path: Path,
        message: &StunMessage<'_>,
    ) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        if let Err(refusal) = endpoint.ice.handle_request(cx.now, path, message) {
            cx.count(refusal.counter());
        }
        self.touch(index);
        self.drain_ice(cx, index);
    }

    pub fn handle_stun_response(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        path: Path,
        message: &StunMessage<'_>,
    ) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        match endpoint.ice.handle_response(cx.now, path, message) {
            Ok(()) => endpoint.note_activity(cx.now),
            Err(refusal) => cx.count(refusal.counter()),
        }
        self.touch(index);
        self.drain_ice(cx, index);
    }

    pub fn set_remote_ice(&mut self, cx: &mut Context<'_>, index: usize, remote: RemoteIce) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        endpoint.ice.set_remote(cx.now, remote);
        self.touch(index);
        self.drain_ice(cx, index);
    }

    pub fn restart_ice(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        generation: u32,
        credentials: Credentials,
    ) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        endpoint.ice.restart(cx.now, generation, credentials);
        self.touch(index);
        self.drain_ice(cx, index);
    }

    pub(super) fn handle_ice_timer(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        if endpoint.ice.poll_timeout().is_some_and(|at| at <= cx.now) {
            endpoint.ice.handle_timeout(cx.now);
            self.drain_ice(cx, index);
        }
    }

    /// Sends what ICE wants to send and obeys its events.
    pub(super) fn drain_ice(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        let mut connected = false;
        while let Some(event) = endpoint.ice.poll_event() {
            match event {
                IceEvent::PathValidated(path) => {
                    endpoint.remember_path(path);
                    cx.routes.push(RouteChange::Validated(path));
                }
                IceEvent::PathRemoved(path) => {
                    endpoint.paths.retain(|known| *known != path);
                    cx.routes.push(RouteChange::Removed(path));
                }
                IceEvent::UfragAdded(ufrag) => {
                    endpoint.ufrags.push(ufrag.clone());
                    cx.routes.push(RouteChange::UfragAdded(ufrag));
                }
                IceEvent::UfragRemoved(ufrag) => {
                    endpoint.ufrags.retain(|known| *known != ufrag);
                    cx.routes.push(RouteChange::UfragRemoved(ufrag));
                }
                IceEvent::Connected(path) => {
                    endpoint.ice_connected = true;
                    connected = true;
                    cx.event(Event::IceConnected(endpoint.key, path));
                    cx.tell_pool(endpoint.pool, PoolCommand::Writable(endpoint.key));
                }
                IceEvent::SendPathChanged(path) => {
                    cx.event(Event::PathChanged(endpoint.key, path));
                }
                IceEvent::Failed => cx.event(Event::IceFailed(endpoint.key)),
                IceEvent::RestartEnded {
                    generation,
                    success,
                } => {
                    cx.event(Event::IceRestartEnded(endpoint.key, generation, success));
                }
                IceEvent::RoundTrip(rtt) => endpoint.downlink.ice_rtt = Some(rtt),
                IceEvent::ConsentLost => endpoint.notebook.note(cx.now, What::ConsentLost),
                IceEvent::ConsentRegained => {
                    endpoint.notebook.note(cx.now, What::ConsentRegained);
                }
            }
        }
        let was_ready = endpoint.downlink.is_ready();
        endpoint.downlink.path = endpoint.ice.send_path(cx.now);
        let mut buffer = [0; crate::wire::stun::MAX_WRITTEN];
        while let Some((path, len)) = endpoint.ice.poll_transmit(&mut buffer) {
            if let Some(bytes) = buffer.get(..len) {
                cx.egress.push(path, bytes, &mut endpoint.downlink.chain);
            }
        }
        if connected || was_ready != endpoint.downlink.is_ready() {
            endpoint.receiver.pending = true;
            self.allocate = true;
        }
    }

    /// Another endpoint authenticated from a path that was this one's.
    pub fn path_taken(&mut self, cx: &mut Context<'_>, index: usize, path: Path) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        endpoint.ice.path_taken(cx.now, path);
        self.touch(index);
        self.drain_ice(cx, index);
    }

    /// Sends a datagram of the endpoint's DTLS association.
    pub fn send_dtls(&mut self, cx: &mut Context<'_>, index: usize, datagram: &[u8]) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        if let Some(path) = endpoint.ice.send_path(cx.now) {
            cx.egress.push(path, datagram, &mut endpoint.downlink.chain);
        }
    }

    /// The handshake is complete.
    pub fn set_keys(&mut self, cx: &mut Context<'_>, index: usize, keys: &KeyingMaterial) {
        let Some(endpoint) = self.endpoints.get_mut(index) else {
            return;
        };
        let mut inbound = keys.inbound();
        endpoint.uplink.allow_in(&mut inbound);
        endpoint.inbound = Some(inbound);
        let early = endpoint.early.take(cx.now);
        endpoint.downlink.srtp = Some(keys.outbound());
        endpoint.receiver.pending = true;
        self.allocate = true;
        self.touch(index);
        for early in early {
            self.handle_datagram(cx, index, early.path, early.class, &early.datagram);
        }
    }
}

impl Endpoint {
    /// Something authentic came from the peer.
    pub(crate) fn note_activity(&mut self, now: crate::time::Time) {
        self.last_activity = Some(now);
    }

    /// Keeps track of what the worker's tables hold for this endpoint.
    fn remember_path(&mut self, path: Path) {
        if !self.paths.contains(&path) {
            self.paths.push(path);
        }
    }
}
