//! Colibri2: how a conference focus, or any HTTP client, controls the bridge.
//!
//! [`model`] has the request and its answer as types, independent of how they are written; [`json`] and
//! [`xml`] read and write their two forms; [`handler`] carries a request out on the bridge's control plane; [`rest`]
//! offers all of that over HTTP, with the resources for operators beside it, and [`iq`] over XMPP.

mod connect;
pub mod handler;
pub mod iq;
pub mod json;
pub mod model;
mod parts;
pub mod rest;
pub mod statistics;
pub mod xml;

pub use handler::{Error, Handler, HandlerOptions, ServiceState, WebsocketUrls};
pub use iq::IqService;
pub use parts::ParseError;
pub use rest::{Health, MucClients, Process, RestOptions, router};
pub use statistics::{ProcessFacts, Statistics};
