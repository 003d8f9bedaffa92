//! Load on a server: by wrk as much as it answers, by a loop of our own at a fixed rate.
//!
//! [`wrk`] is a closed loop: each connection sends its next turn when all answers to the one before
//! have come. In the [`open_loop`] requests are due at fixed times, and latency counts from then,
//! also where the connections were still waiting for other answers.

pub mod open_loop;
mod wrk;

use crate::generator::{Drive, Generator, Load};
use std::net::SocketAddr;

/// Drives a server. The events go on from `position`, the number of the first turn, which is moved
/// behind the last.
pub fn drive(
    generator: &Generator,
    address: SocketAddr,
    load: &Load,
    position: &mut u64,
) -> Result<Drive, String> {
    match load.rate {
        None => wrk::drive(generator, address, load, position),
        Some(rate) => open_loop::drive(generator, address, load, rate, position),
    }
}
