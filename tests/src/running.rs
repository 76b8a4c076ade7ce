//! Daemons on this machine: whether they are ready, and what they answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, UdpSocket};
use std::process::Child;

use serde_json::Value;

/// Waits until a daemon whose standard error is piped says that it is ready.
///
/// # Panics
///
/// Panics if it ends before.
pub fn await_ready(process: &mut Child) {
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let ready = lines.any(|line| line.is_ok_and(|line| line.contains("bridge ready")));
    // Whatever else it says must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    assert!(ready, "the daemon ended before it was ready");
}

/// Status and body of the answer to a request with `headers`, whole lines, beside the usual ones. Reads to the end of the
/// connection.
///
/// # Panics
///
/// Panics if there is no answer.
pub fn ask(
    mut socket: impl Read + Write,
    method: &str,
    path: &str,
    headers: &str,
    body: &Value,
) -> (u16, String) {
    let body = body.to_string();
    write!(
        socket,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         {headers}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    // Over TLS, an end without `close_notify` would be an error here.
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// An address of this machine that is not loopback, over which media goes.
///
/// # Panics
///
/// Panics if there is none.
pub fn media_address() -> IpAddr {
    // A socket that is connected tells it; nothing is sent.
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a free port");
    socket.connect("192.0.2.1:9").expect("a default route");
    socket.local_addr().expect("bound").ip()
}

/// A UDP port of this address that is free now; nobody else asks for it by number.
///
/// # Panics
///
/// Panics if there is none.
pub fn free_udp_port(address: IpAddr) -> u16 {
    let socket = UdpSocket::bind((address, 0)).expect("a free port");
    socket.local_addr().expect("bound").port()
}
