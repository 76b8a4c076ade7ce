//! Receiving one endpoint's media: sequence, loss, feedback.
//!
//! Everything here sees packets after they were authenticated. Per endpoint transport there is a
//! [`TwccReceiver`], an [`IngressBudget`] and an [`RttEstimator`]; per SSRC an [`IncomingStream`] and, for
//! video, a [`NackGenerator`]; per audio stream an [`AudioGate`]; per video source a [`LayerRates`]; per
//! stream that receivers may want a keyframe of, a [`KeyframeRequester`] at its owner.
//!
//! The way of a packet: [`IngressBudget::admit_video`], [`TwccReceiver::on_packet`],
//! [`IncomingStream::on_rtp`] (RTX: [`unwrap_rtx`], then [`IncomingStream::on_rtx`]),
//! [`NackGenerator::on_received`] with the original index, and then either
//! [`IncomingStream::discard`] or [`IncomingStream::accept`], which gives the index that everything
//! later works with. What is *not* here: payload formats, and who gets a packet.

mod audio;
mod budget;
mod keyframes;
mod loss;
mod nack;
mod rates;
mod rtt;
mod rtx;
mod stream;
mod twcc;

pub use audio::{AudioGate, AudioVerdict};
pub use budget::IngressBudget;
pub use keyframes::KeyframeRequester;
pub use loss::LossWindow;
pub use nack::NackGenerator;
pub use rates::{LayerKey, LayerRates, RateWindow};
pub use rtt::RttEstimator;
pub use rtx::{RtxError, associated_payload_type, unwrap_rtx};
pub use stream::{Arrival, IncomingStream, ReceptionReport};
pub use twcc::TwccReceiver;
