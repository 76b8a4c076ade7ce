//! The sources and settings that the specification's cases speak of.

use super::{LayerView, ReceiverSettings, SourceView, initial_layers};
use crate::channel::{ReceiverVideoConstraints, VideoConstraints};
use crate::config::AllocationConfig;
use crate::ids::{EndpointKey, SourceKey, SourceName};
use crate::media::VideoType;
use crate::units::Bitrate;

/// A `ReceiverVideoConstraints` without any key.
pub fn rvc() -> ReceiverVideoConstraints {
    ReceiverVideoConstraints::default()
}

/// Names from a blank-separated list.
pub fn names(list: &str) -> Vec<SourceName> {
    list.split_whitespace().map(SourceName::from).collect()
}

/// A height constraint.
pub fn height(max_height: i32) -> VideoConstraints {
    VideoConstraints {
        max_height,
        max_frame_rate: -1.0,
    }
}

/// The standard layer set: 180p, 360p and 720p at 7.5, 15 and 30 frames per second.
pub fn std_layers() -> Vec<LayerView> {
    with_bitrates(
        initial_layers(3),
        &[50, 100, 150, 165, 330, 500, 660, 1320, 2000],
    )
}

/// Sets the layers' bitrates in kbit/s.
pub fn with_bitrates(mut layers: Vec<LayerView>, kbps: &[u64]) -> Vec<LayerView> {
    assert_eq!(layers.len(), kbps.len());
    for (layer, kbps) in layers.iter_mut().zip(kbps) {
        layer.bitrate = Bitrate::kbps(*kbps);
    }
    layers
}

/// A source that owns its parts.
#[derive(Clone, Debug)]
pub struct Source {
    pub key: SourceKey,
    pub name: SourceName,
    pub video_type: VideoType,
    pub layers: Vec<LayerView>,
}

impl Source {
    pub fn camera(key: u64, name: &str) -> Source {
        Source {
            key: SourceKey(key),
            name: name.into(),
            video_type: VideoType::Camera,
            layers: std_layers(),
        }
    }

    pub fn view(&self) -> SourceView<'_> {
        SourceView {
            key: self.key,
            name: &self.name,
            owner: EndpointKey(self.key.0),
            video_type: self.video_type,
            layers: &self.layers,
        }
    }
}

/// One receiver and what it may see.
#[derive(Clone, Debug)]
pub struct World {
    pub config: AllocationConfig,
    pub settings: ReceiverSettings,
    pub sources: Vec<Source>,
}

impl World {
    /// Cameras with these names; the receiver has sent `message`.
    pub fn new(cameras: &str, message: ReceiverVideoConstraints) -> World {
        let config = AllocationConfig::default();
        let mut settings = ReceiverSettings::new(&config);
        settings.apply(&message);
        let sources = (1..)
            .zip(cameras.split_whitespace())
            .map(|(key, name)| Source::camera(key, name));
        World {
            config,
            settings,
            sources: sources.collect(),
        }
    }

    pub fn source(&mut self, name: &str) -> &mut Source {
        self.sources
            .iter_mut()
            .find(|source| source.name.as_str() == name)
            .expect("a source")
    }

    pub fn views(&self) -> Vec<SourceView<'_>> {
        self.sources.iter().map(Source::view).collect()
    }
}
