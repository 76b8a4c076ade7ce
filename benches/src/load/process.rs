//! Processes from outside: what they used, and starting the bridge under test.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

const STARTUP: Duration = Duration::from_secs(30);
const END: Duration = Duration::from_secs(10);

/// What a process used so far.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Usage {
    pub cpu: Duration,
    /// Resident set, bytes.
    pub memory: u64,
}

/// `None` if there is no such process.
pub fn usage(pid: u32) -> Option<Usage> {
    Some(Usage {
        cpu: cpu_clock(pid).or_else(|| ticks(pid))?,
        memory: memory(pid)?,
    })
}

/// The clock that counts what all threads of a process used, in nanoseconds (`clock_getcpuclockid(3)`). Those that have ended
/// count as well: a sum over the threads that are there goes back when one of a pool ends, as they do in a Java process.
fn cpu_clock(pid: u32) -> Option<Duration> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?);
    let now = clock_getcpuclockid(pid).ok()?.now().ok()?;
    Some(now.into())
}

/// The coarse figure that every kernel has: utime and stime of `stat` in ticks of 10 ms.
fn ticks(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (next()? + next()?)))
}

fn memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// What figures were measured on.
pub fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split(": ").nth(1))
        .unwrap_or(std::env::consts::ARCH);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// Share of the machine's CPU time that others used is the rest of this: idle and all ticks.
pub fn machine_ticks() -> Option<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    let idle = fields.get(3)? + fields.get(4)?;
    Some((idle, fields.iter().take(8).sum()))
}

/// Datagrams that the kernel dropped at IPv4 sockets with these local ports, since they exist.
pub fn dropped(ports: &BTreeSet<u16>) -> u64 {
    let table = fs::read_to_string("/proc/self/net/udp").unwrap_or_default();
    // Columns (proc_pid_net(5)): 1 is "ADDRESS:PORT" in hex, the last one counts drops.
    let rows = table.lines().skip(1).filter_map(|row| {
        let local = row.split_whitespace().nth(1)?;
        let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        let drops: u64 = row.split_whitespace().last()?.parse().ok()?;
        ports.contains(&port).then_some(drops)
    });
    rows.sum()
}

/// A process of ours: it ends with this.
pub struct Started {
    pub child: Child,
    folder: Option<PathBuf>,
}

impl Started {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A process that was spawned elsewhere.
    pub fn of(child: Child) -> Started {
        Started {
            child,
            folder: None,
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id() as i32);
        let _ = kill(pid, Signal::SIGTERM);
        let end = Instant::now() + END;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// How the daemon under test is started.
#[derive(Clone, Debug, Default)]
pub struct DaemonOptions {
    /// The program; otherwise the one beside this one.
    pub program: Option<PathBuf>,
    /// Lines for its configuration.
    pub extra: Vec<String>,
    /// Cores that it may use, as for taskset.
    pub cpus: Option<String>,
    /// Its worker threads; otherwise one for each core.
    pub workers: Option<u16>,
}

/// A daemon of ours, and its control API.
pub struct Daemon {
    pub process: Started,
    pub rest: String,
    /// Time from its start until it was ready.
    pub ready_after: Duration,
}

/// Starts the daemon on ports that were free a moment ago: HTTP on loopback, media on an address of this machine,
/// which the kernel reaches by the same loopback path.
pub fn start_daemon(options: &DaemonOptions) -> Result<Daemon, String> {
    let program = match &options.program {
        Some(program) => program.clone(),
        None => beside("causeway")?,
    };
    let address = local_address().map_err(|error| format!("no address for media: {error}"))?;
    let port = |result: io::Result<u16>| result.map_err(|error| format!("no free port: {error}"));
    let udp =
        port(UdpSocket::bind((address, 0)).and_then(|socket| Ok(socket.local_addr()?.port())))?;
    let tcp =
        || TcpListener::bind("127.0.0.1:0").and_then(|socket| Ok(socket.local_addr()?.port()));
    let (private, public) = (port(tcp())?, port(tcp())?);
    let folder = std::env::temp_dir().join(format!("causeway-load-{}-{udp}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let file = folder.join("jvb.conf");
    let text = format!(
        "videobridge {{\n\
         ice.udp.port = {udp}\n\
         apis.rest.enabled = true\n\
         http-servers.private {{ host = 127.0.0.1, port = {private} }}\n\
         http-servers.public {{ host = 127.0.0.1, port = {public} }}\n\
         websockets {{ enabled = true, domain = \"127.0.0.1:{public}\", server-id = load }}\n\
         }}\n\
         ice4j.harvest {{ allowed-addresses = [{address}], mapping.aws.enabled = false }}\n{}\n",
        options.extra.join("\n")
    );
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut command = command(&program, options.cpus.as_deref());
    command.arg("--config").arg(&file).stderr(Stdio::piped());
    if let Some(workers) = options.workers {
        command.args(["--workers", &workers.to_string()]);
    }
    let since = Instant::now();
    let mut process = spawn(&mut command)?;
    process.folder = Some(folder);
    await_line(&mut process, "bridge ready")?;
    Ok(Daemon {
        process,
        rest: format!("http://127.0.0.1:{private}"),
        ready_after: since.elapsed(),
    })
}

/// A command that runs on these cores only.
pub fn command(program: &Path, cpus: Option<&str>) -> Command {
    let mut command = match cpus {
        Some(cpus) => {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", cpus]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Starts a command that ends with what is returned.
pub fn spawn(command: &mut Command) -> Result<Started, String> {
    let child = command.spawn();
    let child = child.map_err(|error| format!("can not start {command:?}: {error}"))?;
    Ok(Started::of(child))
}

/// Waits for a line on standard error that contains `wanted`, and goes on reading the rest.
pub fn await_line(process: &mut Started, wanted: &'static str) -> Result<String, String> {
    let Some(output) = process.child.stderr.take() else {
        return Err("its standard error is not piped".to_owned());
    };
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Nobody listens once it is ready.
            let _ = sender.send(line);
        }
    });
    let end = Instant::now() + STARTUP;
    let mut last = String::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) if line.contains(wanted) => return Ok(line),
            Ok(line) => last = line,
            Err(_) => return Err(format!("the process did not get ready: {last}")),
        }
    }
}

/// A program in the folder of this one.
fn beside(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let program = own.with_file_name(name);
    match program.exists() {
        true => Ok(program),
        false => Err(format!(
            "{} does not exist: build it (cargo build --release), or name it with --daemon",
            program.display()
        )),
    }
}

/// An IPv4 address of this machine that is not loopback, as bridges do not use that for media.
pub fn local_address() -> io::Result<IpAddr> {
    let interfaces = causeway_bridge::net::interfaces().map_err(io::Error::other)?;
    let mut addresses = interfaces.into_iter().map(|interface| interface.address);
    addresses
        .find(IpAddr::is_ipv4)
        .ok_or_else(|| io::Error::other("no interface with an IPv4 address is up"))
}

#[cfg(test)]
mod tests {
    use nix::time::ClockId;

    use super::*;

    #[test]
    fn the_usage_of_this_process_grows() {
        let before = usage(std::process::id()).expect("we exist");
        let end = Instant::now() + Duration::from_millis(30);
        while Instant::now() < end {}
        let after = usage(std::process::id()).expect("we exist");
        assert!(after.cpu > before.cpu && after.memory > 1 << 20);
        assert_eq!(usage(u32::MAX), None);
        assert!(ticks(std::process::id()).is_some());
    }

    /// A pool lets threads end; what they did is not undone.
    #[test]
    fn what_a_thread_used_counts_after_it_ended() {
        let work = Duration::from_millis(30);
        let before = usage(std::process::id()).expect("we exist");
        let worker = std::thread::spawn(move || {
            let own = || ClockId::CLOCK_THREAD_CPUTIME_ID.now().map(Duration::from);
            while own().is_ok_and(|used| used < work) {}
        });
        worker.join().expect("it does not panic");
        let after = usage(std::process::id()).expect("we exist");
        assert!(after.cpu >= before.cpu + work, "{before:?}, then {after:?}");
    }
}
