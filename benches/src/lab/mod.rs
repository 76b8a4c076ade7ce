//! The link lab: a real worker and participants like those of the load generator on emulated links, in simulated time.
//!
//! `world` drives them, `scenarios` says what the links do, `measure` what the receivers got from it, `document` writes
//! `docs/quality.md`. The same seed gives the same run.

pub mod cli;
mod document;
mod measure;
mod rival;
mod scenarios;
mod world;
