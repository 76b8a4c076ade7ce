//! Processes that say where they listen, and end with the test.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// Lines of output to keep for the report of a failed test.
const KEPT_LINES: usize = 300;

/// A running process. It is killed when this is dropped; if the test has failed, its output is shown.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
    kept: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    /// Starts `command` and collects what it prints.
    ///
    /// # Panics
    ///
    /// Panics if the program can not be started.
    pub fn start(name: &'static str, command: &mut Command) -> Process {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("can not start {command:?}: {error}"));
        let (sender, lines) = channel();
        let kept = Arc::default();
        collect(child.stdout.take(), sender.clone(), &kept);
        collect(child.stderr.take(), sender, &kept);
        Process {
            name,
            child,
            lines,
            kept,
        }
    }

    /// What it has in memory, in bytes.
    ///
    /// # Panics
    ///
    /// Panics if it is gone.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        size.expect("a process that runs has memory") * 1024
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// Panics if it is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("pids are small");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    /// The first result of `pick` among the lines that it prints.
    ///
    /// # Panics
    ///
    /// Panics if there is none `within` the time, or before the output ends.
    pub fn announced<T>(&self, within: Duration, pick: impl Fn(&str) -> Option<T>) -> T {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(found) = pick(&line) {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} did not say where it listens", self.name)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{} ended before it listened", self.name)
                }
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; the wait then answers at once.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking()
            && let Ok(kept) = self.kept.lock()
        {
            eprintln!("---- last output of {}", self.name);
            for line in kept.iter() {
                eprintln!("{line}");
            }
        }
    }
}

/// Reads lines on a thread that ends with the output.
fn collect(
    output: Option<impl Read + Send + 'static>,
    sender: Sender<String>,
    kept: &Arc<Mutex<VecDeque<String>>>,
) {
    let Some(output) = output else { return };
    let kept = kept.clone();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Ok(mut kept) = kept.lock() {
                kept.push_back(line.clone());
                if kept.len() > KEPT_LINES {
                    kept.pop_front();
                }
            }
            // Nobody listens any more once the process is gone.
            let _ = sender.send(line);
        }
    });
}
