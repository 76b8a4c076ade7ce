//! The REST and XMPP interfaces against a real control plane, without network.

mod access;
mod cases;
mod connects;
mod operation;
mod properties;
mod recorded;
mod stanzas;
mod statistics;
mod world;
