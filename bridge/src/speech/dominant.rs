//! Dominant speaker identification after Volfin and Cohen, simplified (allocation spec §5).
//!
//! A speaker's last second of levels is judged on three time scales: the newest level, the newest five,
//! and blocks of five. Whoever beats the dominant speaker on all three takes over, so that coughs and
//! short words change nothing.

use std::time::Duration;

use super::{ABOVE_MINIMUM, MAX_LEVEL};
use crate::config::AudioConfig;
use crate::ids::EndpointKey;
use crate::time::Time;

/// Time between decisions.
const DECISION_INTERVAL: Duration = Duration::from_millis(300);
/// A speaker that sends nothing for this long is silent; then one more silent level each.
const LEVEL_IDLE: Duration = Duration::from_millis(40);
/// Without any level for this long there are no more decisions until the next one.
const IDLE_STOP: Duration = Duration::from_secs(15);
/// A speaker without levels for this long is none any more.
const FORGET: Duration = Duration::from_secs(3600);

/// Levels kept: one second at 20 ms.
const LEVELS: usize = 50;
/// Levels in a block.
const BLOCK: usize = 5;
const BLOCKS: usize = LEVELS / BLOCK;
/// Levels are judged in steps of this size.
const STEP: u8 = 10;
/// Steps above which a level is active.
const ACTIVE_STEPS: u8 = 7;
/// Active levels above which a block is active.
const ACTIVE_IN_BLOCK: usize = 4;
/// Distinct steps of a level that can win: N1 in the paper.
const MAX_STEPS: usize = 13;

/// By how much a challenger must beat the dominant speaker on each time scale (C1, C2, C3).
const THRESHOLDS: [f64; 3] = [3.0, 2.0, 0.0];
/// Scores are never below this.
const MIN_SCORE: f64 = 1e-10;

/// Levels after which the minimum may rise again: 15 s at 20 ms.
const MINIMUM_WINDOW: u16 = 750;

/// Elects the dominant speaker of a conference. Sans-IO: after every input look at
/// [`DominantSpeaker::poll_timeout`].
#[derive(Clone, Debug)]
pub struct DominantSpeaker {
    /// By key, which is the order in which they joined.
    speakers: Vec<Speaker>,
    dominant: Option<EndpointKey>,
    /// Silence was reported, or nobody has spoken yet.
    silent: bool,
    silence_timeout: Option<Duration>,
    scores: ScoreTables,
    next_decision: Option<Time>,
    last_level: Time,
    event: Option<Option<EndpointKey>>,
}

impl DominantSpeaker {
    /// Without endpoints.
    pub fn new(config: &AudioConfig) -> DominantSpeaker {
        DominantSpeaker {
            speakers: Vec::new(),
            dominant: None,
            silent: true,
            silence_timeout: config.silence_detection.then_some(config.silence_timeout),
            scores: ScoreTables::new(),
            next_decision: None,
            last_level: Time::ZERO,
            event: None,
        }
    }

    /// An endpoint joins. It counts as a speaker from its first level on.
    pub fn add(&mut self, endpoint: EndpointKey) {
        if let Err(at) = self.find(endpoint) {
            self.speakers.insert(at, Speaker::new(endpoint));
        }
    }

    /// An endpoint leaves. If it was dominant, the next decision finds another.
    pub fn remove(&mut self, endpoint: EndpointKey) {
        if let Ok(at) = self.find(endpoint) {
            self.speakers.remove(at);
        }
        self.dominant = self.dominant.filter(|dominant| *dominant != endpoint);
    }

    /// An audio packet of an endpoint came, with this level: 0 (quietest) to 127 (loudest), that is 127
    /// minus the value of the RTP header extension. Returns the endpoint's minimum level, above which
    /// speech begins; `None` for an endpoint that is not here.
    pub fn on_level(&mut self, now: Time, endpoint: EndpointKey, level: u8) -> Option<u8> {
        let at = self.find(endpoint).ok()?;
        let speaker = self.speakers.get_mut(at)?;
        speaker.on_level(now, level.min(MAX_LEVEL));
        let minimum = speaker.minimum;
        self.last_level = self.last_level.max(now);
        self.next_decision.get_or_insert(now);
        Some(minimum)
    }

    /// When [`DominantSpeaker::handle_timeout`] must be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.next_decision
    }

    /// Decides if it is time.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.next_decision.is_none_or(|next| now < next) {
            return;
        }
        let stop = now.since(self.last_level) > IDLE_STOP;
        self.next_decision = (!stop).then_some(now + DECISION_INTERVAL);

        let elected = self.decide(now);
        if elected.is_some() {
            if elected != self.dominant {
                self.event = Some(elected);
            }
            self.silent = false;
        } else if self.silence_timeout.is_some() && !self.silent {
            self.event = Some(None);
            self.silent = true;
        }
        self.dominant = elected;
    }

    /// A new dominant speaker, or `Some(None)`: silence begins.
    pub fn poll_event(&mut self) -> Option<Option<EndpointKey>> {
        self.event.take()
    }

    /// The dominant speaker; `None` in silence.
    pub fn dominant(&self) -> Option<EndpointKey> {
        self.dominant
    }

    fn find(&self, endpoint: EndpointKey) -> Result<usize, usize> {
        self.speakers
            .binary_search_by_key(&endpoint, |speaker| speaker.key)
    }

    fn decide(&mut self, now: Time) -> Option<EndpointKey> {
        let dominant = self.dominant;
        for speaker in &mut self.speakers {
            speaker.judge(now, &self.scores, dominant == Some(speaker.key));
        }
        let mut speakers = self
            .speakers
            .iter()
            .filter(|speaker| speaker.heard.is_some());
        let first = speakers.next()?;
        let floor = match dominant.and_then(|dominant| self.find(dominant).ok()) {
            Some(at) => self.speakers.get(at)?,
            None => first,
        };
        let others = std::iter::once(first)
            .chain(speakers)
            .filter(|other| other.key != floor.key);
        let mut best: Option<(EndpointKey, f64)> = None;
        for other in others {
            let lead: [f64; 3] =
                std::array::from_fn(|scale| other.scores[scale] - floor.scores[scale]);
            let wins = lead
                .iter()
                .zip(THRESHOLDS)
                .all(|(lead, threshold)| *lead > threshold);
            if wins && best.is_none_or(|(_, medium)| lead[1] > medium) {
                best = Some((other.key, lead[1]));
            }
        }
        if let Some((winner, _)) = best {
            return Some(winner);
        }
        let spoke = self.silence_timeout.is_none_or(|timeout| {
            floor
                .active
                .is_some_and(|active| now.since(active) <= timeout)
        });
        spoke.then_some(floor.key)
    }
}

#[derive(Clone, Debug)]
struct Speaker {
    key: EndpointKey,
    /// Newest first.
    levels: [u8; LEVELS],
    /// When the last level came; `None` = not a speaker yet.
    heard: Option<Time>,
    /// Up to here silent levels were added for missing ones.
    quiet_until: Time,
    /// When it last really spoke.
    active: Option<Time>,
    /// Smallest level, slowly rising; 0 = none yet.
    minimum: u8,
    /// Smallest level since `minimum` was found; 0 = none yet.
    next_minimum: u8,
    next_minimum_levels: u16,
    /// Logarithms of the scores on the three time scales.
    scores: [f64; 3],
}

impl Speaker {
    fn new(key: EndpointKey) -> Speaker {
        Speaker {
            key,
            levels: [0; LEVELS],
            heard: None,
            quiet_until: Time::ZERO,
            active: None,
            minimum: 0,
            next_minimum: 0,
            next_minimum_levels: 0,
            scores: [0.0; 3],
        }
    }

    fn on_level(&mut self, now: Time, level: u8) {
        match self.heard {
            Some(heard) if now < heard => return,
            Some(_) => self.add_silence(now),
            None => {}
        }
        self.push(level, 1);
        self.heard = Some(now);
        self.quiet_until = now + LEVEL_IDLE;
        self.update_minimum(level);
    }

    /// Adds a silent level for every tick of [`LEVEL_IDLE`] at which none had come for that long. Ticks
    /// are on a common grid; nobody counts them while nothing happens.
    fn add_silence(&mut self, now: Time) {
        if now <= self.quiet_until {
            return;
        }
        let tick = |time: Time| time.as_micros() / LEVEL_IDLE.as_micros() as u64;
        let ticks = tick(now) - tick(self.quiet_until);
        self.push(0, usize::try_from(ticks).unwrap_or(LEVELS).min(LEVELS));
        self.quiet_until = now;
    }

    /// Adds a level `count` ≤ [`LEVELS`] times.
    fn push(&mut self, level: u8, count: usize) {
        self.levels.copy_within(..LEVELS - count, count);
        self.levels[..count].fill(level);
    }

    fn update_minimum(&mut self, level: u8) {
        if level == 0 {
            return;
        }
        if self.minimum == 0 || level < self.minimum {
            self.minimum = level;
        } else {
            if self.next_minimum == 0 || level < self.next_minimum {
                self.next_minimum = level;
            }
            self.next_minimum_levels += 1;
            if self.next_minimum_levels < MINIMUM_WINDOW {
                return;
            }
            let product = u32::from(self.minimum) * u32::from(self.next_minimum);
            // The root of a product of two u8 is a u8.
            self.minimum = product.isqrt() as u8;
        }
        self.next_minimum = 0;
        self.next_minimum_levels = 0;
    }

    fn judge(&mut self, now: Time, tables: &ScoreTables, dominant: bool) {
        let Some(heard) = self.heard else { return };
        if now.since(heard) > FORGET && !dominant {
            *self = Speaker::new(self.key);
            return;
        }
        self.add_silence(now);
        let least = self.minimum + ABOVE_MINIMUM;
        let steps = |level: u8| if level < least { 0 } else { level / STEP };
        let active = |block: &[u8]| {
            block
                .iter()
                .filter(|level| steps(**level) > ACTIVE_STEPS)
                .count()
        };
        let mut blocks = self.levels.chunks_exact(BLOCK).map(active);
        let newest = blocks.next().unwrap_or(0);
        let active_blocks = std::iter::once(newest)
            .chain(blocks)
            .filter(|n| *n > ACTIVE_IN_BLOCK)
            .count();
        self.scores = [
            tables.immediate[usize::from(steps(self.levels[0]))],
            tables.medium[newest],
            tables.long[active_blocks],
        ];
        if tables.is_above_minimum(self.scores[2]) {
            self.active = Some(now);
        }
    }
}

/// Logarithms of the score of every possible count, so that a decision needs no logarithm.
#[derive(Clone, Debug)]
struct ScoreTables {
    immediate: [f64; MAX_STEPS + 1],
    medium: [f64; BLOCK + 1],
    long: [f64; BLOCKS + 1],
}

impl ScoreTables {
    fn new() -> ScoreTables {
        ScoreTables {
            immediate: log_scores(0.78),
            medium: log_scores(24.0),
            long: log_scores(47.0),
        }
    }

    fn is_above_minimum(&self, log_score: f64) -> bool {
        log_score > MIN_SCORE.ln()
    }
}

/// `ln` of how much likelier v of n active parts are with speech (an exponential law with parameter
/// `lambda`) than with noise (a fair coin each), for v = 0 to n = N − 1.
fn log_scores<const N: usize>(lambda: f64) -> [f64; N] {
    let n = (N - 1) as f64;
    let mut ln_choose = 0.0;
    std::array::from_fn(|v| {
        let v = v as f64;
        if v > 0.0 {
            ln_choose += ((n - v + 1.0) / v).ln();
        }
        let score = ln_choose + n * 0.5_f64.ln() - lambda.ln() + lambda * v;
        score.max(MIN_SCORE).ln()
    })
}

#[cfg(test)]
#[path = "dominant_tests.rs"]
mod tests;
