//! The REST interface against a real control plane, without network.

mod cases;
mod properties;
mod recorded;
mod world;
