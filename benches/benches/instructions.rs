//! Instructions per packet, counted by valgrind: they repeat to a fraction of a per cent where times differ by a fifth.
//!
//! The program starts itself under callgrind, once for each step, and counts within [`measured`] only. There is no AVX-512 in
//! valgrind, so sealing takes more instructions than on a processor that has it; what is not sealing is the same.

#![allow(missing_docs)]

use std::hint::black_box;
use std::process::{Command, ExitCode};

use causeway_benches::{Conference, MemoryFloor, header_len, projected, video_packet};
use causeway_bridge::projection::{LayerIndex, Projection, Start};
use causeway_bridge::srtp::Profile;
use causeway_bridge::time::Time;
use causeway_bridge::wire::extensions::elements;
use causeway_bridge::wire::rtp::RtpHeader;
use causeway_bridge::wire::vp8::Vp8Descriptor;

/// Says which step a process is for.
const STEP: &str = "CAUSEWAY_INSTRUCTIONS_STEP";
const SIZE: usize = 1_200;
const PACKETS: usize = 660;
/// More than what is remembered of sent packets.
const WARM_UP: usize = 2_000;
const STEPS: [&str; 9] = [
    "parse an RTP header with extensions",
    "parse a VP8 payload descriptor",
    "offer a VP8 packet to a projection",
    "floor of fan-out to 1",
    "floor of fan-out to 10",
    "floor of fan-out to 100",
    "fan-out to 1",
    "fan-out to 10",
    "fan-out to 100",
];

fn main() -> ExitCode {
    if let Ok(step) = std::env::var(STEP) {
        perform(&step);
        return ExitCode::SUCCESS;
    }
    let filter = std::env::args().skip(1).find(|it| !it.starts_with('-'));
    println!("| one packet | instructions |\n|---|---|");
    for step in STEPS {
        if filter.as_ref().is_some_and(|filter| !step.contains(filter)) {
            continue;
        }
        match count(step) {
            Ok(instructions) => println!("| {step} | {} |", instructions / PACKETS as u64),
            Err(error) => {
                eprintln!("{step}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Runs a step under callgrind.
fn count(step: &str) -> Result<u64, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*measured*"])
        .arg(own)
        .env(STEP, step)
        .output()
        .map_err(|error| format!("valgrind: {error} (apt-get install valgrind)"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let instructions = collected.and_then(|(_, count)| count.trim().parse().ok());
    match instructions {
        Some(0) | None => Err(format!("nothing was counted: {text}")),
        Some(instructions) => Ok(instructions),
    }
}

/// What is counted.
#[inline(never)]
fn measured(work: impl FnOnce()) {
    work();
}

fn perform(step: &str) {
    let (what, receivers) = step.rsplit_once(' ').unwrap_or((step, ""));
    match (what, receivers.parse()) {
        ("fan-out to", Ok(receivers)) => fan_out(receivers),
        ("floor of fan-out to", Ok(receivers)) => floor(receivers),
        _ if step.starts_with("parse an RTP") => {
            let packet = video_packet(0, SIZE);
            measured(|| {
                for _ in 0..PACKETS {
                    let packet = black_box(packet.as_slice());
                    let header = RtpHeader::parse(packet).expect("RTP");
                    let elements = elements(&header, packet);
                    black_box(elements.map(|(_, value)| value.len()).sum::<usize>());
                }
            });
        }
        _ if step.starts_with("parse a VP8") => {
            let packet = video_packet(0, SIZE);
            let payload = &packet[header_len(&packet)..];
            measured(|| {
                for _ in 0..PACKETS {
                    black_box(Vp8Descriptor::parse(black_box(payload)));
                }
            });
        }
        _ => project(),
    }
}

fn project() {
    let mut projection = Projection::new(Start {
        sequence: 1,
        timestamp: 1,
    });
    projection.set_target(LayerIndex::new(0, 0, 2));
    let packets: Vec<_> = (0..PACKETS as u64).map(projected).collect();
    measured(|| {
        for (facts, payload) in &packets {
            black_box(projection.offer(Time::from_millis(facts.index), facts, payload));
        }
    });
}

fn fan_out(receivers: usize) {
    let mut conference = Conference::new(receivers, Profile::AeadAes128Gcm, SIZE);
    for _ in 0..WARM_UP / 10 {
        let packets = conference.packets(10);
        conference.forward(&packets);
        conference.handle_timers();
    }
    let packets = conference.packets(PACKETS);
    measured(|| {
        assert!(conference.forward(&packets) >= receivers * PACKETS);
    });
}

fn floor(receivers: usize) {
    let mut floor = MemoryFloor::new(receivers, Profile::AeadAes128Gcm, SIZE);
    let packets = floor.packets(PACKETS);
    measured(|| floor.forward(&packets));
}
