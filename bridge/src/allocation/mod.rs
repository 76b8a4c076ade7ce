//! Bandwidth allocation: which video sources a receiver gets, and in which layer (allocation spec).
//!
//! Pure decisions: [`Allocator`] takes a receiver's [`ReceiverSettings`], the conference's sources in
//! the endpoint order and the bandwidth, and says per source which layer to forward. Around it:
//! [`SpeechOrder`] makes the endpoint order, [`SenderConstraints`] turns what receivers want into what
//! senders are told, and [`EstimateTrigger`] and [`PeriodicTrigger`] say when to run. Nothing here knows
//! packets; bitrates come from the receive side, decisions go to the projections.

mod allocator;
mod candidates;
mod damper;
mod last_n;
mod layers;
mod order;
mod reason;
mod senders;
mod settings;
mod triggers;

pub use allocator::{Allocation, AllocationChanges, Allocator, Entry, allocate};
pub use damper::Damper;
pub use last_n::{LastNReducer, ReducerConfig, conference_size_limit, effective_last_n};
pub use layers::{
    LayerView, SUSPENDED, encoding_of, initial_layers, layer_index, picture_height, spatial_of,
    temporal_of,
};
pub use order::{OrderChanges, SpeechOrder, video_available};
pub use reason::Reason;
pub use senders::SenderConstraints;
pub use settings::{Priority, ReceiverSettings};
pub use triggers::{EstimateTrigger, PeriodicTrigger, usable_bandwidth};

use crate::ids::{EndpointKey, SourceKey, SourceName};
use crate::media::VideoType;

/// A video source as the allocator sees it.
#[derive(Clone, Copy, Debug)]
pub struct SourceView<'a> {
    /// Which.
    pub key: SourceKey,
    /// Its name, which settings refer to.
    pub name: &'a SourceName,
    /// Whose.
    pub owner: EndpointKey,
    /// What it shows.
    pub video_type: VideoType,
    /// Its layers with their current bitrates.
    pub layers: &'a [LayerView],
}

#[cfg(test)]
mod testing;
