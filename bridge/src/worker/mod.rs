//! The data plane: one worker's endpoints, conferences and the way of a packet through them.

pub mod packet;
