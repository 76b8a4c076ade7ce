//! Sockets, clocks, threads, rings.
