//! Causeway: a selective forwarding unit that drops in for Jitsi Videobridge.

#[allow(dead_code)]
mod demo;

fn main() {}
