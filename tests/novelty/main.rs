//! The detector of what is new, alone: beside a naive twin, on noise, and against anything.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for; figures are shown on request"
)]

mod hostile;
mod naive;
mod noise;
mod recorded;
#[path = "../../perf/src/nab/series.rs"]
mod series;
