//! Bandwidth allocation: who gets what.
