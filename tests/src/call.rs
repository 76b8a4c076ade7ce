//! A conference of browsers on one daemon.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::daemon::Daemon;
use crate::participant::Participant;
use crate::webdriver::Driver;

/// A machine that runs two calls of software encoders at once measures its own lack of speed.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const ROOM: &str = "harbour";

/// A daemon, a WebDriver server, and a room.
#[derive(Debug)]
pub struct Call {
    driver: Driver,
    daemon: Daemon,
    _turn: MutexGuard<'static, ()>,
}

impl Call {
    /// Starts a daemon that binds this UDP address, and a WebDriver server.
    ///
    /// # Panics
    ///
    /// Panics if one of them does not start.
    pub fn start(udp: &str) -> Call {
        Call::with(&["--udp", udp])
    }

    /// As [`Call::start`], with these arguments for the daemon.
    ///
    /// # Panics
    ///
    /// Panics if one of them does not start.
    pub fn with(arguments: &[&str]) -> Call {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        Call {
            driver: Driver::start(),
            daemon: Daemon::start(arguments),
            _turn: turn,
        }
    }

    /// Lets someone in, and waits until they are connected.
    ///
    /// # Panics
    ///
    /// Panics if they do not get in.
    #[track_caller]
    pub fn join(&self, name: &'static str) -> Participant {
        self.join_with(name, "")
    }

    /// As [`Call::join`], with wishes as [`Participant::join`] knows them.
    ///
    /// # Panics
    ///
    /// Panics if they do not get in.
    #[track_caller]
    pub fn join_with(&self, name: &'static str, wishes: &str) -> Participant {
        Participant::join(self.driver.open(), self.daemon.url(), ROOM, name, wishes)
    }
}
