//! Which layers of a source come into question for a receiver (allocation spec §7.3).

use std::ops::Range;

use super::{LayerView, SourceView};
use crate::config::AllocationConfig;
use crate::units::Bitrate;

/// Above this height a camera is considered to be watched rather than shown as a thumbnail.
const THUMBNAIL_HEIGHT: i32 = 180;

/// A source's candidates: a range of the allocator's buffer, worst first.
#[derive(Clone, Debug)]
pub(super) struct Candidates {
    pub(super) range: Range<usize>,
    /// Last candidate, from the range's start, that an on-stage source should reach before others get
    /// anything.
    pub(super) preferred: Option<usize>,
    /// Last candidate that may be reached by oversending.
    pub(super) oversend: Option<usize>,
    /// Index of the best layer that is being sent, whether it comes into question or not.
    pub(super) best: Option<i32>,
}

/// Appends the candidates of `source` to `buffer`.
pub(super) fn find(
    config: &AllocationConfig,
    source: &SourceView,
    max_height: i32,
    on_stage: bool,
    buffer: &mut Vec<LayerView>,
) -> Candidates {
    let start = buffer.len();
    let mut candidates = Candidates {
        range: start..start,
        preferred: None,
        oversend: None,
        best: None,
    };
    if max_height == 0 || !source.video_type.is_enabled() {
        return candidates;
    }
    // Layers that send nothing are no choice, except as long as none does.
    let active = source.layers.iter().filter(|layer| is_active(layer));
    candidates.best = active.map(|layer| layer.index).max();
    let any_active = candidates.best.is_some();
    let usable = |layer: &&LayerView| !any_active || is_active(layer);
    if source.video_type.is_desktop() {
        let layers = source.layers.iter().filter(usable);
        screen(layers, max_height, on_stage, buffer);
        let kept = sorted(buffer, start);
        candidates.preferred = kept.len().checked_sub(1);
        if on_stage && config.allow_oversend_onstage {
            candidates.oversend = cheapest_of_greatest_height(kept);
        }
    } else {
        let preferred_height = camera(config, source.layers, usable, max_height, buffer);
        let kept = sorted(buffer, start);
        candidates.preferred = kept
            .iter()
            .rposition(|layer| layer.height <= preferred_height);
    }
    candidates.range.end = buffer.len();
    candidates
}

fn is_active(layer: &LayerView) -> bool {
    layer.bitrate > Bitrate::ZERO
}

fn within(height: i32, max_height: i32) -> bool {
    max_height < 0 || height <= max_height
}

/// The layers kept for one source, sorted by index: temporal layers that were discovered late stand at
/// the end of a source's list, but a candidate must be better than those before it.
fn sorted(buffer: &mut [LayerView], start: usize) -> &[LayerView] {
    let kept = buffer.get_mut(start..).unwrap_or_default();
    kept.sort_unstable_by_key(|layer| layer.index);
    kept
}

/// Cameras prefer frame rate over resolution once they have the preferred height. Returns that height.
fn camera<'a>(
    config: &AllocationConfig,
    layers: &'a [LayerView],
    usable: impl Fn(&&'a LayerView) -> bool,
    max_height: i32,
    buffer: &mut Vec<LayerView>,
) -> i32 {
    let min_height = layers.iter().map(|layer| layer.height).min().unwrap_or(-1);
    let max_rate = layers
        .iter()
        .map(|layer| layer.frame_rate)
        .fold(-1.0, f64::max);
    let (preferred_height, preferred_rate) =
        if within(THUMBNAIL_HEIGHT, max_height) && max_height != THUMBNAIL_HEIGHT {
            (
                config.onstage_preferred_height,
                config.onstage_preferred_framerate,
            )
        } else {
            (-1, -1.0)
        };
    let rate_needed = if max_rate > 0.0 {
        preferred_rate.min(max_rate)
    } else {
        preferred_rate
    };
    buffer.extend(layers.iter().filter(usable).filter(|layer| {
        layer.height < preferred_height
            || (within(layer.height, max_height)
                && (layer.frame_rate < 0.0 || layer.frame_rate >= rate_needed))
            || layer.height == min_height
    }));
    preferred_height.max(min_height)
}

/// Screens prefer resolution over frame rate.
fn screen<'a>(
    layers: impl Iterator<Item = &'a LayerView> + Clone,
    max_height: i32,
    on_stage: bool,
    buffer: &mut Vec<LayerView>,
) {
    let start = buffer.len();
    buffer.extend(
        layers
            .clone()
            .filter(|layer| within(layer.height, max_height)),
    );
    if buffer.len() > start {
        return;
    }
    // Nothing fits: better a picture that is too large than none.
    let Some(min_height) = layers.clone().map(|layer| layer.height).min() else {
        return;
    };
    buffer.extend(layers.filter(|layer| layer.height == min_height));
    let unknown_rate = buffer
        .get(start)
        .is_some_and(|layer| layer.frame_rate < 0.0);
    if unknown_rate && !on_stage {
        // Spatial layers of one size (VP9 screen sharing): the higher ones only cost more.
        buffer.truncate(start + 1);
    }
}

fn cheapest_of_greatest_height(kept: &[LayerView]) -> Option<usize> {
    let greatest = kept.iter().map(|layer| layer.height).max()?;
    let tallest = kept
        .iter()
        .enumerate()
        .filter(|(_, layer)| layer.height == greatest);
    tallest
        .min_by_key(|(_, layer)| layer.bitrate)
        .map(|(at, _)| at)
}
