//! The generator against the floor: every request of every scenario is answered and counted.

use clap::ValueEnum as _;
use corepulse_perf::generator::drive;
use corepulse_perf::scenario::Scenario;
use corepulse_perf::server::{Kind, Server};
use corepulse_perf::usage::Usage;
use std::path::Path;
use std::time::Duration;

#[test]
fn the_floor_answers_every_request_once() {
    let folder = Path::new(env!("CARGO_BIN_EXE_floor")).parent().unwrap();
    let server = Server::start(Kind::Floor, folder, None).unwrap();
    for &scenario in Scenario::value_variants() {
        let outcome = drive(server.address, scenario, 8, Duration::from_millis(100)).unwrap();
        assert!(outcome.requests >= 8, "{}: {outcome:?}", scenario.name());
        assert_eq!(outcome.accepted, outcome.requests, "{}", scenario.name());
    }
    assert!(Usage::of(server.id()).unwrap().cpu > Duration::ZERO);
}
