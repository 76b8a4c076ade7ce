//! Congestion control towards one receiver.
