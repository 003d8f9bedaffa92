//! A load offered by several threads, each with its part of the turns and of the connections.

use crate::generator::{Generator, Load};
use crate::pace::Part;
use crate::tally::Tally;
use core_affinity::CoreId;
use indicatif::{ProgressBar, ProgressStyle};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at how far it is: often enough for an eye, too seldom to cost the generator
/// anything that shares its core.
const LOOK: Duration = Duration::from_millis(250);

/// Offers the load with as many threads, pinned to these cores by turns, and shows how far it is,
/// where standard error is a terminal.
///
/// # Errors
///
/// When connections cannot be shared out or opened, or, without a rate, anything goes wrong.
pub fn offer(
    address: SocketAddr,
    load: &Load,
    threads: u32,
    cores: &[CoreId],
    what: &str,
) -> Result<Tally, String> {
    let number = usize::try_from(threads).unwrap_or(usize::MAX).max(1);
    if !load.connections.is_multiple_of(number) {
        let connections = load.connections;
        return Err(format!("{threads} threads cannot share {connections} connections evenly"));
    }
    let parts = (0..threads).map(|number| Part { number, of: threads });
    let mut traffic = vec![load.traffic(address); number];
    // All connections are open before the first turn is due.
    let generators: Vec<Generator<'_>> = parts
        .zip(&mut traffic)
        .map(|(part, traffic)| Generator::open(address, load, part, traffic))
        .collect::<Result<_, _>>()?;
    let answered: Vec<AtomicU64> = generators.iter().map(|_| AtomicU64::new(0)).collect();
    let start = Instant::now();
    thread::scope(|scope| {
        let mut running = Vec::new();
        for (number, (generator, answered)) in generators.into_iter().zip(&answered).enumerate() {
            let core = cores.get(number % cores.len().max(1)).copied();
            let work = move || {
                if core.is_some_and(|core| !core_affinity::set_for_current(core)) {
                    return Err("cannot pin a thread of the generator".to_owned());
                }
                generator.run(start, answered)
            };
            let thread = thread::Builder::new().name(format!("load-{number}"));
            running.push(thread.spawn_scoped(scope, work).map_err(|e| e.to_string())?);
        }
        let bar = bar(load.duration, what);
        while running.iter().any(|thread| !thread.is_finished()) {
            show(&bar, start, &answered);
            thread::park_timeout(LOOK.min(load.duration / 8));
        }
        bar.finish_and_clear();
        let mut whole = Tally::new()?;
        for thread in running {
            let tally = thread.join().map_err(|_| "a thread of the generator panicked")?;
            whole.merge(tally?)?;
        }
        Ok(whole)
    })
}

/// Draws nothing where standard error is no terminal.
fn bar(duration: Duration, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("{prefix} [{bar:30}] {eta} left, {msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_prefix(what.to_owned())
}

fn show(bar: &ProgressBar, start: Instant, answered: &[AtomicU64]) {
    let answered: u64 = answered.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    let elapsed = start.elapsed();
    bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    bar.set_message(format!("{} requests/s answered", answered.saturating_mul(1000) / ms));
}
