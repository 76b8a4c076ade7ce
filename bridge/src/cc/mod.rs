//! Congestion control towards one receiver.
//!
//! [`SendSideEstimator`] is Google congestion control as libwebrtc has it today:
//! feedback about sent packets (`history`) goes through a delay detector (`delay`) that steers an
//! increase/decrease rate control (`rate_control`); loss bounds the result by a model of the path (`loss`, `path_loss`; `reported_loss` where
//! only reports tell of it); probe
//! clusters (`probe`) find out quickly about more. Constants are those of the media-plane spec
//! §2.22 and §2.23, which are libwebrtc's at M138, unless another source is given.
//!
//! Data flow: the worker calls [`SendSideEstimator::on_sent`] for each packet in the moment that it is
//! sent, hands in feedback, and reads [`SendSideEstimator::estimate`]. [`SendSideEstimator::poll_probe`]
//! and [`SendSideEstimator::poll_padding`] tell how many bytes of RTX or padding to send. What to send
//! instead is the allocator's matter, which tells its wishes by [`SendSideEstimator::set_demand`]. [`Pacer`] spreads bursts of video at
//! [`SendSideEstimator::pacing_rate`].
//!
//! In the other direction, [`ReceiveSideEstimator`] finds out for senders that can not do that themselves.

mod acked;
mod app_limited;
mod delay;
mod estimator;
mod history;
mod loss;
mod pacer;
mod path_loss;
mod probe;
mod rate_control;
mod receive_side;
mod reported_loss;
#[cfg(test)]
mod scenarios;

pub use estimator::{Mechanism, SendSideEstimator};
pub use pacer::Pacer;
pub use probe::{ClusterId, ProbeBurst};
pub use receive_side::ReceiveSideEstimator;
