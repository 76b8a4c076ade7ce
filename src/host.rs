//! Where the websockets and notices of the bridge inside the daemon go.

use std::sync::Arc;

use causeway_bridge::control::api::Notice;
use causeway_bridge::ids::EndpointKey;
use causeway_bridge::net::Host;
use tokio::sync::mpsc;

use crate::websocket::WebSockets;

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
