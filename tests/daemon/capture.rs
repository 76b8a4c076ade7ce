//! Packet captures from REST to the file: participants of the load generator, the daemon as a process, and a reader of pcap that
//! knows nothing of the writer (rest-and-stats spec §2.8, case 39).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use causeway_benches::load::cli;
use serde_json::Value;

mod media;

use self::media::Daemon;

/// A UDP datagram in a capture.
struct Datagram {
    /// Since 1970.
    time: Duration,
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    payload: Vec<u8>,
}

impl Datagram {
    /// RTCP rather than RTP (RFC 5761 §4).
    fn is_rtcp(&self) -> bool {
        (192..=223).contains(&self.payload[1])
    }

    /// What follows the payload descriptor, which is written anew, of an RTP packet that is not small.
    fn picture(&self) -> Option<&[u8]> {
        const DESCRIPTOR: usize = 12;
        let csrcs = usize::from(self.payload[0] & 0x0f);
        let mut at = 12 + 4 * csrcs;
        if self.payload[0] & 0x10 != 0 {
            let words = u16::from_be_bytes(self.payload[at + 2..at + 4].try_into().unwrap());
            at += 4 + 4 * usize::from(words);
        }
        let picture = self.payload.get(at + DESCRIPTOR..)?;
        (picture.len() > 100).then_some(picture)
    }

    /// The types of the packets in a compound of RTCP, which must end where the datagram ends.
    fn rtcp_types(&self) -> Vec<u8> {
        let mut rest = &self.payload[..];
        let mut types = Vec::new();
        while !rest.is_empty() {
            assert_eq!(rest[0] >> 6, 2, "version");
            types.push(rest[1]);
            let words = u16::from_be_bytes(rest[2..4].try_into().unwrap());
            rest = &rest[4 * (usize::from(words) + 1)..];
        }
        types
    }
}

/// Sum of 16-bit words with the carries added: 0xffff for what has a right checksum in it (RFC 1071).
fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for word in part.chunks(2) {
            sum += u64::from(word[0]) << 8 | word.get(1).map_or(0, |low| u64::from(*low));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Reads a file to its last byte.
fn read(path: &Path) -> Vec<Datagram> {
    let file = std::fs::read(path).unwrap();
    let little = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    assert_eq!(little(0), 0xa1b2_c3d4, "microseconds, little-endian");
    assert_eq!(little(4), 0x0004_0002, "version 2.4");
    assert_eq!(little(20), 101, "raw IP");
    let mut datagrams = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let time = Duration::new(little(at).into(), 1_000 * little(at + 4));
        let len = little(at + 8) as usize;
        assert_eq!(little(at + 12) as usize, len, "whole");
        let ip = &file[at + 16..at + 16 + len];
        assert_eq!((ip[0], ip[9]), (0x45, 17), "IPv4 without options, UDP");
        assert_eq!(usize::from(ip[2]) << 8 | usize::from(ip[3]), len);
        assert_eq!(sum(&[&ip[..20]]), 0xffff, "checksum of the header");
        let udp = &ip[20..];
        let pseudo = [0, 17, udp[4], udp[5]];
        assert_eq!(
            sum(&[&ip[12..20], &pseudo, udp]),
            0xffff,
            "checksum of the datagram"
        );
        let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap());
        let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        assert_eq!(usize::from(port(4)), udp.len());
        datagrams.push(Datagram {
            time,
            from: (address(12), port(0)),
            to: (address(16), port(2)),
            payload: udp[8..].to_vec(),
        });
        at += 16 + len;
    }
    datagrams
}

/// What an answer says about a file.
fn answer((status, body): (u16, String)) -> Value {
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// A directory that is removed.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("causeway-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Three participants for some seconds.
fn call(port: u16) -> std::thread::JoinHandle<Result<(), String>> {
    std::thread::spawn(move || {
        let rest = format!("http://127.0.0.1:{port}");
        let arguments = [
            "causeway-load",
            "run",
            "--quiet",
            "--channel",
            "sctp",
            "--rest",
            &rest,
            "--warmup",
            "2",
            "--seconds",
            "3",
            "meetings",
            "--count",
            "1",
            "--size",
            "3",
        ];
        cli::run(&arguments)
            .map(drop)
            .map_err(|error| error.to_string())
    })
}

fn feature(conference: &Value, endpoint: &str) -> String {
    let id = conference["id"].as_str().unwrap();
    format!("/debug/features/endpoint/{id}/{endpoint}/pcap-dump")
}

#[test]
fn both_directions_of_an_endpoint_are_captured_in_the_clear_until_it_is_switched_off_or_leaves() {
    let folder = Folder::new("capture");
    let more = format!(
        "jmt.debug.pcap {{ enabled = true, directory = {:?} }}
         videobridge.redact-remote-addresses = false",
        folder.0
    );
    let mut daemon = Daemon::start("capture", &more, None);
    let call = call(daemon.port);
    let conference = daemon.conference(3, || call.is_finished());
    let endpoints: Vec<String> = conference["endpoints"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let features: Vec<String> = endpoints
        .iter()
        .map(|endpoint| feature(&conference, endpoint))
        .collect();
    let files: Vec<PathBuf> = features[..2]
        .iter()
        .map(|feature| {
            let started = answer(daemon.request("POST", &format!("{feature}/true"), &Value::Null));
            PathBuf::from(started["file"].as_str().unwrap())
        })
        .collect();
    for (file, endpoint) in files.iter().zip(&endpoints) {
        assert_eq!(file.parent(), Some(&*folder.0));
        let name = file.file_name().unwrap().to_str().unwrap();
        let id = conference["id"].as_str().unwrap();
        assert!(name.contains(id) && name.contains(endpoint), "{name}");
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let position = |feature: &str| daemon.request("GET", feature, &Value::Null).1;
    assert_eq!(position(&features[0]), "true");
    assert_eq!(position(&features[2]), "false");
    // On once more is the same capture.
    let again = daemon.request("POST", &format!("{}/true", features[0]), &Value::Null);
    assert_eq!(answer(again)["file"], files[0].to_str().unwrap());

    // Until there is enough to look at.
    while std::fs::metadata(&files[0]).unwrap().len() < 1_000_000 {
        assert!(!call.is_finished(), "the call ended too early");
        std::thread::yield_now();
    }
    let off = daemon.request("POST", &format!("{}/false", features[0]), &Value::Null);
    let off = answer(off);
    assert_eq!(position(&features[0]), "false");
    let first = read(&files[0]);
    assert_eq!(off["packets"], first.len());
    assert_eq!(off["dropped"], 0);
    assert_eq!(off["bytes"], std::fs::metadata(&files[0]).unwrap().len());
    let unchanged = daemon.request("POST", &format!("{}/false", features[0]), &Value::Null);
    assert_eq!(unchanged, (200, String::new()), "it is off already");

    call.join().unwrap().expect("the call works");
    assert_eq!(
        daemon.request("GET", &features[1], &Value::Null).0,
        404,
        "the endpoint has left, and its capture with it"
    );
    // Files are complete when the process has ended.
    let pid = daemon.process.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    daemon.process.wait().unwrap();
    let second = read(&files[1]);

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for datagrams in [&first, &second] {
        // The two ends of the endpoint, whoever was first.
        let one = (datagrams[0].from, datagrams[0].to);
        for datagram in datagrams {
            let ends = (datagram.from, datagram.to);
            assert!(ends == one || ends == (one.1, one.0), "{ends:?}");
        }
        for time in datagrams.iter().map(|datagram| datagram.time) {
            assert!(time < now && now - time < Duration::from_secs(3_600));
        }
    }
    // The port of the bridge is the one that both have in common.
    let ends = |datagrams: &[Datagram]| BTreeSet::from([datagrams[0].from, datagrams[0].to]);
    let common = ends(&first)
        .intersection(&ends(&second))
        .copied()
        .collect::<Vec<_>>();
    let [bridge] = common[..] else {
        panic!("{common:?}")
    };
    for datagrams in [&first, &second] {
        for rtcp in [true, false] {
            let count = |incoming: bool| {
                let datagrams = datagrams.iter();
                datagrams
                    .filter(|it| it.is_rtcp() == rtcp && (it.to == bridge) == incoming)
                    .count()
            };
            assert!(count(true) > 0 && count(false) > 0, "rtcp: {rtcp}");
        }
        for datagram in datagrams.iter().filter(|datagram| datagram.is_rtcp()) {
            // Beyond the first eight bytes they would be random if they were encrypted.
            assert!(!datagram.rtcp_types().is_empty());
        }
    }
    // What the one sends is what the other gets: under other keys, and so both are in the clear.
    let incoming = first.iter().filter(|it| !it.is_rtcp() && it.to == bridge);
    let sent: BTreeSet<&[u8]> = incoming.filter_map(Datagram::picture).collect();
    let outgoing = second
        .iter()
        .filter(|it| !it.is_rtcp() && it.from == bridge);
    let received = outgoing.filter_map(Datagram::picture);
    let same = received.filter(|body| sent.contains(body)).count();
    assert!(same > 5, "{same} packets of {}", sent.len());
}

#[test]
fn rest_and_stats_case_39_captures_need_the_permission_of_the_configuration() {
    let daemon = Daemon::start("no-capture", "", None);
    let call = call(daemon.port);
    let conference = daemon.conference(3, || call.is_finished());
    let endpoint = conference["endpoints"].as_object().unwrap().keys().next();
    let feature = feature(&conference, endpoint.unwrap());
    let (status, body) = daemon.request("POST", &format!("{feature}/true"), &Value::Null);
    assert_eq!(status, 403);
    assert!(body.contains("jmt.debug.pcap.enabled"), "{body}");
    assert_eq!(daemon.request("GET", &feature, &Value::Null).1, "false");
    call.join().unwrap().expect("the call works");
}

#[test]
fn who_asks_for_a_capture_learns_what_is_wrong_with_the_directory() {
    let more = "jmt.debug.pcap { enabled = true, directory = /proc/nowhere }";
    let daemon = Daemon::start("bad-capture", more, None);
    let call = call(daemon.port);
    let conference = daemon.conference(3, || call.is_finished());
    let endpoint = conference["endpoints"].as_object().unwrap().keys().next();
    let feature = feature(&conference, endpoint.unwrap());
    let (status, body) = daemon.request("POST", &format!("{feature}/true"), &Value::Null);
    assert_eq!(status, 500);
    assert!(
        body.contains("/proc/nowhere") && body.contains("jmt.debug.pcap.directory"),
        "{body}"
    );
    assert_eq!(daemon.request("GET", &feature, &Value::Null).1, "false");
    call.join().unwrap().expect("the call works");
}
