//! The loudest speakers (allocation spec §13.4).

use std::time::Duration;

use super::ABOVE_MINIMUM;
use crate::config::AudioConfig;
use crate::ids::EndpointKey;
use crate::time::Time;

/// Ranks speakers by smoothed loudness. Needed only if [`AudioConfig::route_loudest_only`].
#[derive(Clone, Debug)]
pub struct Loudness {
    /// Smoothed level of every endpoint, by key.
    energies: Vec<(EndpointKey, u32)>,
    /// Loudest first, at most `places`.
    ranking: Vec<Ranked>,
    places: usize,
    alpha: u32,
    expire: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Ranked {
    endpoint: EndpointKey,
    energy: u32,
    heard: Time,
}

impl Loudness {
    /// Without endpoints.
    pub fn new(config: &AudioConfig) -> Loudness {
        Loudness {
            energies: Vec::new(),
            ranking: Vec::new(),
            places: config.num_loudest,
            alpha: config.energy_alpha_pct.min(100),
            expire: config.energy_expire,
        }
    }

    /// An endpoint joins.
    pub fn add(&mut self, endpoint: EndpointKey) {
        if let Err(at) = self.find(endpoint) {
            self.energies.insert(at, (endpoint, 0));
        }
    }

    /// An endpoint leaves.
    pub fn remove(&mut self, endpoint: EndpointKey) {
        if let Ok(at) = self.find(endpoint) {
            self.energies.remove(at);
        }
        self.ranking.retain(|ranked| ranked.endpoint != endpoint);
    }

    /// Takes a level and the endpoint's minimum, as returned by
    /// [`super::DominantSpeaker::on_level`]. Returns the endpoint's rank: 0 = loudest, `num_loudest` =
    /// not among the loudest.
    pub fn on_level(&mut self, now: Time, endpoint: EndpointKey, level: u8, minimum: u8) -> usize {
        let Ok(at) = self.find(endpoint) else {
            return self.places;
        };
        let Some((_, energy)) = self.energies.get_mut(at) else {
            return self.places;
        };
        let speech = if level < minimum.saturating_add(ABOVE_MINIMUM) {
            0
        } else {
            u32::from(level)
        };
        *energy = (self.alpha * speech + (100 - self.alpha) * *energy + 50) / 100;
        let energy = *energy;

        let expire = self.expire;
        self.ranking
            .retain(|ranked| ranked.endpoint != endpoint && now.since(ranked.heard) <= expire);
        let rank = self
            .ranking
            .iter()
            .take_while(|ranked| ranked.energy >= energy)
            .count();
        if rank < self.places {
            self.ranking.truncate(self.places - 1);
            self.ranking.insert(
                rank,
                Ranked {
                    endpoint,
                    energy,
                    heard: now,
                },
            );
        }
        rank
    }

    fn find(&self, endpoint: EndpointKey) -> Result<usize, usize> {
        self.energies
            .binary_search_by_key(&endpoint, |(known, _)| *known)
    }
}

/// Whether an audio packet is forwarded at all: `rank` from [`Loudness::on_level`], `dominant` = of the
/// dominant speaker, `explicit` = some receiver's subscription includes the source by name.
pub fn is_routed(
    config: &AudioConfig,
    rank: usize,
    dominant: bool,
    explicit: bool,
    synthetic: bool,
) -> bool {
    !config.route_loudest_only
        || rank < config.num_loudest
        || (dominant && config.always_route_dominant)
        || explicit
        || synthetic
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: EndpointKey = EndpointKey(1);
    const B: EndpointKey = EndpointKey(2);
    const C: EndpointKey = EndpointKey(3);
    const D: EndpointKey = EndpointKey(4);
    const MINIMUM: u8 = 10;

    fn config() -> AudioConfig {
        AudioConfig {
            route_loudest_only: true,
            num_loudest: 2,
            ..AudioConfig::default()
        }
    }

    fn loudness() -> Loudness {
        let mut loudness = Loudness::new(&config());
        [A, B, C, D]
            .into_iter()
            .for_each(|endpoint| loudness.add(endpoint));
        loudness
    }

    /// Lets everybody talk at these levels until the ranking has settled.
    fn settle(loudness: &mut Loudness, from: Time, levels: [u8; 4]) -> ([usize; 4], Time) {
        let mut now = from;
        let mut ranks = [0; 4];
        for _ in 0..20 {
            now += Duration::from_millis(20);
            for (rank, (endpoint, level)) in
                ranks.iter_mut().zip([A, B, C, D].into_iter().zip(levels))
            {
                *rank = loudness.on_level(now, endpoint, level, MINIMUM);
            }
        }
        (ranks, now)
    }

    #[test]
    fn allocation_case_52_the_two_loudest_of_four_are_routed() {
        let mut loudness = loudness();
        let (ranks, _) = settle(&mut loudness, Time::ZERO, [100, 90, 80, 70]);
        assert_eq!(ranks, [0, 1, 2, 2]);

        let routed = |config: &AudioConfig, rank, dominant, explicit, synthetic| {
            is_routed(config, rank, dominant, explicit, synthetic)
        };
        let config = config();
        assert!(routed(&config, 1, false, false, false));
        assert!(!routed(&config, 2, false, false, false));
        assert!(routed(&config, 2, true, false, false), "d is dominant");
        let strict = AudioConfig {
            always_route_dominant: false,
            ..config.clone()
        };
        assert!(!routed(&strict, 2, true, false, false));
        assert!(
            routed(&config, 2, false, true, false),
            "somebody includes c-a0"
        );
        assert!(routed(&config, 2, false, false, true), "synthetic");
        assert!(
            routed(&AudioConfig::default(), 3, false, false, false),
            "everything is routed"
        );
    }

    #[test]
    fn a_dip_does_not_lose_the_place_at_once_but_silence_does() {
        let mut loudness = loudness();
        let (_, now) = settle(&mut loudness, Time::ZERO, [100, 90, 60, 50]);
        assert_eq!(
            loudness.on_level(now, A, 10, MINIMUM),
            1,
            "half the energy is left"
        );
        let (ranks, _) = settle(&mut loudness, now, [10, 90, 60, 50]);
        assert_eq!(ranks, [2, 0, 1, 2]);
    }

    #[test]
    fn a_place_expires() {
        let mut loudness = loudness();
        let (_, now) = settle(&mut loudness, Time::ZERO, [100, 90, 80, 0]);
        let soon = now + Duration::from_millis(150);
        assert_eq!(loudness.on_level(soon, C, 80, MINIMUM), 2);
        let late = now + Duration::from_millis(151);
        assert_eq!(loudness.on_level(late, C, 80, MINIMUM), 0);
    }

    #[test]
    fn who_left_has_no_place() {
        let mut loudness = loudness();
        let (_, now) = settle(&mut loudness, Time::ZERO, [100, 90, 80, 70]);
        loudness.remove(A);
        assert_eq!(loudness.on_level(now, C, 80, MINIMUM), 1);
        assert_eq!(loudness.on_level(now, A, 100, MINIMUM), 2, "a late packet");
    }

    #[test]
    fn without_places_nobody_is_ranked() {
        let mut loudness = Loudness::new(&AudioConfig {
            num_loudest: 0,
            ..config()
        });
        loudness.add(A);
        assert_eq!(loudness.on_level(Time::ZERO, A, 100, MINIMUM), 0);
        assert!(!is_routed(
            &AudioConfig {
                num_loudest: 0,
                ..config()
            },
            0,
            false,
            false,
            false
        ));
    }
}
