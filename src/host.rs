//! Where the websockets, media exports and notices of the bridge inside the daemon go.

use std::sync::Arc;

use causeway_bridge::control::api::Notice;
use causeway_bridge::export::ExportCommand;
use causeway_bridge::ids::EndpointKey;
use causeway_bridge::net::Host;
use tokio::sync::{mpsc, watch};

use crate::websocket::WebSockets;

/// What the bridge tells the daemon. It calls with its control plane locked, so everything is queued.
pub struct DaemonHost {
    notices: mpsc::UnboundedSender<Notice>,
    sockets: Arc<WebSockets>,
    exports: mpsc::UnboundedSender<ExportCommand>,
    failed: watch::Sender<Option<String>>,
}

impl DaemonHost {
    /// The host, and the notices that come in; one per endpoint or conference that ends, so their number is bounded by
    /// how many exist. What becomes of media exports goes to `exports`.
    pub fn new(
        sockets: Arc<WebSockets>,
        exports: mpsc::UnboundedSender<ExportCommand>,
    ) -> (Arc<DaemonHost>, mpsc::UnboundedReceiver<Notice>) {
        let (notices, receiver) = mpsc::unbounded_channel();
        let host = DaemonHost {
            notices,
            sockets,
            exports,
            failed: watch::Sender::new(None),
        };
        (Arc::new(host), receiver)
    }

    /// Resolves when a thread of the bridge has ended by a defect, with its name.
    pub async fn failure(&self) -> String {
        let mut failed = self.failed.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(thread) => thread.clone().unwrap_or_default(),
            // The sender is ours and lives.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Host for DaemonHost {
    fn websocket_send(&self, endpoint: EndpointKey, text: Arc<str>) {
        self.sockets.send(endpoint, text);
    }

    fn websocket_close(&self, endpoint: EndpointKey, code: u16, reason: &'static str) {
        self.sockets.close(endpoint, code, reason);
    }

    fn export(&self, command: ExportCommand) {
        // The receiver is gone only while the process ends.
        let _ = self.exports.send(command);
    }

    fn failed(&self, thread: &str) {
        self.failed.send_replace(Some(thread.to_owned()));
    }

    fn notice(&self, notice: &Notice) {
        // The receiver is gone only while the process ends.
        let _ = self.notices.send(notice.clone());
    }
}
