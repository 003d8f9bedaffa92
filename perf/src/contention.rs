//! Counts how cores get in each other's way, on whatever machine this is: seats, locks, counters,
//! and whole requests, by 1, 2, 8 and 64 threads.
//!
//! With fewer processors than threads, time says nothing. What is counted is work and waiting: the
//! CPU time of an operation, which grows where a cache line travels or an exchange fails and is
//! done again; locks that were found taken; and switches to another thread because one had to wait
//! for a lock, which the kernel counts (`ru_nvcsw`). In each round every case has its turn with
//! every number of threads.

use crate::contention::cases::{CASES, Case, Done};
use crate::generator::number;
use crate::record::{self, Records};
use crate::summary::Spread;
use clap::Parser;
use nix::sys::resource::{UsageWho, getrusage};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;

mod cases;

/// Counts how cores get in each other's way.
#[derive(Debug, Parser)]
struct Options {
    /// Rounds, in each of which every case has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: u16,
    /// Numbers of threads.
    #[arg(long, value_delimiter = ',', default_value = "1,2,8,64")]
    threads: Vec<usize>,
    /// Operations of a case, over all threads: so many for each nanosecond that one may take.
    #[arg(long, default_value_t = 4_000_000)]
    operations: u64,
    #[command(flatten)]
    records: Records,
}

/// The result of a case with a number of threads, for each operation.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    cpu_ns: f64,
    /// Locks that were found taken, and exchanges that failed.
    failed: f64,
    /// Switches to another thread because this one waited.
    waits: f64,
}

fn measure_case(case: &Case, threads: usize, operations: u64) -> Result<Outcome, String> {
    let each = (operations / case.cost / threads as u64).max(1);
    let start = Barrier::new(threads);
    let work = (case.prepare)(threads);
    let run = |thread: usize| {
        let mut own = work(thread);
        // Warm, and then all at once.
        own(each.div_ceil(8))?;
        start.wait();
        let (cpu, waits) = used()?;
        let done = own(each)?;
        let (cpu_after, waits_after) = used()?;
        Ok::<_, String>((done, cpu_after - cpu, waits_after - waits))
    };
    let all: Vec<_> = thread::scope(|scope| {
        let run = &run;
        let started: Vec<_> = (0..threads).map(|at| scope.spawn(move || run(at))).collect();
        started.into_iter().map(|thread| thread.join().map_err(|_| "panicked")).collect()
    });
    let mut sum = (Done::default(), 0, 0);
    for joined in all {
        let (done, cpu, waits) = joined??;
        sum.0.operations += done.operations;
        sum.0.failed += done.failed;
        (sum.1, sum.2) = (sum.1 + cpu, sum.2 + waits);
    }
    let each = |count| number(count) / number(sum.0.operations.max(1));
    Ok(Outcome { cpu_ns: each(sum.1), failed: each(sum.0.failed), waits: each(sum.2) })
}

/// Returns the nanoseconds of CPU time and the voluntary switches of this thread so far.
fn used() -> Result<(u64, u64), String> {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let [seconds, ns] = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    let usage = getrusage(UsageWho::RUSAGE_THREAD).map_err(|e| e.to_string())?;
    let waits = u64::try_from(usage.voluntary_context_switches()).unwrap_or(0);
    Ok((seconds * 1_000_000_000 + ns, waits))
}

pub fn main() -> ExitCode {
    let options = Options::parse();
    record::end("contention", measure(&options))
}

fn measure(options: &Options) -> Result<(), String> {
    let pairs = || CASES.iter().flat_map(|case| options.threads.iter().map(move |&n| (case, n)));
    let mut rounds: Vec<Vec<Outcome>> = Vec::new();
    for _ in 0..options.rounds {
        let all = pairs().map(|(case, threads)| measure_case(case, threads, options.operations));
        rounds.push(all.collect::<Result<_, _>>()?);
    }
    println!(
        "| case | threads | CPU ns | ratio to the first | found taken, per 1,000 | waits |\n\
         |---|---|---|---|---|---|"
    );
    let count = options.threads.len().max(1);
    for (at, (case, threads)) in pairs().enumerate() {
        let of = |at: usize, value: fn(&Outcome) -> f64| {
            rounds.iter().map(move |round| round.get(at).map_or(f64::NAN, value))
        };
        let alone = of(at / count * count, |outcome| outcome.cpu_ns);
        let ratio = of(at, |outcome| outcome.cpu_ns).zip(alone).map(|(own, alone)| own / alone);
        println!(
            "| {} | {threads} | {} | {} | {} | {} |",
            case.name,
            Spread::of(of(at, |outcome| outcome.cpu_ns)).text(1),
            Spread::of(ratio).text(2),
            Spread::of(of(at, |outcome| outcome.failed * 1e3)).text(3),
            Spread::of(of(at, |outcome| outcome.waits * 1e3)).text(3),
        );
    }
    let rows = rounds.iter().enumerate().flat_map(|(round, all)| {
        pairs().zip(all).map(move |((case, threads), outcome)| {
            json!({
                "round": round, "case": case.name, "threads": threads,
                "cpu_ns": outcome.cpu_ns, "found_taken": outcome.failed, "waits": outcome.waits,
            })
        })
    });
    options.records.keep("contention", json!({ "measurements": rows.collect::<Vec<_>>() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_does_as_much_as_it_is_asked_for() {
        for case in &CASES {
            for threads in [1, 3] {
                let outcome = measure_case(case, threads, 30_000).unwrap();
                assert!(outcome.cpu_ns > 0.0, "{}: {outcome:?}", case.name);
                assert!(threads > 1 || outcome.failed == 0.0, "{}: {outcome:?}", case.name);
            }
        }
    }
}
