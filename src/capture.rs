//! Captures of one endpoint's packets as files for Wireshark (`jmt.debug.pcap`): decrypted RTP and RTCP of both directions.
//!
//! Each has a thread of its own, as writing to a disk may take long. The worker never waits for it, see
//! [`causeway_bridge::capture`].

pub mod pcap;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use causeway_bridge::Bridge;
use causeway_bridge::capture::{CaptureTap, Direction, Frame, Next, Reader, channel};
use causeway_bridge::control::ControlAccess;
use causeway_bridge::ids::EndpointKey;
use causeway_bridge::net::Clock;
use causeway_colibri::rest::{CaptureError, CaptureSummary, CaptureTarget, Captures};

/// Captures at the same time; each has a thread, and buffers of some megabytes.
const MAX_CAPTURES: usize = 8;
/// Longest part of an id in a file's name.
const MAX_NAME: usize = 64;
/// How long a capture that nothing happens to may take to notice that the process ends.
const PATIENCE: Duration = Duration::from_millis(500);
/// Port that stands for those of clients: the first that may be anybody's (RFC 6335 §6).
const REDACTED_PORT: u16 = 49_152;
/// Addresses that stand for those of clients (RFC 5737, RFC 3849).
const REDACTED_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const REDACTED_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// Settings of captures (`jmt.debug.pcap`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Allow them.
    pub enabled: bool,
    /// Where the files are.
    pub directory: PathBuf,
    /// Bytes of one file.
    pub max_bytes: u64,
    /// Time that one may take.
    pub max_duration: Duration,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        CaptureOptions {
            enabled: false,
            directory: PathBuf::from("/tmp"),
            max_bytes: 256 << 20,
            max_duration: Duration::from_secs(600),
        }
    }
}

/// A capture that runs.
struct Running {
    /// Never used twice.
    number: u64,
    file: PathBuf,
    thread: JoinHandle<CaptureSummary>,
}

#[derive(Default)]
struct State {
    begun: u64,
    running: HashMap<EndpointKey, Running>,
}

/// All captures of the process.
pub struct CaptureFiles {
    options: CaptureOptions,
    redact: bool,
    bridge: Bridge,
    /// Taken before the control plane's lock.
    state: Mutex<State>,
    /// The process ends.
    ending: Arc<AtomicBool>,
    me: std::sync::Weak<CaptureFiles>,
}

impl CaptureFiles {
    /// None yet. `redact` hides the addresses of clients (`videobridge.redact-remote-addresses`).
    pub fn new(bridge: Bridge, options: CaptureOptions, redact: bool) -> Arc<CaptureFiles> {
        Arc::new_cyclic(|me| CaptureFiles {
            options,
            redact,
            bridge,
            state: Mutex::default(),
            ending: Arc::default(),
            me: me.clone(),
        })
    }

    /// Completes all files.
    pub fn finish(&self) {
        self.ending.store(true, Ordering::Relaxed);
        let running = std::mem::take(&mut self.state().running);
        for (_, capture) in running {
            // A defect there was logged by the panic itself.
            let _ = capture.thread.join();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A capture reached a limit, or its endpoint left: its worker need not copy any more.
    fn ended(&self, endpoint: EndpointKey, number: u64) {
        let mut state = self.state();
        let same = |running: &Running| running.number == number;
        if state.running.get(&endpoint).is_some_and(same) {
            state.running.remove(&endpoint);
            self.set(endpoint, None);
        }
    }

    fn set(&self, endpoint: EndpointKey, tap: Option<CaptureTap>) -> bool {
        let tap = tap.map(Box::new);
        let set =
            |control: &mut causeway_bridge::control::Control| control.set_capture(endpoint, tap);
        self.bridge.with_control(|control, _| set(control)).is_ok()
    }
}

impl Captures for CaptureFiles {
    fn start(&self, target: &CaptureTarget) -> Result<PathBuf, CaptureError> {
        let options = &self.options;
        if !options.enabled {
            let text = "Packet captures are not allowed here: they show what people say. Set jmt.debug.pcap.enabled = true";
            return Err(CaptureError::Forbidden(text.to_owned()));
        }
        let mut state = self.state();
        if let Some(running) = state.running.get(&target.key) {
            return Ok(running.file.clone());
        }
        if state.running.len() >= MAX_CAPTURES {
            let text = format!("{MAX_CAPTURES} packet captures run already: switch one off");
            return Err(CaptureError::Busy(text));
        }
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall = wall.unwrap_or_default();
        let name = file_name(&target.conference, &target.endpoint, wall);
        let path = options.directory.join(name);
        let file = create(&path).map_err(|error| {
            let directory = options.directory.display();
            CaptureError::Failed(format!(
                "Can not create a file in {directory}: {error}. Make it a directory that the bridge may write to, or set \
                 jmt.debug.pcap.directory to another one"
            ))
        })?;
        let (tap, reader) = channel();
        state.begun += 1;
        let number = state.begun;
        let capture = Capture {
            conference: target.conference.clone(),
            endpoint: target.endpoint.clone(),
            sink: BufWriter::new(file),
            epoch_micros: epoch_micros(wall, self.bridge.clock()),
            locals: self.bridge.addresses().to_vec(),
            redact: self.redact,
            left: options.max_bytes,
            deadline: Instant::now() + options.max_duration,
            record: Vec::new(),
            summary: CaptureSummary {
                file: path.clone(),
                packets: 0,
                bytes: 0,
                dropped: 0,
            },
        };
        let (files, key) = (self.me.clone(), target.key);
        let ending = Arc::clone(&self.ending);
        let thread = thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || {
                let summary = capture.run(&reader, || ending.load(Ordering::Relaxed));
                if let Some(files) = files.upgrade() {
                    files.ended(key, number);
                }
                summary
            })
            .map_err(|error| {
                // Nothing is in it.
                let _ = std::fs::remove_file(&path);
                CaptureError::Failed(format!("Can not start a thread: {error}"))
            })?;
        let running = Running {
            number,
            file: path.clone(),
            thread,
        };
        state.running.insert(target.key, running);
        let (conf, endpoint, file) = (&target.conference, &target.endpoint, path.display());
        tracing::info!(conf, endpoint, %file, "packet capture begins: the file will hold what this endpoint says and hears");
        if self.set(target.key, Some(tap)) {
            return Ok(path);
        }
        // The tap is gone with the endpoint, and so the thread ends at once.
        if let Some(running) = state.running.remove(&target.key) {
            drop(state);
            let _ = running.thread.join();
        }
        // Nothing is in it.
        let _ = std::fs::remove_file(&path);
        Err(CaptureError::Gone)
    }

    fn stop(&self, endpoint: EndpointKey) -> Option<CaptureSummary> {
        let running = {
            let mut state = self.state();
            let running = state.running.remove(&endpoint)?;
            self.set(endpoint, None);
            running
        };
        running.thread.join().ok()
    }

    fn is_on(&self, endpoint: EndpointKey) -> bool {
        self.state().running.contains_key(&endpoint)
    }
}

/// For this user only; never a file that exists, nor one that a link leads to.
fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Ids are what others chose: here they are a part of a name, and no path.
fn file_name(conference: &str, endpoint: &str, wall: Duration) -> String {
    let plain = |id: &str| -> String {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        id.chars().take(MAX_NAME).map(letter).collect()
    };
    let (conference, endpoint) = (plain(conference), plain(endpoint));
    format!("causeway-{conference}-{endpoint}-{}.pcap", wall.as_millis())
}

/// µs since 1970 at which the bridge's clock showed zero.
fn epoch_micros(wall: Duration, clock: Clock) -> u64 {
    let wall = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
    wall.saturating_sub(clock.now().as_micros())
}

/// Why a capture ended.
enum End {
    Gone,
    Time,
    Size,
    Process,
    Failed(std::io::Error),
}

/// One file that grows.
struct Capture<W> {
    conference: String,
    endpoint: String,
    sink: W,
    epoch_micros: u64,
    locals: Vec<SocketAddr>,
    redact: bool,
    /// Bytes that may still be written.
    left: u64,
    deadline: Instant,
    record: Vec<u8>,
    summary: CaptureSummary,
}

impl<W: Write> Capture<W> {
    /// Writes until the tap is gone or a limit is reached.
    fn run(mut self, reader: &Reader, ending: impl Fn() -> bool) -> CaptureSummary {
        let end = self.write_all(reader, ending);
        let flushed = self.sink.flush();
        self.summary.dropped = reader.dropped();
        let summary = &self.summary;
        let (conf, endpoint, file) = (&self.conference, &self.endpoint, summary.file.display());
        let end = match (end, flushed) {
            (Ok(end), Ok(())) => end,
            (Err(error), _) | (_, Err(error)) => End::Failed(error),
        };
        let why = match end {
            End::Gone => "it was switched off, or the endpoint left",
            End::Time => "jmt.debug.pcap.max-duration is over",
            End::Size => "jmt.debug.pcap.max-bytes is reached",
            End::Process => "the process ends",
            End::Failed(error) => {
                tracing::error!(conf, endpoint, %file, %error, "packet capture ends: the file can not be written, is the disk full?");
                return self.summary;
            }
        };
        let CaptureSummary {
            packets,
            bytes,
            dropped,
            ..
        } = *summary;
        tracing::info!(conf, endpoint, %file, packets, bytes, dropped, why, "packet capture ends");
        self.summary
    }

    fn write_all(&mut self, reader: &Reader, ending: impl Fn() -> bool) -> std::io::Result<End> {
        let header = pcap::file_header();
        self.write(&header)?;
        let mut warned = false;
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(End::Time);
            }
            match reader.next(left.min(PATIENCE)) {
                Next::Frame(frame) => {
                    let written = self.write_frame(&frame);
                    reader.done(frame);
                    if !written? {
                        return Ok(End::Size);
                    }
                    if reader.is_empty() {
                        self.sink.flush()?;
                    }
                }
                Next::Nothing => {}
                Next::End => return Ok(End::Gone),
            }
            if ending() && reader.is_empty() {
                return Ok(End::Process);
            }
            if reader.dropped() > 0 && !warned {
                warned = true;
                let (conf, endpoint) = (&self.conference, &self.endpoint);
                tracing::warn!(
                    conf,
                    endpoint,
                    "packet capture: the disk is too slow, packets are missing in the file"
                );
            }
        }
    }

    /// False if it would not fit any more.
    fn write_frame(&mut self, frame: &Frame) -> std::io::Result<bool> {
        let (local, remote) = self.ends(frame);
        let (from, to) = match frame.direction {
            Direction::Incoming => (remote, local),
            Direction::Outgoing => (local, remote),
        };
        let micros = self.epoch_micros.saturating_add(frame.time.as_micros());
        let mut record = std::mem::take(&mut self.record);
        pcap::write_record(&mut record, micros, from, to, frame.packet());
        let fits = record.len() as u64 <= self.left;
        let written = if fits { self.write(&record) } else { Ok(()) };
        self.record = record;
        self.summary.packets += u64::from(fits);
        written.map(|()| fits)
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.sink.write_all(bytes)?;
        self.left = self.left.saturating_sub(bytes.len() as u64);
        self.summary.bytes += bytes.len() as u64;
        Ok(())
    }

    /// The addresses to write, local and remote.
    fn ends(&self, frame: &Frame) -> (SocketAddr, SocketAddr) {
        let remote = frame.path.remote;
        let local = self.locals.get(usize::from(frame.path.socket.0));
        let unspecified = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let local = local.copied().unwrap_or(unspecified);
        if !self.redact {
            return (local, remote);
        }
        let address = match remote.ip() {
            IpAddr::V4(_) => REDACTED_V4.into(),
            IpAddr::V6(_) => REDACTED_V6.into(),
        };
        (local, SocketAddr::new(address, REDACTED_PORT))
    }
}

#[cfg(test)]
mod tests;
