//! Emulation of networks in simulated time, for tests.

pub mod link;

#[cfg(test)]
mod tests;
