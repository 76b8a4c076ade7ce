//! Loss that is a property of the path: it does not shrink when the rate does.
//!
//! libwebrtc allows for an inherent loss of 5 %, more at low rates only, so that a radio link with a loss of 15 % gets 1 Mbit/s,
//! whatever it carries. But a bottleneck that drops what is beyond it drops nothing at a rate below it. So when loss
//! limits the rate and goes on at a lower one, with no queue anywhere, it is left out of the account.

/// Rates are told apart by this factor, from [`LEAST`] kbit/s on, and this many.
const STEP: f32 = 1.15;
const LEAST: f32 = 100.0;
const BINS: usize = 32;
/// kB at each of the two rates that are needed for a verdict.
const VERDICT: f32 = 120.0;
/// The lower rate is at most this share of the higher one.
const LOWER: f32 = 0.85;
/// What is known becomes less by this factor with each observation: the path may change.
const MEMORY: f32 = 0.98;
/// Loss that may be taken for a property of the path.
const MAX: f32 = 0.3;
/// Loss may be this share higher at the lower rate, by chance.
const TOLERANCE: f32 = 0.3;
/// Weight of mean loss in it, if that is less …
const FALL: f64 = 0.05;
/// … and if it is more.
const RISE: f64 = 0.002;

/// What was sent at about one rate, in kB.
#[derive(Clone, Copy, Default, Debug)]
struct Sent {
    size: f32,
    lost: f32,
    /// Size by rate in kbit/s.
    weighted: f32,
}

impl Sent {
    fn loss(&self) -> f32 {
        self.lost / self.size.max(1.0)
    }

    fn rate(&self) -> f32 {
        self.weighted / self.size.max(1.0)
    }
}

/// The loss of a path.
#[derive(Default, Debug)]
pub(super) struct PathLoss {
    loss: f64,
    bins: [Sent; BINS],
}

impl PathLoss {
    /// Of `size` kB, sent at `rate` kbit/s, `lost` did not arrive. `mean_loss` is that of the last seconds; `unexplained` tells that it is
    /// high, and no queue is to be seen.
    pub(super) fn observe(
        &mut self,
        (rate, size, lost): (f64, f64, f64),
        mean_loss: f64,
        unexplained: bool,
    ) {
        if self.loss > 0.0 {
            let weight = if mean_loss < self.loss { FALL } else { RISE };
            self.loss += (mean_loss.min(MAX.into()) - self.loss) * weight;
        }
        if !unexplained {
            self.bins = Default::default();
            return;
        }
        for bin in &mut self.bins {
            bin.size *= MEMORY;
            bin.lost *= MEMORY;
            bin.weighted *= MEMORY;
        }
        let place = (rate as f32 / LEAST).max(1.0).log(STEP) as usize;
        let bin = &mut self.bins[place.min(BINS - 1)];
        bin.size += size as f32;
        bin.lost += lost as f32;
        bin.weighted += (size * rate) as f32;
        if let Some(loss) = self.verdict() {
            self.loss = self.loss.max(loss.into());
        }
    }

    /// What the path loses at the lowest and the highest rate, if that makes no difference.
    fn verdict(&self) -> Option<f32> {
        let mut known = self.bins.iter().filter(|bin| bin.size >= VERDICT);
        let low = known.next()?;
        let high = known.next_back()?;
        if low.rate() > LOWER * high.rate() {
            return None;
        }
        let (before, loss) = (high.loss(), low.loss());
        let by_bottleneck = 1.0 - (1.0 - before) * high.rate() / low.rate().max(1.0);
        let least = (before + by_bottleneck.max(0.0)) / 2.0;
        // More loss at a lower rate than before tells of another path.
        let most = before * (1.0 + TOLERANCE);
        (loss > least && loss < most && loss < MAX).then_some(loss)
    }

    /// Share of the packets, whatever is sent; 0 = none is known of.
    pub(super) fn loss(&self) -> f64 {
        self.loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Observations at `rates`, in kbit/s, of a quarter of a second each.
    fn observe(path: &mut PathLoss, rates: &[f64], loss: impl Fn(f64) -> f64) {
        for rate in rates {
            let (size, loss) = (rate / 32.0, loss(*rate));
            path.observe((*rate, size, size * loss), loss, true);
        }
    }

    #[test]
    fn loss_that_stays_at_a_lower_rate_is_the_paths_own_and_follows_it() {
        let mut path = PathLoss::default();
        observe(&mut path, &[2_000.0; 4], |_| 0.12);
        assert_eq!(path.loss(), 0.0);
        observe(&mut path, &[1_600.0; 5], |_| 0.12);
        assert!((path.loss() - 0.12).abs() < 0.001, "{}", path.loss());
        observe(&mut path, &[1_600.0; 100], |_| 0.0);
        assert!(path.loss() < 0.01, "{}", path.loss());
    }

    #[test]
    fn what_a_bottleneck_drops_is_not() {
        for bottleneck in [500.0, 1_500.0, 1_800.0] {
            let mut path = PathLoss::default();
            let falling: Vec<f64> = (0..40).map(|step| 2_000.0 * 0.97f64.powi(step)).collect();
            observe(&mut path, &falling, |rate| {
                (1.0 - bottleneck / rate).max(0.0)
            });
            assert!(path.loss() < 0.01, "{bottleneck}: {}", path.loss());
        }
    }

    #[test]
    fn a_bottleneck_that_appears_is_not() {
        let mut path = PathLoss::default();
        // Mean loss lags behind.
        for mean_loss in [0.06, 0.12] {
            path.observe((3_000.0, 90.0, 60.0), mean_loss, true);
        }
        for mean_loss in [0.2, 0.25, 0.25] {
            path.observe((1_200.0, 60.0, 10.0), mean_loss, true);
        }
        assert_eq!(path.loss(), 0.0);
    }

    #[test]
    fn a_queue_or_heavy_loss_ends_the_comparison() {
        let mut path = PathLoss::default();
        observe(&mut path, &[2_000.0; 4], |_| 0.12);
        path.observe((1_700.0, 50.0, 6.0), 0.12, false);
        observe(&mut path, &[1_600.0; 5], |_| 0.12);
        assert_eq!(path.loss(), 0.0);
        observe(&mut path, &[1_000.0; 5], |_| 0.5);
        observe(&mut path, &[500.0; 50], |_| 0.5);
        assert_eq!(path.loss(), 0.0);
    }
}
