//! The bridge inside the daemon: access to its control plane, and where its websockets and notices go.

use std::sync::Arc;

use causeway_bridge::Bridge;
use causeway_bridge::control::Control;
use causeway_bridge::control::api::Notice;
use causeway_bridge::ids::EndpointKey;
use causeway_bridge::net::Host;
use causeway_bridge::time::Time;
use tokio::sync::mpsc;

use crate::websocket::WebSockets;

/// The running bridge for everything that serves requests.
pub struct BridgeAccess(pub Bridge);

impl crate::access::ControlAccess for BridgeAccess {
    fn with_control<R>(&self, work: impl FnOnce(&mut Control, Time) -> R) -> R {
        self.0.with_control(work)
    }
}

/// What the bridge tells the daemon. It calls with its control plane locked, so everything is queued.
pub struct DaemonHost {
    notices: mpsc::UnboundedSender<Notice>,
    sockets: Arc<WebSockets>,
}

impl DaemonHost {
    /// The host, and the notices that come in; one per endpoint or conference that ends, so their number is bounded by
    /// how many exist.
    pub fn new(sockets: Arc<WebSockets>) -> (Arc<DaemonHost>, mpsc::UnboundedReceiver<Notice>) {
        let (notices, receiver) = mpsc::unbounded_channel();
        (Arc::new(DaemonHost { notices, sockets }), receiver)
    }
}

impl Host for DaemonHost {
    fn websocket_send(&self, endpoint: EndpointKey, text: Arc<str>) {
        self.sockets.send(endpoint, text);
    }

    fn websocket_close(&self, endpoint: EndpointKey, code: u16, reason: &'static str) {
        self.sockets.close(endpoint, code, reason);
    }

    fn notice(&self, notice: &Notice) {
        // The receiver is gone only while the process ends.
        let _ = self.notices.send(notice.clone());
    }
}
