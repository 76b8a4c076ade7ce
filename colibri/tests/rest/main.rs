//! The REST interface against a real control plane, without network.

mod cases;
mod operation;
mod properties;
mod recorded;
mod statistics;
mod world;
