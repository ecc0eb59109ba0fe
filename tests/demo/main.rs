//! Shows sluice at work.
fn main() {}
