//! Has the kernel give each datagram to the worker that owns its endpoint, and keep strangers apart.
//!
//! All workers' sockets share one port (`SO_REUSEPORT`), and by default the kernel chooses one by a hash of the addresses, which for
//! `n` workers is wrong in `n − 1` of `n` cases: the datagram is copied, and a second thread wakes up. A classic BPF program attached
//! to the sockets chooses better, and needs no privilege. It has no tables, so the known remote addresses are compiled into it as a
//! search tree.
//!
//! What comes from anywhere else goes to further sockets, one of each worker: a flood from there fills their buffers only, and
//! is dropped by the kernel while calls go on (threats T10, T11).
//!
//! Nothing depends on this: each worker reads both of its sockets, and what is not for it, it hands over.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use libc::sock_filter as Instruction;

use super::sys;
use crate::ids::{Path, WorkerId};
use crate::random::Random;
use crate::time::Time;

/// Instructions of a program at most (`BPF_MAXINSNS`).
const MAX_INSTRUCTIONS: usize = 4_096;
/// Keys that are compared one after the other at the end of the search.
const LEAF: usize = 16;
/// Programs are made anew at most this often: it takes the kernel up to some milliseconds.
const INTERVAL: Duration = Duration::from_millis(200);
/// Where the UDP header begins behind an IPv4 header without options, which are not found in practice.
const UDP_IN_V4: u32 = 20;
const SOURCE_IN_V4: u32 = 12;
const UDP_IN_V6: u32 = 40;
const SOURCE_IN_V6: u32 = 8;

/// Odd numbers that condense an address into 32 bits, so that nobody can choose addresses which collide.
#[derive(Clone, Copy, Debug)]
struct Hash {
    words: [u32; 4],
    port: u32,
}

impl Hash {
    fn new(random: &mut Random) -> Hash {
        let mut odd = || random.u64() as u32 | 1;
        Hash {
            words: [odd(), odd(), odd(), odd()],
            port: odd(),
        }
    }

    /// The sum of all words of an address, each times its number.
    fn key(&self, remote: SocketAddr) -> u32 {
        let word = |word: u32, factor: u32| word.wrapping_mul(factor);
        let port = word(u32::from(remote.port()), self.port);
        match remote {
            SocketAddr::V4(remote) => port.wrapping_add(word(remote.ip().to_bits(), self.words[0])),
            SocketAddr::V6(remote) => {
                let bits = remote.ip().to_bits();
                let words = self.words.iter().zip([96, 64, 32, 0]);
                words.fold(port, |sum, (factor, shift)| {
                    sum.wrapping_add(word((bits >> shift) as u32, *factor))
                })
            }
        }
    }

    /// Computes the key of the datagram at hand in the accumulator.
    fn compute(&self, ipv6: bool, program: &mut Vec<Instruction>) {
        let (udp, source, words) = match ipv6 {
            true => (UDP_IN_V6, SOURCE_IN_V6, &self.words[..]),
            false => (UDP_IN_V4, SOURCE_IN_V4, &self.words[..1]),
        };
        let network = libc::SKF_NET_OFF as u32;
        let multiply = libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K;
        program.push(plain(
            libc::BPF_LD | libc::BPF_H | libc::BPF_ABS,
            network.wrapping_add(udp),
        ));
        program.push(plain(multiply, self.port));
        for (factor, offset) in words.iter().zip((source..).step_by(4)) {
            program.push(plain(libc::BPF_MISC | libc::BPF_TAX, 0));
            program.push(plain(
                libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
                network.wrapping_add(offset),
            ));
            program.push(plain(multiply, *factor));
            program.push(plain(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X, 0));
        }
    }
}

fn plain(code: u32, k: u32) -> Instruction {
    jump(code, k, 0, 0)
}

/// Instructions to pass over if the comparison holds, and if it does not.
fn jump(code: u32, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

/// A program in the making.
struct Program {
    instructions: Vec<Instruction>,
    /// Jumps to the end.
    to_end: Vec<usize>,
}

impl Program {
    /// The program for what comes to one local address, from entries in ascending order of their keys.
    fn compile(
        hash: &Hash,
        ipv6: bool,
        workers: u32,
        entries: &mut [(u32, WorkerId)],
    ) -> Vec<Instruction> {
        let mut program = Program {
            instructions: Vec::new(),
            to_end: Vec::new(),
        };
        hash.compute(ipv6, &mut program.instructions);
        program.search(entries);
        program.strangers(workers);
        program.instructions
    }

    /// Finds the accumulator among the keys.
    fn search(&mut self, entries: &mut [(u32, WorkerId)]) {
        if entries.len() <= LEAF {
            self.leaf(entries);
            return;
        }
        let (lower, upper) = entries.split_at_mut(entries.len() / 2);
        let code = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
        self.instructions.push(jump(code, upper[0].0, 0, 1));
        let far = self.jump_far();
        self.search(lower);
        self.land(far);
        self.search(upper);
    }

    fn leaf(&mut self, entries: &mut [(u32, WorkerId)]) {
        entries.sort_unstable_by_key(|(_, worker)| worker.0);
        let mut answers = Vec::new();
        for (index, (key, worker)) in entries.iter().enumerate() {
            let answer = plain(libc::BPF_RET | libc::BPF_K, u32::from(worker.0));
            if answers.last() != Some(&answer) {
                answers.push(answer);
            }
            // Over the other comparisons, the jump after them and the answers before its own.
            let skip = entries.len() - index - 1 + answers.len();
            let code = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
            self.instructions.push(jump(code, *key, skip as u8, 0));
        }
        let end = self.jump_far();
        self.to_end.push(end);
        self.instructions.append(&mut answers);
    }

    /// Spreads what is not known over the workers' sockets for strangers.
    fn strangers(&mut self, workers: u32) {
        for jump in std::mem::take(&mut self.to_end) {
            self.land(jump);
        }
        let arithmetic = libc::BPF_ALU | libc::BPF_K;
        self.instructions.extend([
            // The upper bits are the better ones of such a sum.
            plain(arithmetic | libc::BPF_RSH, 16),
            plain(arithmetic | libc::BPF_MOD, workers),
            plain(arithmetic | libc::BPF_ADD, workers),
            plain(libc::BPF_RET | libc::BPF_A, 0),
        ]);
    }

    /// Conditional jumps reach 255 instructions, this one all. Its end is where it is told to [`Program::land`].
    fn jump_far(&mut self) -> usize {
        self.instructions
            .push(plain(libc::BPF_JMP | libc::BPF_JA, 0));
        self.instructions.len() - 1
    }

    fn land(&mut self, jump: usize) {
        self.instructions[jump].k = (self.instructions.len() - jump - 1) as u32;
    }
}

/// One local address: two sockets of each worker.
struct Group {
    /// One of them; what is attached to one counts for all.
    socket: UdpSocket,
    ipv6: bool,
    owners: HashMap<SocketAddr, WorkerId>,
    changed: bool,
    /// How many the kernel takes.
    most: usize,
}

impl Group {
    /// Entries in ascending order of their keys; what means several workers is left out.
    fn entries(&self, hash: &Hash) -> Vec<(u32, WorkerId)> {
        let owners = self.owners.iter();
        let mut entries: Vec<_> = owners
            .map(|(remote, id)| (hash.key(*remote), *id))
            .collect();
        entries.sort_unstable_by_key(|(key, worker)| (*key, worker.0));
        entries.dedup();
        let alike = entries.chunk_by(|a, b| a.0 == b.0);
        alike
            .filter_map(|alike| match alike {
                [entry] => Some(*entry),
                _ => None,
            })
            .collect()
    }

    fn attach(&mut self, hash: &Hash, workers: u32) -> io::Result<()> {
        let entries = self.entries(hash);
        loop {
            let most = entries.len().min(self.most);
            let mut entries = entries[..most].to_vec();
            let program = Program::compile(hash, self.ipv6, workers, &mut entries);
            if program.len() <= MAX_INSTRUCTIONS {
                match sys::attach_reuseport_program(&self.socket, &program) {
                    // More than net.core.optmem_max.
                    Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && most > 0 => {}
                    result => return result,
                }
            }
            self.most = most * 3 / 4;
        }
    }
}

/// Keeps the programs of all local addresses in step with what the workers say.
pub(super) struct Steering {
    hash: Hash,
    workers: u32,
    groups: Vec<Group>,
    /// No program is made before.
    not_before: Time,
}

impl Steering {
    /// For local addresses with one of the sockets bound to each. To each are bound first a socket of every worker, then another of
    /// every worker for strangers.
    pub fn new(sockets: Vec<UdpSocket>, workers: usize, random: &mut Random) -> Steering {
        let group = |socket: UdpSocket| Group {
            ipv6: socket.local_addr().is_ok_and(|local| local.is_ipv6()),
            socket,
            owners: HashMap::new(),
            changed: true,
            most: usize::MAX,
        };
        Steering {
            hash: Hash::new(random),
            workers: workers as u32,
            groups: sockets.into_iter().map(group).collect(),
            not_before: Time::ZERO,
        }
    }

    /// What comes from `path` is for this worker (true), or no longer for it (false).
    pub fn note(&mut self, path: Path, worker: WorkerId, owned: bool) {
        let Some(group) = self.groups.get_mut(usize::from(path.socket.0)) else {
            return;
        };
        if owned {
            group.changed |= group.owners.insert(path.remote, worker) != Some(worker);
        } else if group.owners.get(&path.remote) == Some(&worker) {
            group.owners.remove(&path.remote);
            group.changed = true;
        }
    }

    /// When [`Steering::update`] has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        let changed = self.groups.iter().any(|group| group.changed);
        changed.then_some(self.not_before)
    }

    /// Tells the kernel what changed, if it is time.
    ///
    /// # Errors
    /// The kernel takes no programs here; datagrams go on being handed over.
    pub fn update(&mut self, now: Time) -> io::Result<()> {
        if now < self.not_before {
            return Ok(());
        }
        for group in self.groups.iter_mut().filter(|group| group.changed) {
            group.changed = false;
            self.not_before = now + INTERVAL;
            group.attach(&self.hash, self.workers)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::NetConfig;
    use crate::ids::SocketId;
    use crate::net::sockets::bind_all;

    /// What a program answers to a datagram, from its first network header on.
    fn run(program: &[Instruction], packet: &[u8]) -> u32 {
        let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            let offset = k.wrapping_sub(libc::SKF_NET_OFF as u32) as usize;
            let mut next = |holds: bool| at += usize::from(if holds { jt } else { jf });
            match u32::from(code) {
                0x28 => a = u32::from(u16::from_be_bytes([packet[offset], packet[offset + 1]])),
                0x20 => a = u32::from_be_bytes(packet[offset..offset + 4].try_into().unwrap()),
                0x24 => a = a.wrapping_mul(k),
                0x04 => a = a.wrapping_add(k),
                0x74 => a >>= k,
                0x94 => a %= k,
                0x0c => a = a.wrapping_add(x),
                0x07 => x = a,
                0x05 => at += k as usize,
                0x15 => next(a == k),
                0x35 => next(a >= k),
                0x06 => return k,
                0x16 => return a,
                other => panic!("{other:#x}"),
            }
            at += 1;
        }
    }

    fn packet(remote: SocketAddr) -> Vec<u8> {
        let mut packet = vec![0; 60];
        let udp = match remote {
            SocketAddr::V4(remote) => {
                packet[12..16].copy_from_slice(&remote.ip().octets());
                20
            }
            SocketAddr::V6(remote) => {
                packet[8..24].copy_from_slice(&remote.ip().octets());
                40
            }
        };
        packet[udp..udp + 2].copy_from_slice(&remote.port().to_be_bytes());
        packet
    }

    /// The sockets of some workers on one new address of this machine.
    fn sockets(local: &str, workers: u8) -> Vec<UdpSocket> {
        let local: SocketAddr = local.parse().expect("address");
        let bound = bind_all(&[local], usize::from(workers), &NetConfig::default());
        let (lists, _) = bound.expect("loopback is there");
        let (members, strangers): (Vec<_>, Vec<_>) = lists
            .into_iter()
            .map(|sockets| (sockets.members, sockets.strangers))
            .unzip();
        members.into_iter().chain(strangers).flatten().collect()
    }

    fn group(owners: HashMap<SocketAddr, WorkerId>) -> Group {
        Group {
            ipv6: false,
            socket: sockets("127.0.0.1:0", 2).remove(0),
            owners,
            changed: true,
            most: usize::MAX,
        }
    }

    proptest! {
        #[test]
        fn every_address_is_found_and_no_other(
            hosts in proptest::collection::hash_map(any::<(u32, u16)>(), 0u8..12, 0..600),
            stranger in any::<(u32, u16)>(),
            seed in any::<u64>(),
        ) {
            let hash = Hash::new(&mut Random::from_seed(seed));
            let v4 = |(ip, port): (u32, u16)| SocketAddr::from((ip.to_be_bytes(), port));
            let owners = hosts.iter().map(|(at, worker)| (v4(*at), WorkerId(*worker)));
            let group = group(owners.collect());
            let entries = group.entries(&hash);
            let program = Program::compile(&hash, false, 12, &mut entries.clone());
            for (remote, worker) in &group.owners {
                let unique = entries.iter().any(|entry| entry.0 == hash.key(*remote));
                let answer = run(&program, &packet(*remote));
                let expected = if unique { u32::from(worker.0)..=u32::from(worker.0) } else { 12..=23 };
                prop_assert!(expected.contains(&answer), "{} {:?}", answer, expected);
            }
            let stranger = v4(stranger);
            if !entries.iter().any(|entry| entry.0 == hash.key(stranger)) {
                prop_assert!((12..24).contains(&run(&program, &packet(stranger))));
            }
        }
    }

    #[test]
    fn as_many_addresses_as_fit_are_told_to_the_kernel() {
        let owners = (0..20_000).map(|number: u32| {
            let remote = SocketAddr::from((number.to_be_bytes(), 5_000));
            (remote, WorkerId((number % 16) as u8))
        });
        let mut group = group(owners.collect());
        let hash = Hash::new(&mut Random::from_seed(1));
        group.attach(&hash, 16).expect("the kernel takes it");
        assert!(group.most > 500 && group.most < 4_096, "{}", group.most);
    }

    /// Real datagrams, by the real kernel.
    fn datagrams_reach_the_workers_that_own_them(local: &str) {
        const WORKERS: u8 = 5;
        let workers = sockets(local, WORKERS);
        let bridge = workers[0].local_addr().expect("bound");
        let one = workers[2].try_clone().expect("descriptor");
        let mut steering =
            Steering::new(vec![one], usize::from(WORKERS), &mut Random::from_seed(7));
        let clients: Vec<UdpSocket> = (0..200)
            .map(|_| UdpSocket::bind((bridge.ip(), 0)).expect("loopback is there"))
            .collect();
        let path = |client: &UdpSocket| Path {
            socket: SocketId(0),
            remote: client.local_addr().expect("bound"),
        };
        let owner = |index: usize| WorkerId((index / 7 % usize::from(WORKERS)) as u8);
        for (index, client) in clients.iter().enumerate() {
            steering.note(path(client), owner(index), true);
        }
        assert_eq!(steering.poll_timeout(), Some(Time::ZERO));
        steering.update(Time::ZERO).expect("the kernel takes it");
        assert_eq!(steering.poll_timeout(), None);
        let mut buffer = [0; 16];
        for (index, client) in clients.iter().enumerate() {
            client.send_to(&[1], bridge).expect("sent");
            let socket = &workers[usize::from(owner(index).0)];
            // On loopback it has arrived when it is sent.
            let (_, remote) = socket.recv_from(&mut buffer).expect("arrived here");
            assert_eq!(remote, path(client).remote);
        }
        // Those that moved are found where they are, others are strangers.
        steering.note(path(&clients[0]), WorkerId(0), false);
        steering.note(path(&clients[1]), WorkerId(4), true);
        steering.note(path(&clients[1]), WorkerId(0), false);
        assert_eq!(steering.poll_timeout(), Some(Time::ZERO + INTERVAL));
        steering.update(Time::ZERO).expect("nothing to do yet");
        assert!(steering.poll_timeout().is_some());
        steering
            .update(Time::ZERO + INTERVAL)
            .expect("the kernel takes it");
        clients[1].send_to(&[2], bridge).expect("sent");
        assert!(workers[4].recv_from(&mut buffer).is_ok());
        clients[0].send_to(&[3], bridge).expect("sent");
        let arrived = |socket: &UdpSocket| socket.recv_from(&mut [0; 16]).is_ok();
        let at = workers.iter().position(arrived);
        assert!(at.is_some_and(|at| at >= usize::from(WORKERS)), "{at:?}");
    }

    #[test]
    fn ipv4_datagrams_reach_the_workers_that_own_them() {
        datagrams_reach_the_workers_that_own_them("127.0.0.1:0");
    }

    #[test]
    fn ipv6_datagrams_reach_the_workers_that_own_them() {
        datagrams_reach_the_workers_that_own_them("[::1]:0");
    }
}
