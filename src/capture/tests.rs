use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use causeway_bridge::config::BridgeConfig;
use causeway_bridge::control::api::{ConferenceOptions, EndpointOptions};
use causeway_bridge::ids::{Path as NetPath, SocketId};
use causeway_bridge::net::NoHost;
use causeway_bridge::time::Time;

use super::*;

const LOCAL: &str = "198.51.100.1:10000";
const REMOTE: &str = "203.0.113.9:61000";

fn path() -> NetPath {
    NetPath {
        socket: SocketId(0),
        remote: REMOTE.parse().unwrap(),
    }
}

/// A capture into `sink`.
fn capture<W: Write>(sink: W) -> Capture<W> {
    Capture {
        conference: "c".to_owned(),
        endpoint: "e".to_owned(),
        sink,
        epoch_micros: 1_000_000,
        locals: vec![LOCAL.parse().unwrap()],
        redact: false,
        left: 1 << 20,
        deadline: Instant::now() + Duration::from_secs(3600),
        record: Vec::new(),
        summary: CaptureSummary {
            file: PathBuf::new(),
            packets: 0,
            bytes: 0,
            dropped: 0,
        },
    }
}

/// The record of a packet as the file should have it.
fn record(micros: u64, from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    pcap::write_record(&mut record, micros, from, to, payload);
    record
}

#[test]
fn packets_of_both_directions_are_written_until_the_tap_is_gone() {
    let (tap, reader) = channel();
    tap.take(Time::from_micros(5), Direction::Incoming, path(), b"in");
    tap.take(Time::from_micros(6), Direction::Outgoing, path(), b"out");
    drop(tap);
    let mut file = Vec::new();
    let summary = capture(&mut file).run(&reader, || false);
    let expected = [
        pcap::file_header().to_vec(),
        record(1_000_005, REMOTE, LOCAL, b"in"),
        record(1_000_006, LOCAL, REMOTE, b"out"),
    ]
    .concat();
    assert_eq!(file, expected);
    assert_eq!((summary.packets, summary.dropped), (2, 0));
    assert_eq!(summary.bytes, expected.len() as u64);
}

#[test]
fn addresses_of_clients_are_hidden_where_logs_hide_them() {
    let (tap, reader) = channel();
    tap.take(Time::ZERO, Direction::Incoming, path(), b"in");
    drop(tap);
    let mut file = Vec::new();
    let mut hiding = capture(&mut file);
    hiding.redact = true;
    hiding.run(&reader, || false);
    assert_eq!(
        file[24..],
        record(1_000_000, "192.0.2.1:49152", LOCAL, b"in")
    );
}

#[test]
fn a_file_does_not_grow_beyond_its_limit() {
    let (tap, reader) = channel();
    for _ in 0..3 {
        tap.take(Time::ZERO, Direction::Incoming, path(), b"packet");
    }
    let one = record(1_000_000, REMOTE, LOCAL, b"packet");
    let mut file = Vec::new();
    let mut small = capture(&mut file);
    small.left = 24 + 2 * one.len() as u64 + 1;
    let summary = small.run(&reader, || false);
    assert_eq!(summary.packets, 2);
    assert_eq!(file.len(), 24 + 2 * one.len());
}

#[test]
fn a_capture_ends_when_its_time_is_over_and_when_the_process_ends() {
    let (tap, reader) = channel();
    let (mut late, mut ending) = (Vec::new(), Vec::new());
    let mut over = capture(&mut late);
    over.deadline = Instant::now();
    assert_eq!(over.run(&reader, || false).packets, 0);
    tap.take(Time::ZERO, Direction::Incoming, path(), b"packet");
    assert_eq!(capture(&mut ending).run(&reader, || true).packets, 1);
}

/// A disk that is full.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_ends_the_capture() {
    let (_tap, reader) = channel();
    assert_eq!(capture(Full).run(&reader, || false).bytes, 0);
}

#[test]
fn ids_can_not_lead_out_of_the_directory() {
    let wall = Duration::from_millis(7);
    let hostile = "../../etc/passwd\0\u{202e}";
    let name = file_name("abc", hostile, wall);
    assert_eq!(name, "causeway-abc-______etc_passwd__-7.pcap");
    let long = file_name(&"a".repeat(1_000), &"é".repeat(1_000), wall);
    assert!(long.len() < 200 && !long.contains('/'));
}

#[test]
fn files_are_new_and_for_their_owner_only() {
    let folder = std::env::temp_dir().join(format!("causeway-capture-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let (file, target, link) = (folder.join("a"), folder.join("b"), folder.join("c"));
    create(&file).unwrap();
    let facts = std::fs::metadata(&file).unwrap();
    assert_eq!(facts.permissions().mode() & 0o777, 0o600);
    assert_eq!(facts.size(), 0);
    // What somebody else put there is not written to (CWE-59).
    symlink(&target, &link).unwrap();
    for taken in [&file, &link] {
        let error = create(taken).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    }
    assert!(!target.exists());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn captures_are_counted_and_end_with_their_endpoints() {
    let folder = std::env::temp_dir().join(format!("causeway-captures-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let mut config = BridgeConfig::default();
    config.net.bind = vec![([127, 0, 0, 1], 0).into()];
    config.net.workers = Some(1);
    config.net.receive_buffer = 1 << 16;
    let bridge = Bridge::start(config, Arc::new(NoHost)).unwrap();
    let options = CaptureOptions {
        enabled: true,
        directory: folder.clone(),
        ..CaptureOptions::default()
    };
    let files = CaptureFiles::new(bridge.clone(), options, true);
    let targets: Vec<CaptureTarget> = bridge.with_control(|control, now| {
        let options = ConferenceOptions {
            meeting_id: "m1".into(),
            name: None,
        };
        let conference = control.create_conference(now, options).unwrap();
        let endpoints = (0..=MAX_CAPTURES).map(|number| {
            let options = EndpointOptions {
                id: format!("ep{number}").as_str().into(),
                stats_id: None,
                ice_controlling: true,
                ssrc_rewriting: false,
                mid_demux: false,
                visitor: false,
                private_addresses: false,
                sctp: false,
                diarize: false,
            };
            CaptureTarget {
                conference: control.local_id(conference),
                endpoint: format!("ep{number}"),
                key: control.create_endpoint(now, conference, options).unwrap(),
            }
        });
        endpoints.collect()
    });
    let (last, others) = targets.split_last().unwrap();
    for target in others {
        files.start(target).unwrap();
    }
    let refused = files.start(last);
    assert!(matches!(refused, Err(CaptureError::Busy(_))), "{refused:?}");
    // One that leaves makes room.
    bridge.with_control(|control, now| control.expire_endpoint(now, others[0].key));
    while files.is_on(others[0].key) {
        thread::yield_now();
    }
    // For one that has left there is nothing to capture, and no file stays.
    let before = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(files.start(&others[0]), Err(CaptureError::Gone));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), before);
    files.start(last).unwrap();
    let summary = files.stop(last.key).unwrap();
    assert_eq!((summary.packets, summary.dropped), (0, 0));
    assert_eq!(files.stop(last.key), None);
    bridge.stop();
    files.finish();
    assert!(!files.is_on(others[1].key));
    std::fs::remove_dir_all(&folder).unwrap();
}
