//! Loss that is a property of the path: it does not shrink when the rate does.
//!
//! libwebrtc allows for an inherent loss of 5 %, more at low rates only, so that a radio link with a loss of 15 % gets 1 Mbit/s,
//! whatever it carries. But a bottleneck that drops what is beyond it drops nothing at a rate below it. So when loss
//! limits the rate and goes on at a lower one, with no queue anywhere, it is left out of the account.

/// kB at a lower rate that are needed for a verdict.
const VERDICT: f64 = 200.0;
/// Loss that may be taken for a property of the path.
const MAX: f64 = 0.3;
/// Weight of mean loss in it, if that is less …
const FALL: f64 = 0.05;
/// … and if it is more.
const RISE: f64 = 0.002;

/// What loss was when it began to limit the rate, and what it is since the rate is lower.
#[derive(Debug)]
struct Trial {
    /// kbit/s.
    rate: f64,
    loss: f64,
    /// kB sent at a lower rate, those of them that did not arrive, and those that a bottleneck would have dropped.
    size: f64,
    lost: f64,
    expected: f64,
}

/// The loss of a path.
#[derive(Debug, Default)]
pub(super) struct PathLoss {
    loss: f64,
    trial: Option<Trial>,
}

impl PathLoss {
    /// Of `size` kB, sent at `rate` kbit/s, `lost` did not arrive. `usual_rate` and `mean_loss` are those of the last seconds; `unexplained`
    /// tells that loss is high, and no queue is to be seen.
    pub(super) fn observe(
        &mut self,
        (rate, size, lost): (f64, f64, f64),
        usual_rate: f64,
        mean_loss: f64,
        unexplained: bool,
    ) {
        if self.loss > 0.0 {
            let weight = if mean_loss < self.loss { FALL } else { RISE };
            self.loss += (mean_loss.min(MAX) - self.loss) * weight;
        }
        if !unexplained || mean_loss > MAX {
            self.trial = None;
            return;
        }
        let start = Trial {
            rate: usual_rate,
            loss: mean_loss,
            size: 0.0,
            lost: 0.0,
            expected: 0.0,
        };
        let trial = match &mut self.trial {
            Some(trial) if usual_rate <= trial.rate => trial,
            trial => trial.insert(start),
        };
        if rate > trial.rate * (1.0 - trial.loss / 2.0) {
            return;
        }
        trial.size += size;
        trial.lost += lost;
        trial.expected += size * (1.0 - (1.0 - trial.loss) * trial.rate / rate.max(1.0)).max(0.0);
        if trial.size < VERDICT {
            return;
        }
        let (loss, by_bottleneck) = (trial.lost / trial.size, trial.expected / trial.size);
        if loss > (trial.loss + by_bottleneck) / 2.0 {
            self.loss = self.loss.max(loss.min(MAX));
        }
        self.trial = None;
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
            path.observe((*rate, size, size * loss), *rate, loss, true);
        }
    }

    #[test]
    fn loss_that_stays_at_a_lower_rate_is_the_paths_own_and_follows_it() {
        let mut path = PathLoss::default();
        observe(&mut path, &[2_000.0], |_| 0.12);
        assert_eq!(path.loss(), 0.0);
        observe(&mut path, &[1_700.0; 5], |_| 0.12);
        assert!((path.loss() - 0.12).abs() < 0.001, "{}", path.loss());
        observe(&mut path, &[1_700.0; 100], |_| 0.0);
        assert!(path.loss() < 0.01, "{}", path.loss());
    }

    #[test]
    fn what_a_bottleneck_drops_is_not() {
        for bottleneck in [500.0, 1_500.0, 1_800.0] {
            let mut path = PathLoss::default();
            let falling: Vec<f64> = (0..40)
                .map(|step| 2_000.0 * 0.97f64.powi(step))
                .collect();
            observe(&mut path, &falling, |rate| (1.0 - bottleneck / rate).max(0.0));
            assert!(path.loss() < 0.01, "{bottleneck}: {}", path.loss());
        }
    }

    #[test]
    fn a_queue_or_heavy_loss_ends_the_comparison() {
        let mut path = PathLoss::default();
        observe(&mut path, &[2_000.0], |_| 0.12);
        path.observe((1_700.0, 50.0, 6.0), 1_700.0, 0.12, false);
        observe(&mut path, &[1_700.0; 5], |_| 0.12);
        assert_eq!(path.loss(), 0.0);
        observe(&mut path, &[1_000.0; 5], |_| 0.5);
        observe(&mut path, &[500.0; 50], |_| 0.5);
        assert_eq!(path.loss(), 0.0);
    }
}
