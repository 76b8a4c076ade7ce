//! Colibri2: how a conference focus, or any HTTP client, controls the bridge.
//!
//! [`model`] has the request and its answer as types, independent of how they are written; [`json`] reads
//! and writes their JSON form; [`handler`] carries a request out on the bridge's control plane; [`rest`]
//! offers all of that over HTTP, with the resources for operators beside it.

pub mod handler;
pub mod json;
pub mod model;
pub mod rest;
pub mod statistics;

pub use handler::{Error, Handler, HandlerOptions, ServiceState, WebsocketUrls};
pub use rest::{Health, MucClients, Process, RestOptions, router};
pub use statistics::{ProcessFacts, Statistics};
