//! The system calls that `std` and `socket2` do not offer: `recvmmsg` with UDP_GRO, `sendmmsg` with UDP_SEGMENT, clocks of CPU time.
//!
//! This is the only module of the crate with `unsafe` code. Each call gets arrays of headers whose pointers are set
//! from live buffers in the statement before it, and nothing keeps a pointer after it.

#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::thread::JoinHandleExt;
use std::ptr;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::worker::egress::Egress;

/// Messages per `recvmmsg`.
const RECEIVE_BATCH: usize = 32;
/// Messages per `sendmmsg`.
const SEND_BATCH: usize = 64;
/// Segments of one train at most; kernels accept 64 or more.
const MAX_SEGMENTS: usize = 48;
/// Bytes of one train at most.
const MAX_TRAIN_BYTES: usize = 60_000;
/// Receive buffer per message without GRO.
const SINGLE_BUFFER: usize = 2_048;
/// Receive buffer per message with GRO.
const MERGED_BUFFER: usize = 65_536;
const CONTROL_BYTES: usize = 64;

#[derive(Clone, Copy)]
#[repr(align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Turns off path MTU discovery so that forged ICMP can not change what is sent (T12).
pub fn ignore_path_mtu(socket: &impl AsRawFd, ipv6: bool) -> io::Result<()> {
    let (level, option, value) = if ipv6 {
        (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_OMIT,
        )
    } else {
        (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_OMIT,
        )
    };
    set_int(socket.as_raw_fd(), level, option, value)
}

/// CPU time that a thread used so far; `None` if it is gone.
pub fn thread_cpu_time<T>(thread: &JoinHandle<T>) -> Option<Duration> {
    let mut clock = 0;
    // SAFETY: the handle was not joined, so its thread id is valid; the kernel writes into the local variable only.
    let result = unsafe { libc::pthread_getcpuclockid(thread.as_pthread_t(), &raw mut clock) };
    if result == 0 { read_clock(clock) } else { None }
}

/// CPU time that all threads of the process used so far.
pub fn process_cpu_time() -> Option<Duration> {
    read_clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read_clock(clock: libc::clockid_t) -> Option<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes into the local variable only.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if result == 0 { to_duration(time) } else { None }
}

/// Asks the kernel to merge datagrams of one flow; an error means that it can not.
pub fn enable_gro(socket: &impl AsRawFd) -> io::Result<()> {
    set_int(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// Asks the kernel to say when each datagram came, see [`ReceiveBatch::receive_stamped`].
pub fn enable_timestamps(socket: &impl AsRawFd) -> io::Result<()> {
    set_int(
        socket.as_raw_fd(),
        libc::SOL_SOCKET,
        libc::SO_TIMESTAMPNS,
        1,
    )
}

/// Whether the kernel knows UDP_SEGMENT.
pub fn has_gso(socket: &impl AsRawFd) -> bool {
    // Setting "no segmentation" changes nothing and fails where the option is unknown.
    set_int(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}

/// Has a classic BPF program choose among all sockets that share the address of this one: it answers with the index of a socket, in
/// the order in which they were bound; beyond the last of them the kernel chooses. Replaces an earlier program.
pub fn attach_reuseport_program(
    socket: &impl AsRawFd,
    program: &[libc::sock_filter],
) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog {
        len,
        // The kernel only reads it.
        filter: program.as_ptr().cast_mut(),
    };
    set(
        socket.as_raw_fd(),
        libc::SOL_SOCKET,
        libc::SO_ATTACH_REUSEPORT_CBPF,
        &program,
    )
}

fn set_int(
    fd: RawFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    set(fd, level, option, &value)
}

/// Sets a socket option to a value of the type that it has in C.
fn set<T>(fd: RawFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and length describe one live value; where it holds pointers, the callers keep them alive.
    let result = unsafe {
        libc::setsockopt(
            fd,
            level,
            option,
            ptr::from_ref(value).cast(),
            mem::size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Buffers for receiving.
pub struct ReceiveBatch {
    buffers: Vec<u8>,
    size: usize,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers inside are only meaningful during `receive`, which sets all of them first.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    /// Buffers that fit merged datagrams if `gro`.
    pub fn new(gro: bool) -> ReceiveBatch {
        let size = if gro { MERGED_BUFFER } else { SINGLE_BUFFER };
        // SAFETY: all-zero bytes are a valid value of these plain C structs.
        let (name, vector, header): (libc::sockaddr_storage, libc::iovec, libc::mmsghdr) =
            unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        ReceiveBatch {
            buffers: vec![0; size * RECEIVE_BATCH],
            size,
            names: vec![name; RECEIVE_BATCH],
            controls: vec![Control([0; CONTROL_BYTES]); RECEIVE_BATCH],
            vectors: vec![vector; RECEIVE_BATCH],
            headers: vec![header; RECEIVE_BATCH],
        }
    }

    /// Receives what is there without waiting and hands each datagram to `each` with its source. Returns whether
    /// more may be waiting. Truncated datagrams are passed over (T13).
    pub fn receive(
        &mut self,
        socket: &impl AsRawFd,
        mut each: impl FnMut(SocketAddr, &[u8]),
    ) -> io::Result<bool> {
        self.receive_stamped(socket, |source, data, _| each(source, data))
    }

    /// Like [`ReceiveBatch::receive`], with the time since the Unix epoch at which the kernel got each datagram; `None`
    /// without [`enable_timestamps`]. Merged datagrams share the time of the first.
    pub fn receive_stamped(
        &mut self,
        socket: &impl AsRawFd,
        mut each: impl FnMut(SocketAddr, &[u8], Option<Duration>),
    ) -> io::Result<bool> {
        for index in 0..RECEIVE_BATCH {
            self.vectors[index] = libc::iovec {
                iov_base: self.buffers[index * self.size..].as_mut_ptr().cast(),
                iov_len: self.size,
            };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut self.vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES as _;
            header.msg_flags = 0;
        }
        // SAFETY: every header points at live, disjoint buffers of the stated sizes owned by `self`.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                RECEIVE_BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        if received < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(false),
                _ => Err(error),
            };
        }
        let received = received as usize;
        for index in 0..received {
            let header = &self.headers[index];
            let len = (header.msg_len as usize).min(self.size);
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 || len == 0 {
                continue;
            }
            let Some(source) = to_address(&self.names[index]) else {
                continue;
            };
            let data = &self.buffers[index * self.size..index * self.size + len];
            let notes = notes(&header.msg_hdr);
            match notes.segment {
                Some(segment) if segment > 0 && segment < len => {
                    for datagram in data.chunks(segment) {
                        each(source, datagram, notes.arrival);
                    }
                }
                _ => each(source, data, notes.arrival),
            }
        }
        Ok(received == RECEIVE_BATCH)
    }
}

/// What the kernel says about a received message.
#[derive(Default)]
struct Notes {
    /// Length of each of the datagrams that were merged.
    segment: Option<usize>,
    /// Since the Unix epoch.
    arrival: Option<Duration>,
}

/// The control messages of a received message.
fn notes(header: &libc::msghdr) -> Notes {
    let mut notes = Notes::default();
    // SAFETY: the kernel filled msg_control and msg_controllen of this header; the CMSG macros stay inside, and the
    // kernel gives each of these types the data that is read.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            let data = libc::CMSG_DATA(control);
            match ((*control).cmsg_level, (*control).cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let value = data.cast::<libc::c_int>().read_unaligned();
                    notes.segment = usize::try_from(value).ok();
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    notes.arrival = to_duration(data.cast::<libc::timespec>().read_unaligned());
                }
                _ => {}
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    notes
}

fn to_duration(time: libc::timespec) -> Option<Duration> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u32::try_from(time.tv_nsec).ok()?;
    Some(Duration::new(seconds, nanos))
}

/// Buffers for sending.
pub struct SendBatch {
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// Per message: number of datagrams and their bytes.
    sizes: Vec<(u32, u32)>,
}

// SAFETY: as for `ReceiveBatch`: pointers are set from live buffers right before each call.
unsafe impl Send for SendBatch {}

impl Default for SendBatch {
    fn default() -> Self {
        Self::new()
    }
}

/// What became of a send.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sent {
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Datagrams that it refused.
    pub refused: u64,
    /// Trains are not possible here: use single datagrams from now on.
    pub gso_failed: bool,
}

impl SendBatch {
    /// Buffers for one worker.
    pub fn new() -> SendBatch {
        // SAFETY: all-zero bytes are a valid value of these plain C structs.
        let (name, header): (libc::sockaddr_storage, libc::mmsghdr) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        SendBatch {
            names: vec![name; SEND_BATCH],
            controls: vec![Control([0; CONTROL_BYTES]); SEND_BATCH],
            vectors: Vec::with_capacity(SEND_BATCH * MAX_SEGMENTS),
            headers: vec![header; SEND_BATCH],
            sizes: Vec::with_capacity(SEND_BATCH),
        }
    }

    /// Sends all datagrams of `egress` that leave by socket `index`, in trains per destination if `gso`.
    pub fn send(
        &mut self,
        socket: &impl AsRawFd,
        index: crate::ids::SocketId,
        egress: &Egress,
        gso: bool,
    ) -> Sent {
        let mut sent = Sent::default();
        let limit = if gso { MAX_SEGMENTS } else { 1 };
        self.reset();
        for (path, datagrams) in egress.chains() {
            if path.socket != index {
                continue;
            }
            let mut datagrams = datagrams.peekable();
            while let Some(first) = datagrams.next() {
                if self.sizes.len() == SEND_BATCH {
                    self.flush(socket, &mut sent);
                }
                let start = self.vectors.len();
                self.push_vector(first);
                let (mut count, mut bytes) = (1, first.len());
                // All segments but the last must be equally long.
                while count < limit {
                    let Some(next) = datagrams.next_if(|next| {
                        next.len() <= first.len() && bytes + next.len() <= MAX_TRAIN_BYTES
                    }) else {
                        break;
                    };
                    self.push_vector(next);
                    count += 1;
                    bytes += next.len();
                    if next.len() < first.len() {
                        break;
                    }
                }
                self.push_message(path.remote, start, count, first.len(), bytes);
            }
        }
        self.flush(socket, &mut sent);
        sent
    }

    fn reset(&mut self) {
        self.vectors.clear();
        self.sizes.clear();
    }

    fn push_vector(&mut self, datagram: &[u8]) {
        // Within capacity: at most SEND_BATCH messages of MAX_SEGMENTS vectors, so pointers into it stay valid.
        self.vectors.push(libc::iovec {
            iov_base: datagram.as_ptr().cast_mut().cast(),
            iov_len: datagram.len(),
        });
    }

    fn push_message(
        &mut self,
        remote: SocketAddr,
        start: usize,
        count: usize,
        segment: usize,
        bytes: usize,
    ) {
        let slot = self.sizes.len();
        let name_len = from_address(remote, &mut self.names[slot]);
        let header = &mut self.headers[slot].msg_hdr;
        header.msg_name = (&raw mut self.names[slot]).cast();
        header.msg_namelen = name_len;
        header.msg_iov = self.vectors[start..].as_mut_ptr();
        header.msg_iovlen = count as _;
        header.msg_flags = 0;
        if count > 1 {
            header.msg_control = self.controls[slot].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES as _;
            // SAFETY: msg_control points at CONTROL_BYTES aligned bytes, enough for one u16 control message.
            unsafe {
                let control = libc::CMSG_FIRSTHDR(header);
                (*control).cmsg_level = libc::SOL_UDP;
                (*control).cmsg_type = libc::UDP_SEGMENT;
                (*control).cmsg_len = libc::CMSG_LEN(mem::size_of::<u16>() as u32) as _;
                libc::CMSG_DATA(control)
                    .cast::<u16>()
                    .write_unaligned(segment as u16);
                header.msg_controllen = libc::CMSG_SPACE(mem::size_of::<u16>() as u32) as _;
            }
        } else {
            header.msg_control = ptr::null_mut();
            header.msg_controllen = 0;
        }
        self.sizes.push((count as u32, bytes as u32));
    }

    fn flush(&mut self, socket: &impl AsRawFd, sent: &mut Sent) {
        let mut next = 0;
        while next < self.sizes.len() {
            // SAFETY: headers[next..sizes.len()] were filled from live buffers: names, controls and vectors of
            // `self`, and datagrams borrowed from the egress for the whole of `send`.
            let result = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    self.headers[next..].as_mut_ptr(),
                    (self.sizes.len() - next) as libc::c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            if result > 0 {
                for (count, bytes) in &self.sizes[next..next + result as usize] {
                    sent.datagrams += u64::from(*count);
                    sent.bytes += u64::from(*bytes);
                }
                next += result as usize;
                continue;
            }
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            let (count, _) = self.sizes[next];
            if count > 1
                && matches!(
                    error.raw_os_error(),
                    Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP)
                )
            {
                sent.gso_failed = true;
                self.send_singly(socket, next, sent);
            } else {
                // Refused by the first message of the rest: skip that one, the others may go elsewhere.
                sent.refused += u64::from(count);
            }
            next += 1;
        }
        self.reset();
    }

    /// Sends the datagrams of one train as single messages.
    fn send_singly(&mut self, socket: &impl AsRawFd, index: usize, sent: &mut Sent) {
        let mut header = self.headers[index].msg_hdr;
        header.msg_control = ptr::null_mut();
        header.msg_controllen = 0;
        header.msg_iovlen = 1;
        for _ in 0..self.sizes[index].0 {
            // SAFETY: msg_iov walks over the vectors that belong to this message.
            let (result, len) = unsafe {
                let len = (*header.msg_iov).iov_len;
                (
                    libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT),
                    len,
                )
            };
            if result >= 0 {
                sent.datagrams += 1;
                sent.bytes += len as u64;
            } else {
                sent.refused += 1;
            }
            // SAFETY: at most one past the last vector of this message, and not read there.
            header.msg_iov = unsafe { header.msg_iov.add(1) };
        }
    }
}

fn to_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let pointer = &raw const *storage;
    // SAFETY: a sockaddr_storage is large and aligned enough for either family, which is checked first.
    unsafe {
        match libc::c_int::from(storage.ss_family) {
            libc::AF_INET => {
                let v4 = &*pointer.cast::<libc::sockaddr_in>();
                let ip = IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::new(ip, u16::from_be(v4.sin_port)))
            }
            libc::AF_INET6 => {
                let v6 = &*pointer.cast::<libc::sockaddr_in6>();
                let ip = std::net::Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let address =
                    SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id);
                Some(match ip.to_ipv4_mapped() {
                    Some(v4) => SocketAddrV4::new(v4, address.port()).into(),
                    None => address.into(),
                })
            }
            _ => None,
        }
    }
}

fn from_address(address: SocketAddr, storage: &mut libc::sockaddr_storage) -> libc::socklen_t {
    let pointer = &raw mut *storage;
    // SAFETY: a sockaddr_storage is large and aligned enough for either family.
    unsafe {
        match address {
            SocketAddr::V4(v4) => {
                pointer
                    .cast::<libc::sockaddr_in>()
                    .write(libc::sockaddr_in {
                        sin_family: libc::AF_INET as libc::sa_family_t,
                        sin_port: v4.port().to_be(),
                        sin_addr: libc::in_addr {
                            s_addr: u32::from_ne_bytes(v4.ip().octets()),
                        },
                        sin_zero: [0; 8],
                    });
                mem::size_of::<libc::sockaddr_in>() as libc::socklen_t
            }
            SocketAddr::V6(v6) => {
                pointer
                    .cast::<libc::sockaddr_in6>()
                    .write(libc::sockaddr_in6 {
                        sin6_family: libc::AF_INET6 as libc::sa_family_t,
                        sin6_port: v6.port().to_be(),
                        sin6_flowinfo: 0,
                        sin6_addr: libc::in6_addr {
                            s6_addr: v6.ip().octets(),
                        },
                        sin6_scope_id: v6.scope_id(),
                    });
                mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Path, SocketId};
    use crate::worker::egress::ChainHint;
    use std::net::UdpSocket;

    fn loopback(ipv6: bool) -> UdpSocket {
        let address = if ipv6 { "[::1]:0" } else { "127.0.0.1:0" };
        let socket = UdpSocket::bind(address).expect("loopback");
        socket.set_nonblocking(true).expect("nonblocking");
        socket
    }

    /// Sends datagrams of the given sizes to one receiver and to another, and returns what the first one got.
    fn exchange(ipv6: bool, gso: bool, gro: bool, sizes: &[usize]) -> Vec<Vec<u8>> {
        let (sender, receiver, other) = (loopback(ipv6), loopback(ipv6), loopback(ipv6));
        let gso = gso && has_gso(&sender);
        if gro {
            enable_gro(&receiver).expect("this kernel has UDP_GRO");
        }
        let mut egress = Egress::new();
        let (mut hint, mut other_hint) = (ChainHint::default(), ChainHint::default());
        let to = |socket: &UdpSocket| Path {
            socket: SocketId(0),
            remote: socket.local_addr().expect("bound"),
        };
        for (index, size) in sizes.iter().enumerate() {
            let content = vec![index as u8; *size];
            assert!(egress.push(to(&receiver), &content, &mut hint));
            assert!(egress.push(to(&other), b"other", &mut other_hint));
        }
        let sent = SendBatch::new().send(&sender, SocketId(0), &egress, gso);
        assert_eq!(sent.datagrams, 2 * sizes.len() as u64);
        assert_eq!((sent.refused, sent.gso_failed), (0, false));
        let mut received = Vec::new();
        let mut batch = ReceiveBatch::new(gro);
        while batch
            .receive(&receiver, |source, data| {
                assert_eq!(source, sender.local_addr().expect("bound"));
                received.push(data.to_vec());
            })
            .expect("receives")
        {}
        received
    }

    fn path_mtu_mode(socket: &UdpSocket, ipv6: bool) -> libc::c_int {
        let (level, option) = if ipv6 {
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
        } else {
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
        };
        let mut value: libc::c_int = -1;
        let mut len = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes into `value`.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                level,
                option,
                (&raw mut value).cast(),
                &raw mut len,
            )
        };
        assert_eq!(result, 0);
        value
    }

    #[test]
    fn t12_icmp_neither_changes_what_is_sent_nor_ends_a_socket() {
        for ipv6 in [false, true] {
            let (socket, peer) = (loopback(ipv6), loopback(ipv6));
            ignore_path_mtu(&socket, ipv6).expect("the kernel has it");
            let omit = if ipv6 {
                libc::IPV6_PMTUDISC_OMIT
            } else {
                libc::IP_PMTUDISC_OMIT
            };
            assert_eq!(path_mtu_mode(&socket, ipv6), omit);

            // Nobody is there: the kernel answers each datagram with "port unreachable".
            let gone = loopback(ipv6).local_addr().expect("bound");
            let there = peer.local_addr().expect("bound");
            let mut batch = ReceiveBatch::new(false);
            for _ in 0..100 {
                let mut egress = Egress::new();
                for remote in [gone, there] {
                    let path = Path {
                        socket: SocketId(0),
                        remote,
                    };
                    assert!(egress.push(path, b"media", &mut ChainHint::default()));
                }
                let sent = SendBatch::new().send(&socket, SocketId(0), &egress, false);
                assert_eq!((sent.datagrams, sent.refused), (2, 0));
                // No error makes the socket look ready for ever.
                assert!(!batch.receive(&socket, |_, _| ()).expect("no error"));
            }
            let mut arrived = 0;
            while batch.receive(&peer, |_, _| arrived += 1).expect("receives") {}
            assert_eq!(arrived, 100);
        }
    }

    const SIZES: [usize; 9] = [1_200, 1_200, 1_200, 700, 1_200, 100, 100, 1_300, 1];

    #[test]
    fn datagrams_arrive_whole_and_in_order_with_and_without_offloads() {
        let expected: Vec<Vec<u8>> = SIZES
            .iter()
            .enumerate()
            .map(|(index, size)| vec![index as u8; *size])
            .collect();
        for ipv6 in [false, true] {
            for gso in [false, true] {
                for gro in [false, true] {
                    assert_eq!(
                        exchange(ipv6, gso, gro, &SIZES),
                        expected,
                        "{ipv6} {gso} {gro}"
                    );
                }
            }
        }
    }

    #[test]
    fn t13_a_train_with_a_short_last_segment_is_split_right() {
        let sizes = [1_000; 20].iter().copied().chain([17]).collect::<Vec<_>>();
        let received = exchange(false, true, true, &sizes);
        assert_eq!(received.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
    }

    #[test]
    fn the_kernel_says_when_a_datagram_came() {
        let (sender, receiver) = (loopback(false), loopback(false));
        enable_timestamps(&receiver).expect("every kernel has timestamps");
        let before = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("after 1970");
        let to = receiver.local_addr().expect("bound");
        sender.send_to(b"x", to).expect("sends");
        let mut arrivals = Vec::new();
        ReceiveBatch::new(true)
            .receive_stamped(&receiver, |_, _, arrival| arrivals.push(arrival))
            .expect("receives");
        let [Some(arrival)] = arrivals[..] else {
            panic!("{arrivals:?}");
        };
        assert!(arrival >= before && arrival - before < Duration::from_secs(60));
    }

    #[test]
    fn more_messages_than_one_call_takes_are_all_sent() {
        let (sender, receiver) = (loopback(false), loopback(false));
        let mut egress = Egress::new();
        let path = Path {
            socket: SocketId(0),
            remote: receiver.local_addr().expect("bound"),
        };
        // A new hint each time: every datagram is a message of its own.
        for _ in 0..3 * SEND_BATCH {
            assert!(egress.push(path, b"x", &mut ChainHint::default()));
        }
        let sent = SendBatch::new().send(&sender, SocketId(0), &egress, true);
        assert_eq!(sent.datagrams, 3 * SEND_BATCH as u64);
        assert_eq!(
            SendBatch::new().send(&sender, SocketId(1), &egress, true),
            Sent::default()
        );
    }

    #[test]
    fn t83_a_refused_train_goes_out_singly() {
        let (sender, receiver) = (loopback(false), loopback(false));
        let mut batch = SendBatch::new();
        let content = [[1u8; 100], [2u8; 100]];
        batch.push_vector(&content[0]);
        batch.push_vector(&content[1]);
        batch.push_message(receiver.local_addr().expect("bound"), 0, 2, 100, 200);
        let mut sent = Sent::default();
        batch.send_singly(&sender, 0, &mut sent);
        assert_eq!((sent.datagrams, sent.bytes), (2, 200));
        let mut received = Vec::new();
        ReceiveBatch::new(false)
            .receive(&receiver, |_, data| received.push(data.to_vec()))
            .expect("receives");
        assert_eq!(received, content.map(|datagram| datagram.to_vec()));
    }
}
