//! From several incoming encodings to one outgoing stream.
