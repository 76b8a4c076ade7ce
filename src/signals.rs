//! Signals that end the process.

use tokio::signal::unix::{SignalKind, signal};

/// A signal that ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The terminal is gone.
    Hangup,
    /// Ctrl-C.
    Interrupt,
    /// `kill`, systemd, container runtimes.
    Terminate,
}

impl Signal {
    /// Exit status of a process that it ended: 128 and its number, as shells and service managers have it.
    pub fn exit_code(self) -> u8 {
        match self {
            Signal::Hangup => 129,
            Signal::Interrupt => 130,
            Signal::Terminate => 143,
        }
    }
}

/// Resolves at the first of these signals.
pub async fn signalled() -> Signal {
    let streams = (
        signal(SignalKind::hangup()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    );
    let (Ok(mut hangup), Ok(mut interrupt), Ok(mut terminate)) = streams else {
        tracing::error!("can not listen for signals: they end the process at once");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = hangup.recv() => Signal::Hangup,
        _ = interrupt.recv() => Signal::Interrupt,
        _ = terminate.recv() => Signal::Terminate,
    }
}
