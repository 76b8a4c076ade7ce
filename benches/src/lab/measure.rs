//! What the watched receiver, the first one behind the first downlink, got.

use std::time::Duration;

use causeway_bridge::config::PacingConfig;

use super::scenarios::{Change, Scenario, Watch};
use super::world::{BEGIN, World};
use causeway_bridge::time::Time;

/// Time between two samples.
const INTERVAL: Duration = Duration::from_millis(100);
/// What is reported begins here: by then a path is known.
const CONVERGED: Duration = Duration::from_secs(10);
/// A pause that users call a freeze.
const FREEZE: Duration = Duration::from_millis(500);

/// The state at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Seconds from the beginning.
    pub at: f64,
    /// kbit/s that the path carries; none without a bottleneck.
    pub capacity: Option<f64>,
    /// kbit/s.
    pub estimate: f64,
    /// kbit/s that arrived since the last sample, probes included.
    pub received: f64,
    /// Encoding of the picture, −1 before the first.
    pub encoding: i8,
    /// ms.
    pub queue: f64,
}

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub samples: Vec<Sample>,
    /// Mean of estimate by capacity after convergence.
    pub utilisation: Option<f64>,
    /// Mean of what arrived by capacity.
    pub filled: Option<f64>,
    /// ms of the queue, median and 95th percentile.
    pub queue: (f64, f64),
    /// Packets of the path that were lost, in percent of those that were not.
    pub lost_percent: f64,
    /// Of audio, 0 to 1.
    pub audio_lost: f64,
    /// Pauses of more than half a second, and the longest, ms.
    pub freezes: (u64, u64),
    pub switches_per_minute: f64,
    /// Share of the time in each encoding.
    pub encodings: [f64; 3],
    /// Of what those got who share the first downlink, while all are there (Jain's index: 1 = all the same, 1/n = one has all);
    /// none if there is but one.
    pub fairness: Option<f64>,
    /// Seconds from [`Scenario::lifted_at`] to the highest encoding; none if it never came.
    pub top_after: Option<f64>,
}

/// Runs a scenario.
pub fn run(scenario: &Scenario, seed: u64, pacing: PacingConfig) -> Outcome {
    let first = |changes: &Vec<Change>| changes[0].config;
    let downs: Vec<_> = scenario.downs.iter().map(first).collect();
    let Scenario {
        roles,
        codec,
        rivals,
        ups,
        watch,
        ..
    } = scenario;
    let mut world = World::new(seed, roles, *codec, &downs, rivals, pacing);
    let watched = scenario.roles.iter().position(|role| role.down == 0);
    let watched = watched.unwrap_or(0);
    let mut next = vec![0; scenario.downs.len()];
    let mut next_up = vec![0; ups.len()];
    let mut shares = Shares::new(scenario);
    let mut outcome = Outcome::default();
    let mut queues = Vec::new();
    let (mut bytes, mut packets, mut lost) = (0, 0, 0);
    let mut frames = 0;
    let mut last_frame = None;
    let (mut encoding, mut switches) = (-1, 0);
    let end = Duration::from_secs(scenario.seconds);
    let due =
        |world: &World, change: &Change| world.now - BEGIN >= Duration::from_secs_f64(change.at);
    world.run(end, |world| {
        for (down, changes) in scenario.downs.iter().enumerate() {
            while let Some(change) = changes.get(next[down]).filter(|change| due(world, change)) {
                world.set_down(down, change.config);
                next[down] += 1;
            }
        }
        for ((person, changes), next) in ups.iter().zip(&mut next_up) {
            while let Some(change) = changes.get(*next).filter(|change| due(world, change)) {
                world.set_up(*person, change.config);
                *next += 1;
            }
        }
        shares.note(world);
        let passed = world.now - BEGIN;
        let converged = passed >= CONVERGED;
        if passed == CONVERGED {
            world.mark();
            (frames, switches) = (0, 0);
            if *watch == Watch::Down {
                bytes = 0;
            }
            lost = lost_of(world, *watch);
        }
        let queue = match watch {
            Watch::Down => world.queue_delay(0),
            Watch::Up(person) => world.up_queue_delay(*person),
        };
        let queue = queue.as_secs_f64() * 1e3;
        if converged {
            queues.push(queue);
        }
        let complete = world.people[watched].stats.frames;
        if complete != frames {
            frames = complete;
            if let Some(last) = last_frame
                && converged
            {
                note_pause(world.now - last, &mut outcome);
            }
            last_frame = Some(world.now);
        }
        if passed.as_millis().is_multiple_of(INTERVAL.as_millis()) {
            world.ask_for_reports();
            let now = world.people[watched]
                .encoding()
                .map_or(-1, |encoding| encoding as i8);
            switches += usize::from(now != encoding);
            encoding = now;
            let stats = &world.people[watched].stats;
            packets = match watch {
                Watch::Down => stats.received_packets,
                Watch::Up(person) => world.people[*person].stats.sent_packets,
            };
            let (all, estimate, config) = match watch {
                Watch::Down => {
                    let reported = world.reported.get(&(watched as u64));
                    let change = &scenario.downs[0][next[0].saturating_sub(1)];
                    let estimate = reported.and_then(|it| it.estimate);
                    (stats.received_bytes, estimate, change.config)
                }
                Watch::Up(person) => {
                    let (at, (_, changes)) = (0..)
                        .zip(ups)
                        .find(|(_, (known, _))| known == person)
                        .expect("a watched uplink has a rate");
                    let change = &changes[next_up[at].saturating_sub(1)];
                    let uploaded = world.people[*person].uploaded;
                    (uploaded, world.up_estimate(*person), change.config)
                }
            };
            let received = (all - bytes) as f64 * 8e-3 / INTERVAL.as_secs_f64();
            bytes = all;
            outcome.samples.push(Sample {
                at: passed.as_secs_f64(),
                capacity: config.rate.map(|rate| rate.as_bps() as f64 / 1e3),
                estimate: estimate.map_or(0.0, |estimate| estimate.as_bps() as f64 / 1e3),
                received,
                encoding,
                queue,
            });
        }
    });
    if let Some(last) = last_frame {
        note_pause(world.now - last, &mut outcome);
    }
    queues.sort_by(f64::total_cmp);
    let quantile = |share: f64| queues[((queues.len() - 1) as f64 * share) as usize];
    outcome.queue = (quantile(0.5), quantile(0.95));
    outcome.fairness = shares.fairness(&world);
    outcome.lost_percent = 100.0 * (lost_of(&world, *watch) - lost) as f64 / packets.max(1) as f64;
    outcome.audio_lost = world.audio_lost(watched);
    let minutes = (scenario.seconds as f64 - CONVERGED.as_secs_f64()) / 60.0;
    outcome.switches_per_minute = switches as f64 / minutes;
    outcome.summarise(scenario);
    outcome
}

fn lost_of(world: &World, watch: Watch) -> u64 {
    match watch {
        Watch::Down => world.lost_by(0),
        Watch::Up(person) => world.lost_by_up(person),
    }
}

/// What those get who share the first downlink.
struct Shares {
    people: Vec<usize>,
    /// All are there from then on.
    since: Time,
    /// Bytes that each had got by then.
    before: Vec<u64>,
}

impl Shares {
    fn new(scenario: &Scenario) -> Shares {
        let people = (0..scenario.roles.len()).filter(|person| scenario.roles[*person].down == 0);
        let people: Vec<usize> = people.collect();
        let present = people.iter().map(|person| {
            let absent = scenario.roles[*person].absent;
            absent.map_or(CONVERGED, |(_, to)| Duration::from_secs(to) + CONVERGED)
        });
        Shares {
            since: BEGIN + present.max().unwrap_or_default(),
            before: Vec::new(),
            people,
        }
    }

    /// To be called at every step.
    fn note(&mut self, world: &World) {
        // What was counted until convergence is forgotten in the step in which that ends.
        if world.now == self.since + Duration::from_millis(1) {
            self.before = self.received(world);
        }
    }

    fn received(&self, world: &World) -> Vec<u64> {
        let people = self.people.iter();
        people
            .map(|person| world.people[*person].stats.received_bytes)
            .collect()
    }

    fn fairness(&self, world: &World) -> Option<f64> {
        let got: Vec<f64> = self
            .received(world)
            .iter()
            .zip(&self.before)
            .map(|(now, before)| (now - before) as f64)
            .collect();
        let (sum, squares) = got.iter().fold((0.0, 0.0), |(sum, squares), it| {
            (sum + it, squares + it * it)
        });
        (got.len() > 1 && squares > 0.0).then(|| sum * sum / (got.len() as f64 * squares))
    }
}

fn note_pause(pause: Duration, outcome: &mut Outcome) {
    outcome.freezes.0 += u64::from(pause > FREEZE);
    outcome.freezes.1 = outcome.freezes.1.max(pause.as_millis() as u64);
}

impl Outcome {
    fn summarise(&mut self, scenario: &Scenario) {
        let samples = self.samples.iter();
        let converged: Vec<&Sample> = samples
            .filter(|sample| sample.at >= CONVERGED.as_secs_f64())
            .collect();
        let mean = |figure: &dyn Fn(&Sample) -> Option<f64>| {
            let figures: Vec<f64> = converged
                .iter()
                .filter_map(|sample| figure(sample))
                .collect();
            (!figures.is_empty()).then(|| figures.iter().sum::<f64>() / figures.len() as f64)
        };
        self.utilisation = mean(&|sample| Some((sample.estimate / sample.capacity?).min(1.0)));
        self.filled = mean(&|sample| Some(sample.received / sample.capacity?));
        for (encoding, share) in self.encodings.iter_mut().enumerate() {
            let of = |sample: &Sample| Some(f64::from(u8::from(sample.encoding == encoding as i8)));
            *share = mean(&of).unwrap_or(0.0);
        }
        let mut after = self
            .samples
            .iter()
            .filter(|sample| sample.at >= scenario.lifted_at);
        let top = after.find(|sample| sample.encoding == 2);
        self.top_after = top.map(|sample| sample.at - scenario.lifted_at);
    }
}
