//! States that a server is brought into before it is measured, and the memory that they take.

use crate::devices::Devices;
use crate::drive::drive;
use crate::generator::number;
use crate::generator::{Generator, HOST, Load, now_ms};
use crate::scenario::Scenario;
use crate::traffic::Traffic;
use serde::Serialize;
use std::net::SocketAddr;
use testkit::usage::Usage;
use testkit::{Exposition, HttpClient};

/// The server's `--window`, unless it is told another.
const WINDOW: u64 = 50;

const EVENTS_PER_TURN: u64 = 1000;

/// Devices that fill the store.
const FEW: u32 = 1000;

/// Drives of a second until a state has been reached; more, and it never is.
const DRIVES_MAX: usize = 600;

/// Memory that a number of things takes.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    server: String,
    of: &'static str,
    count: u64,
    grown_bytes: u64,
    bytes_each: f64,
}

impl Memory {
    fn new(server: &str, of: &'static str, count: u32, before: &Usage, after: &Usage) -> Self {
        let grown_bytes = after.resident_bytes.saturating_sub(before.resident_bytes);
        let (server, count) = (server.to_owned(), u64::from(count));
        Self { server, of, count, grown_bytes, bytes_each: number(grown_bytes) / number(count) }
    }

    /// Returns a line for people.
    pub fn text(&self) -> String {
        let Self { server, of, count, bytes_each, .. } = self;
        format!("{server}: {count} {of}, {bytes_each:.0} bytes resident each")
    }
}

/// Has a few devices post until the store lets go of what is oldest, so that it grows no more; then
/// fills the windows of all. Returns what those that came take.
pub fn fill_windows(
    generator: &Generator,
    address: SocketAddr,
    (label, id): (&str, u32),
    load: &Load,
    writes: bool,
) -> Result<Option<Memory>, String> {
    let base = Load { scenario: Scenario::Ndjson, seconds: 1, connections: 2, threads: 1, ..*load };
    let sum = |name: &str| Exposition::scrape(address).sum(name);
    let drive_until = |load: Load, is_done: &dyn Fn(u64) -> bool| {
        let mut position = 0;
        for _ in 0..DRIVES_MAX {
            drive(generator, address, &load, &mut position)?;
            if is_done(position * EVENTS_PER_TURN) {
                return Ok(());
            }
        }
        Err("the store or the windows are never full".to_owned())
    };
    let all = load.devices.count;
    let few = Devices { count: all.min(FEW), ..load.devices };
    // What Redis keeps does not grow this process.
    let is_full = |_| writes || sum("corepulse_store_evicted_total") > 0.0;
    drive_until(Load { devices: few, ..base }, &is_full)?;
    let before = Usage::of(id)?;
    // What is under way at the end of a drive is lost: two rounds more than a window has.
    let events = u64::from(all) * (WINDOW + 2);
    drive_until(base, &|sent| sent >= events)?;
    let (held, after) = (sum("corepulse_devices"), Usage::of(id)?);
    if held < f64::from(all) {
        return Err(format!("{held} of {all} devices are held: see --max-devices"));
    }
    let came = all - few.count;
    let memory = || Memory::new(label, "devices with full windows", came, &before, &after);
    Ok((came > 0).then(memory))
}

/// Opens connections that each post once and are idle then. The metrics take memory as well, so as
/// many are posted over one connection before.
pub fn open_idle(
    address: SocketAddr,
    (label, id): (&str, u32),
    count: u32,
) -> Result<(Vec<HttpClient>, [Memory; 2]), String> {
    let mut traffic = Traffic::new(Scenario::Single, HOST, now_ms());
    let mut request = Vec::new();
    let mut post = |client: &mut HttpClient| {
        traffic.next_turn(&mut request);
        let answer = client.request(&request);
        if answer.status == 202 { Ok(()) } else { Err(format!("{answer:?}")) }
    };
    let started = Usage::of(id)?;
    let mut one = HttpClient::connect(address);
    (0..count).try_for_each(|_| post(&mut one))?;
    let before = Usage::of(id)?;
    let mut open = Vec::new();
    for _ in 0..count {
        let mut client = HttpClient::connect(address);
        post(&mut client)?;
        open.push(client);
    }
    let after = Usage::of(id)?;
    let of_metrics = Memory::new(label, "metrics over one connection", count, &started, &before);
    let of_all = Memory::new(label, "idle connections, a metric each", count, &before, &after);
    Ok((open, [of_metrics, of_all]))
}
