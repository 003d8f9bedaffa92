//! corepulse.
fn main() {}
