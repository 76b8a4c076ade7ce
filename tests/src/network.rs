//! A network of one's own, to break.
//!
//! Needs root, `ip` and `tc` (iproute2), and `nft` (nftables).

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// Runs `test` in a new network namespace with nothing but a loopback interface.
///
/// The namespace belongs to a new thread and to the processes that this starts; it ends with them, and with
/// it all rules.
///
/// # Panics
///
/// Panics if `test` does, and without the right to make namespaces.
pub fn apart(test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .unwrap_or_else(|error| panic!("a network namespace needs root: {error}"));
            run("ip", &["link", "set", "lo", "up"]);
            test();
        });
        if let Err(panic) = run.join() {
            resume_unwind(panic);
        }
    });
}

/// A rule that drops packets while this lives.
#[derive(Debug)]
pub struct Fault(());

impl Fault {
    /// Loses this percentage of all UDP packets that the daemon at `port` sends or receives, at random.
    pub fn loss(port: u16, percent: u32) -> Fault {
        let chance = format!("numgen random mod 100 < {percent} drop");
        Fault::rules(&[
            format!("udp dport {port} {chance}"),
            format!("udp sport {port} {chance}"),
        ])
    }

    /// Loses every UDP packet that the sockets of this process or its descendants send or receive.
    pub fn cut(process: u32) -> Fault {
        let ports: Vec<_> = udp_ports(process).iter().map(u16::to_string).collect();
        assert!(!ports.is_empty(), "process {process} has no UDP socket");
        let ports = ports.join(", ");
        Fault::rules(&[
            format!("udp dport {{ {ports} }} drop"),
            format!("udp sport {{ {ports} }} drop"),
        ])
    }

    /// Loses every UDP packet that the daemon sends or receives at one of its IPv4 addresses.
    pub fn address(address: &str, port: u16) -> Fault {
        Fault::rules(&[
            format!("ip daddr {address} udp dport {port} drop"),
            format!("ip saddr {address} udp sport {port} drop"),
        ])
    }

    fn rules(rules: &[String]) -> Fault {
        // On the way in, so that the sender does not learn of it from an error of its socket.
        let hook = "{ type filter hook input priority 0; }";
        run("nft", &["add table inet fault"]);
        run("nft", &[&format!("add chain inet fault input {hook}")]);
        for rule in rules {
            run("nft", &[&format!("add rule inet fault input {rule}")]);
        }
        Fault(())
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        run("nft", &["delete table inet fault"]);
    }
}

/// A bottleneck on the way from the daemon to one browser, while this lives.
#[derive(Debug)]
pub struct Limit(());

impl Limit {
    /// Lets this many kbit/s pass from the daemon at `port` to the sockets that this process and its descendants have now. What is
    /// too much waits for up to 300 ms and is lost then, as at an ordinary router.
    pub fn towards(process: u32, port: u16, kbits: u32) -> Limit {
        let ports = udp_ports(process);
        assert!(!ports.is_empty(), "process {process} has no UDP socket");
        let tc = |arguments: &str| run("tc", &arguments.split(' ').collect::<Vec<_>>());
        // What no filter takes passes by.
        tc("qdisc add dev lo root handle 1: htb default 0");
        tc("class add dev lo parent 1: classid 1:2 htb rate 10gbit quantum 1514");
        tc(&format!(
            "qdisc add dev lo parent 1:2 tbf rate {kbits}kbit burst 4kb latency 300ms"
        ));
        for to in ports {
            tc(&format!(
                "filter add dev lo parent 1: protocol ip u32 match ip sport {port} 0xffff match ip dport {to} 0xffff \
                 flowid 1:2"
            ));
        }
        Limit(())
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        run("tc", &["qdisc", "del", "dev", "lo", "root"]);
    }
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program)
        .args(arguments)
        .status()
        .unwrap_or_else(|error| panic!("can not run {program}: {error}"));
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

/// Local ports of all UDP sockets of a process and its descendants.
fn udp_ports(process: u32) -> BTreeSet<u16> {
    let sockets: BTreeSet<_> = family(process)
        .into_iter()
        .flat_map(socket_inodes)
        .collect();
    let mut ports = BTreeSet::new();
    for table in ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"] {
        // Columns (proc_pid_net(5)): 1 is "ADDRESS:PORT" in hex, 9 the inode.
        for row in fs::read_to_string(table)
            .unwrap_or_default()
            .lines()
            .skip(1)
        {
            let columns: Vec<_> = row.split_whitespace().collect();
            let (Some(local), Some(inode)) = (columns.get(1), columns.get(9)) else {
                continue;
            };
            let port = local.rsplit(':').next().unwrap_or_default();
            if let (Ok(port), Ok(inode)) = (u16::from_str_radix(port, 16), inode.parse())
                && sockets.contains(&inode)
            {
                ports.insert(port);
            }
        }
    }
    ports
}

/// Inodes of the sockets that a process has open; none if it has just ended.
fn socket_inodes(process: u32) -> Vec<u64> {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return Vec::new();
    };
    files
        .flatten()
        .filter_map(|file| {
            let target = fs::read_link(file.path()).ok()?;
            let inode = target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?;
            inode.parse().ok()
        })
        .collect()
}

/// A process and its descendants.
fn family(ancestor: u32) -> BTreeSet<u32> {
    let parents: HashMap<u32, u32> = fs::read_dir("/proc")
        .expect("/proc is mounted")
        .flatten()
        .filter_map(|entry| {
            let process = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // "PID (NAME) STATE PPID …", where the name may hold spaces and brackets.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
            Some((process, parent.parse().ok()?))
        })
        .collect();
    let belongs = |process: u32| {
        let mut current = Some(process);
        while let Some(one) = current {
            if one == ancestor {
                return true;
            }
            current = parents.get(&one).copied();
        }
        false
    };
    parents
        .keys()
        .copied()
        .filter(|one| belongs(*one))
        .collect()
}
