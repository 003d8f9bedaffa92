//! A second root, and one without a row.
use corepulse::Route;
fn main() {}
