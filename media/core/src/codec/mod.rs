//! What one end calls otherwise than the other: conversions between codecs.

pub mod g711;
