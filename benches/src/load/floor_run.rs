//! The same load as a run put on a bridge, through the floor.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use causeway_bridge::random::Random;
use causeway_bridge::srtp::Profile;

use super::client::{self, Client};
use super::clock::Clock;
use super::floor::{self, Routes, Stream};
use super::join::{open_socket, sources_of};
use super::meter::Meter;
use super::plan::Plan;
use super::process;
use super::report::Report;
use super::run::{Options, Threads};
use super::stamp;
use super::thread::{Order, Route};

/// How long clients may take to say hello.
const PATIENCE: Duration = Duration::from_secs(20);
const WARMUP: Duration = Duration::from_secs(2);

/// The streams that a run had all the time; what changed hands in between is left out. `layered`: those of a camera or screen share
/// an SSRC.
pub fn streams(routes: &[Route], layered: bool) -> Vec<Stream> {
    let mut most: BTreeMap<(u32, u8), u64> = BTreeMap::new();
    for route in routes {
        let packets = most.entry((route.from, route.encoding)).or_default();
        *packets = route.packets.max(*packets);
    }
    let mut streams: BTreeMap<(u32, u8), Vec<u32>> = BTreeMap::new();
    for route in routes {
        let key = (route.from, route.encoding);
        if 2 * route.packets >= most.get(&key).copied().unwrap_or(0) {
            streams.entry(key).or_default().push(route.to);
        }
    }
    streams
        .into_iter()
        .map(|((from, encoding), to)| {
            let shares = layered && stamp::is_video(encoding);
            Stream {
                ssrc: match shares {
                    true => stamp::ssrc(from, stamp::lowest(encoding)),
                    false => stamp::ssrc(from, encoding),
                },
                layer: shares.then_some(encoding),
                from,
                to,
            }
        })
        .collect()
}

/// Starts a floor, and puts the load of `plan` on it. With `feedback` clients also send what a bridge must at least receive and open:
/// reports and transport-cc feedback.
///
/// # Errors
/// A text for people.
pub fn run(
    options: &Options,
    plan: &Plan,
    streams: Vec<Stream>,
    cpus: Option<&str>,
    feedback: bool,
) -> Result<Report, String> {
    let sent: BTreeSet<_> = streams
        .iter()
        .map(|stream| (stream.ssrc, stream.layer))
        .collect();
    let profile = options
        .profiles
        .first()
        .copied()
        .unwrap_or(Profile::AeadAes128Gcm);
    let routes = Routes {
        clients: plan.parts.len() as u32,
        aes_cm: profile == Profile::Aes128CmSha1_80,
        streams,
    };
    let file =
        std::env::temp_dir().join(format!("causeway-load-{}-routes.json", std::process::id()));
    let text = serde_json::to_string(&routes).map_err(|error| error.to_string())?;
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = process::command(&own, cpus);
    command.arg("floor").arg(&file).stderr(Stdio::piped());
    let started = process::spawn(&mut command).and_then(|mut floor| {
        let line = process::await_line(&mut floor, floor::READY)?;
        Ok((floor, line))
    });
    // It has read the file when it is ready.
    let _ = fs::remove_file(&file);
    let (process, line) = started?;
    let address: SocketAddr = line
        .rsplit(' ')
        .next()
        .and_then(|address| address.parse().ok())
        .ok_or("the floor does not say where it is")?;

    let clock = Clock::new();
    let threads = Threads::start(clock, options.threads, options.gro, options.line)?;
    let mut meter = Meter::new(clock, Some(process.pid()), options.progress);
    meter.begin();
    let mut random = Random::from_os();
    for (number, part) in (0..).zip(&plan.parts) {
        let socket = open_socket(address, options.gro).map_err(|error| error.to_string())?;
        let now = clock.now();
        let mut sources = sources_of(
            (number, number),
            part,
            &plan.camera,
            now,
            options.spread,
            &mut random,
        );
        for video in &mut sources.videos {
            video.keep(|ssrc, encoding| {
                sent.contains(&(ssrc, None)) || sent.contains(&(ssrc, Some(encoding)))
            });
        }
        let client = Client::fixed(
            now,
            number,
            floor::keys(number, profile),
            address,
            sources,
            feedback.then(|| client::phase(&mut random)),
        );
        threads
            .of(number)
            .give(Order::Adopt(Box::new(client), socket, None));
    }
    let end = clock.now() + PATIENCE;
    loop {
        meter.wait(clock.now() + Duration::from_millis(100));
        meter.connected = (plan.parts.len() - meter.unready(&threads)) as u32;
        if meter.connected as usize == plan.parts.len() {
            break;
        }
        if clock.now() >= end {
            return Err("clients do not reach the floor".to_owned());
        }
    }
    let pause = |meter: &mut Meter, time: Duration, measured| {
        let end = clock.now() + time;
        while clock.now() < end {
            meter.wait(end);
            meter.tick(&threads, measured);
        }
    };
    pause(&mut meter, WARMUP, false);
    meter.sample(&threads, false);
    let window = meter.open();
    pause(&mut meter, options.seconds, true);
    let window = meter.close(window, &threads, true);
    let mut report = window.report("floor", plan.parts.len());
    report.scenario = plan.scenario.name().to_owned();
    report.samples = meter.take_samples();
    threads.stop();
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_what_was_received_for_most_of_the_time() {
        let route = |from, encoding, to, packets| Route {
            from,
            encoding,
            to,
            packets,
        };
        let routes = [
            route(0, 2, 1, 100),
            route(0, 2, 2, 98),
            route(0, 0, 3, 100),
            route(0, 2, 3, 4),
        ];
        let mut found: Vec<_> = streams(&routes, false)
            .into_iter()
            .map(|stream| stream.to)
            .collect();
        found.sort();
        assert_eq!(found, [vec![1, 2], vec![3]]);
        let layers = streams(&routes, true);
        let first = stamp::ssrc(0, 0);
        assert!(layers.iter().all(|stream| stream.ssrc == first));
        let layers: Vec<_> = layers.into_iter().map(|stream| stream.layer).collect();
        assert_eq!(layers, [Some(0), Some(2)]);
    }
}
