//! How a browser shares what its uplink carries among the layers of a picture.

use super::formats::Layer;

/// A layer that is not sent needs this many times its least rate to begin (libwebrtc: hysteresis of simulcast).
const BEGINS_AT: f64 = 1.2;

/// Bits per second of a layer that has all that it wants.
pub fn wanted(layer: &Layer, frames_per_second: u32) -> f64 {
    f64::from(layer.packets) * f64::from(layer.len) * 8.0 * f64::from(frames_per_second)
}

/// The least that a picture of this height is sent with, bits per second (libwebrtc, `video/config/simulcast.cc`).
fn least(height: u16) -> f64 {
    match height {
        0..=180 => 30_000.0,
        181..=360 => 150_000.0,
        _ => 600_000.0,
    }
}

/// Shares `budget` bits per second among layers, lowest first: each gets what it wants before the next one begins. Returns the
/// share of what it wants for each layer, 0 = it is not sent; the lowest one always is. `active` says how many are sent now; further
/// ones begin only if `steady` suffices, the least budget of some seconds.
pub fn share(
    layers: &[Layer],
    frames_per_second: u32,
    active: usize,
    budget: f64,
    steady: f64,
) -> Vec<f64> {
    let unsteady = (budget - steady).max(0.0);
    let mut left = budget;
    let mut shares = Vec::with_capacity(layers.len());
    for (number, layer) in layers.iter().enumerate() {
        let (wanted, least) = (wanted(layer, frames_per_second), least(layer.height));
        let needed = if number < active {
            least
        } else {
            BEGINS_AT * least + unsteady
        };
        if number > 0 && left < needed {
            break;
        }
        let given = left.clamp(least.min(wanted), wanted);
        shares.push(given / wanted);
        left -= given;
    }
    shares.resize(layers.len(), 0.0);
    shares
}

#[cfg(test)]
mod tests {
    use super::super::codec::Codec;
    use super::super::formats::Picture;
    use super::*;

    fn shared(budget: f64, active: usize) -> Vec<u32> {
        shared_while(budget, budget, active)
    }

    fn shared_while(budget: f64, steady: f64, active: usize) -> Vec<u32> {
        let picture = Picture::camera(Codec::Vp8);
        let shares = share(
            &picture.layers,
            picture.frames_per_second,
            active,
            budget,
            steady,
        );
        shares
            .into_iter()
            .map(|share| (100.0 * share) as u32)
            .collect()
    }

    #[test]
    fn lower_layers_come_first_and_higher_ones_need_a_margin_to_begin() {
        assert_eq!(shared(10_000.0, 3), [20, 0, 0], "never less than the least");
        assert_eq!(shared(300_000.0, 3), [100, 32, 0]);
        assert_eq!(shared(300_000.0, 1), [100, 0, 0]);
        assert_eq!(shared(1_250_000.0, 3), [100, 100, 31]);
        assert_eq!(shared(1_250_000.0, 2), [100, 100, 0]);
        assert_eq!(shared(9_000_000.0, 2), [100, 100, 100]);
    }

    #[test]
    fn a_rise_that_does_not_last_begins_nothing() {
        assert_eq!(shared_while(400_000.0, 300_000.0, 1), [100, 0, 0]);
        assert_eq!(shared_while(400_000.0, 300_000.0, 2), [100, 53, 0]);
    }
}
