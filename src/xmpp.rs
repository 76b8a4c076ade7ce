//! The bridge in the rooms where focuses look for it (colibri2 spec §4).
//!
//! Each connection is a task of its own: a server that is slow or gone holds up nobody else. Presence is written once
//! for all of them, and who can not keep up gets only the newest.

mod presence;
mod session;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use causeway_colibri::statistics::XmppFacts;
use causeway_colibri::{Handler, IqService, MucClients, Process};
use causeway_xmpp::Element;
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use self::session::Session;
use crate::config::{Xmpp, XmppClient};

/// Connections that one process may have.
const MAX_CLIENTS: usize = 256;
/// First pause before connecting again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause: with the login, presence is back within 5 s of a server's return.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A connection that lasted this long was a good one.
const GOOD: Duration = Duration::from_secs(10);
/// To say goodbye to all servers when the process ends.
const GOODBYE: Duration = Duration::from_secs(1);

/// How the connections are, for statistics.
#[derive(Default)]
struct Counts {
    connected: AtomicU64,
    joined: AtomicU64,
    disconnects: AtomicU64,
}

/// A connection.
struct Client {
    settings: XmppClient,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// All connections of the process.
pub struct Clients<P> {
    process: Arc<P>,
    handler: Handler,
    version: String,
    presence: watch::Receiver<Element>,
    counts: Arc<Counts>,
    runtime: runtime::Handle,
    clients: Mutex<BTreeMap<String, Client>>,
}

impl<P: Process> Clients<P> {
    /// Opens the configured connections. Needs a runtime.
    pub fn start(
        process: Arc<P>,
        handler: Handler,
        xmpp: &Xmpp,
        version: &str,
        release: Option<&str>,
    ) -> Arc<Clients<P>> {
        let writer = presence::Writer::new(Arc::clone(&process), xmpp, version, release);
        let clients = Arc::new(Clients {
            process,
            handler,
            version: version.to_owned(),
            presence: writer.subscribe(),
            counts: Arc::default(),
            runtime: runtime::Handle::current(),
            clients: Mutex::default(),
        });
        tokio::spawn(writer.run());
        for (id, settings) in &xmpp.clients {
            clients.open(id, settings.clone());
        }
        clients
    }

    fn open(&self, id: &str, settings: XmppClient) {
        let (stop, stopped) = watch::channel(false);
        let service = IqService::new(
            Arc::clone(&self.process),
            self.handler.clone(),
            self.version.clone(),
            settings.rooms.clone(),
        );
        let session = Session {
            id: id.to_owned(),
            settings: settings.clone(),
            service,
            presence: self.presence.clone(),
            stopped,
            counts: Arc::clone(&self.counts),
        };
        let client = Client {
            settings,
            stop,
            task: self.runtime.spawn(keep(session)),
        };
        let replaced = self.locked().insert(id.to_owned(), client);
        if let Some(replaced) = replaced {
            replaced.stop.send_replace(true);
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves all rooms and ends all connections.
    pub async fn leave(&self) {
        let clients = std::mem::take(&mut *self.locked());
        for client in clients.values() {
            client.stop.send_replace(true);
        }
        let goodbye = async {
            for client in clients.into_values() {
                // A task that panicked has nothing more to say.
                let _ = client.task.await;
            }
        };
        if timeout(GOODBYE, goodbye).await.is_err() {
            tracing::warn!("an XMPP server did not take our leave in time");
        }
    }

    /// How the connections are.
    pub fn facts(&self) -> XmppFacts {
        let clients = self.locked();
        let rooms = clients.values().map(|client| client.settings.rooms.len());
        XmppFacts {
            clients_configured: clients.len() as u64,
            clients_connected: self.counts.connected.load(Ordering::Relaxed),
            mucs_configured: rooms.sum::<usize>() as u64,
            mucs_joined: self.counts.joined.load(Ordering::Relaxed),
            disconnects: self.counts.disconnects.load(Ordering::Relaxed),
        }
    }
}

impl<P: Process> MucClients for Clients<P> {
    fn add(&self, id: &str, settings: BTreeMap<String, String>) -> Result<(), String> {
        let settings = XmppClient::from_members(&settings)?;
        {
            let clients = self.locked();
            match clients.get(id) {
                Some(client) if client.settings.is_same_as(&settings) => return Ok(()),
                None if clients.len() >= MAX_CLIENTS => {
                    return Err(format!("There are {MAX_CLIENTS} clients already"));
                }
                _ => {}
            }
        }
        self.open(id, settings);
        Ok(())
    }

    fn remove(&self, id: &str) -> bool {
        let removed = self.locked().remove(id);
        if let Some(client) = &removed {
            client.stop.send_replace(true);
        }
        removed.is_some()
    }

    fn ids(&self) -> Vec<String> {
        self.locked().keys().cloned().collect()
    }
}

/// Keeps a connection open until it is told to stop.
async fn keep<P: Process>(mut session: Session<P>) {
    if !session.settings.account.verify {
        tracing::warn!(
            id = session.id,
            "the certificate of the XMPP server is not checked"
        );
    }
    let mut pause = FIRST_PAUSE;
    let mut last_error = String::new();
    loop {
        let began = Instant::now();
        let Err(error) = session.run().await else {
            tracing::info!(id = session.id, "XMPP connection ended");
            return;
        };
        if began.elapsed() >= GOOD {
            pause = FIRST_PAUSE;
            last_error.clear();
        }
        let error = error.to_string();
        if error == last_error {
            tracing::debug!(id = session.id, error, "no XMPP connection");
        } else {
            let account = &session.settings.account;
            tracing::warn!(
                id = session.id,
                ?account,
                error,
                "no XMPP connection, trying again"
            );
            last_error = error;
        }
        tokio::select! {
            () = session.stopped() => return,
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
