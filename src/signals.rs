//! Signals that end the process.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves at Ctrl-C or SIGTERM.
pub async fn ended() {
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            tracing::error!(%error, "can not listen for SIGTERM");
            return std::future::pending().await;
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
