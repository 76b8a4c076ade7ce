//! The websockets of media exports (colibri2 spec §3.5): one task for each, which drives a
//! [`causeway_bridge::export::Session`].

mod connection;
mod target;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use causeway_bridge::control::ControlAccess;
use causeway_bridge::export::{ExportCommand, SessionCounters, SessionOptions};
use causeway_bridge::ids::{ExportKey, SourceName};
use causeway_colibri::statistics::ExportFacts;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long the tasks may take to take leave when the process ends.
const GOODBYE: Duration = Duration::from_secs(5);

/// Settings of media exports (`videobridge.exporter`).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ExportOptions {
    /// How lost connections are made anew.
    pub session: SessionOptions,
    /// Networks to which exports may go although they are loopback or private (T62).
    pub allowed_networks: Vec<IpNet>,
}

/// A change of an export that runs; the end is the end of the channel.
pub(crate) struct Change {
    exports: Vec<SourceName>,
    requests: Vec<SourceName>,
}

/// What all exports counted, those that ended included.
#[derive(Default)]
pub struct Totals {
    begun: AtomicU64,
    failures: AtomicU64,
    internal_errors: AtomicU64,
    packets_sent: AtomicU64,
    packets_dropped: AtomicU64,
    transcripts: AtomicU64,
    media: AtomicU64,
    sending_changes: AtomicU64,
    infos: AtomicU64,
    others: AtomicU64,
    malformed: AtomicU64,
}

impl Totals {
    /// The counts, once an export was begun.
    pub fn facts(&self) -> Option<ExportFacts> {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (get(&self.begun) > 0).then(|| ExportFacts {
            starts: get(&self.begun),
            failures: get(&self.failures),
            internal_errors: get(&self.internal_errors),
            packets_sent: get(&self.packets_sent),
            packets_dropped: get(&self.packets_dropped),
            transcripts: get(&self.transcripts),
            media: get(&self.media),
            sending_changes: get(&self.sending_changes),
            infos: get(&self.infos),
            others: get(&self.others),
            malformed: get(&self.malformed),
        })
    }

    /// Adds what a session counted since `before`.
    pub(crate) fn add(&self, before: SessionCounters, now: SessionCounters, displaced: u64) {
        let dropped = now.packets_dropped - before.packets_dropped + displaced;
        for (total, more) in [
            (&self.failures, now.failures - before.failures),
            (&self.packets_sent, now.packets_sent - before.packets_sent),
            (&self.packets_dropped, dropped),
            (&self.transcripts, now.transcripts - before.transcripts),
            (&self.media, now.media - before.media),
            (
                &self.sending_changes,
                now.sending_changes - before.sending_changes,
            ),
            (&self.infos, now.infos - before.infos),
            (
                &self.others,
                now.others + now.over_budget - before.others - before.over_budget,
            ),
            (&self.malformed, now.malformed - before.malformed),
        ] {
            total.fetch_add(more, Ordering::Relaxed);
        }
    }

    pub(crate) fn internal_error(&self) {
        self.internal_errors.fetch_add(1, Ordering::Relaxed);
    }
}

/// What every export needs.
pub struct Environment<A> {
    /// Where it goes that peers say something.
    pub access: A,
    /// Settings.
    pub options: ExportOptions,
    /// What the bridge calls itself.
    pub version: String,
    /// Where is counted.
    pub totals: Arc<Totals>,
}

/// Runs exports as they are commanded, until `end` says so; then all end in order.
pub async fn run<A: ControlAccess>(
    environment: Arc<Environment<A>>,
    mut commands: mpsc::UnboundedReceiver<ExportCommand>,
    mut end: oneshot::Receiver<()>,
) {
    let mut running: HashMap<ExportKey, mpsc::UnboundedSender<Change>> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let command = tokio::select! {
            command = commands.recv() => command,
            _ = &mut end => None,
            Some(_) = tasks.join_next() => continue,
        };
        match command {
            Some(ExportCommand::Open(setup)) => {
                environment.totals.begun.fetch_add(1, Ordering::Relaxed);
                let (sender, changes) = mpsc::unbounded_channel();
                running.insert(setup.key, sender);
                let environment = Arc::clone(&environment);
                tasks.spawn(connection::run(environment, *setup, changes));
            }
            Some(ExportCommand::Update(key, exports, requests)) => {
                if let Some(sender) = running.get(&key) {
                    // Its task ends only after its sender is gone.
                    let _ = sender.send(Change { exports, requests });
                }
            }
            Some(ExportCommand::Close(key)) => {
                running.remove(&key);
            }
            None => break,
        }
    }
    running.clear();
    let _ = timeout(GOODBYE, async {
        while tasks.join_next().await.is_some() {}
    })
    .await;
}
