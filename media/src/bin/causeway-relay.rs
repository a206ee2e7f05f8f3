//! The stand-alone relay.
fn main() {}
