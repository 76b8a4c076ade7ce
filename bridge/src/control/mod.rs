//! The control plane: the model of conferences and endpoints, and everything that signaling asks of it.
//!
//! [`Control`] is a plain state machine behind one lock that workers never take: the daemon calls it for
//! requests, one thread feeds it [`crate::messages::Event`]s, and what it wants done comes out of
//! [`Control::poll_output`].

pub mod api;
