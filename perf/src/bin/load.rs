//! An open load: requests at fixed times, whether the server is ready for them or not.
//!
//! Latency counts from when a request was due, and what was never sent is said, so a server that
//! stalls cannot hide it. The generator watches itself as well: how late it was although a
//! connection was free, and how busy; where it was itself the limit, it says so.
//!
//! ```text
//! cargo build --release --workspace && target/release/load --redis --rate 1000
//! ```

use clap::Parser;
use corepulse_perf::contest::WARM_UP;
use corepulse_perf::cores::Cores;
use corepulse_perf::devices::{DEVICES_MAX, Devices, Order};
use corepulse_perf::generator::Load;
use corepulse_perf::inquiry::Stored;
use corepulse_perf::machine;
use corepulse_perf::offer::offer;
use corepulse_perf::open_load::{self, BUSY_MAX, OpenLoad, Saturation};
use corepulse_perf::program::{self, Records};
use corepulse_perf::redis::Redis;
use corepulse_perf::report::{Store, number};
use corepulse_perf::scenario::{Extent, Scenario};
use corepulse_perf::tally::Tally;
use corepulse_perf::target::{Target, loopback};
use corepulse_perf::usage::Usage;
use percore::descriptors;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long as much is sent as is answered.
const PROBE: Duration = Duration::from_secs(2);

/// Offers a server a load at a fixed rate.
#[derive(Debug, Parser)]
struct Options {
    /// A server that runs on this machine.
    #[arg(long, value_parser = loopback, value_name = "URL")]
    url: Option<SocketAddr>,
    /// Start the server; that is what happens without `--url`.
    #[arg(long, conflicts_with = "url")]
    start: bool,
    /// Start a Redis as well, for the server to write to.
    #[arg(long, conflicts_with = "url")]
    redis: bool,
    /// Workers of the server that is started.
    #[arg(
        long,
        default_value_t = 1,
        conflicts_with = "url",
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    workers: u16,
    /// Requests a second.
    #[arg(
        long,
        default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=10_000_000)
    )]
    rate: u32,
    /// Find in each round how many requests a second are answered at most, and offer a share of it.
    #[arg(long, conflicts_with = "rate")]
    saturation: bool,
    /// That share.
    #[arg(long, default_value_t = 0.5, requires = "saturation", value_parser = share)]
    share: f64,
    /// What is sent.
    #[arg(long, value_enum, default_value = "device")]
    scenario: Scenario,
    /// Devices that it comes from, where events have one.
    #[arg(
        long,
        default_value_t = 1000,
        value_parser = clap::value_parser!(u64).range(1..=DEVICES_MAX)
    )]
    devices: u64,
    /// Events of an NDJSON request.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
    /// Keep-alive connections, over all threads.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    connections: u16,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// How often it is measured, each time with a fresh server unless that is given.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How long each time.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// The record's name after its date.
    #[arg(long, default_value = "load")]
    name: String,
    #[command(flatten)]
    records: Records,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| *share > 0.0 && *share <= 2.0);
    share.ok_or_else(|| "expected a share above 0, 2 at most".to_owned())
}

impl Options {
    fn load(&self) -> Load {
        Load {
            scenario: self.scenario,
            extent: Extent {
                devices: Devices::of(self.devices, Order::InTurn),
                batch: usize::from(self.batch),
            },
            connections: usize::from(self.connections),
            duration: Duration::from_secs(self.seconds),
            rate: Some(f64::from(self.rate)),
        }
    }

    fn store(&self) -> Option<Store> {
        let own = if self.redis { Store::Redis } else { Store::Memory };
        self.url.is_none().then_some(own)
    }
}

/// What is the same in all rounds.
struct Session<'a> {
    options: &'a Options,
    folder: &'a Path,
    cores: Cores,
    redis: Option<Redis>,
}

fn main() -> ExitCode {
    program::end("load", measure(&Options::parse()))
}

fn measure(options: &Options) -> Result<(), String> {
    let folder = &program::folder()?;
    descriptors::raise_limit();
    let mut notes = Vec::new();
    let mut say = |what: String| {
        eprintln!("load: {what}");
        notes.push(what);
    };
    let threads = usize::try_from(options.threads).unwrap_or(1);
    let cores = match options.url {
        None => Cores::share(usize::from(options.workers), threads, &mut say),
        Some(_) => {
            say("the server was not started here: it runs where it runs".to_owned());
            Cores::unpinned()
        }
    };
    let redis = options.redis.then(|| cores.start_redis(&mut say)).transpose()?;
    let session = Session { options, folder, cores, redis };
    let mut rounds = Vec::new();
    for number in 0..usize::from(options.rounds) {
        let round = session.round(number)?;
        let latency = round.tally.latencies.summary();
        let (offered, p99, p999) = (round.offered(), latency.p99, latency.p999);
        eprintln!("round {number}: {offered:.0} requests/s, p99 {p99:.1?}, p99.9 {p999:.1?}");
        let saturation = round.saturation.map(|found| said_of(number, found));
        let found = saturation.into_iter().chain(round.own_limit()).chain(round.shortfall());
        found.for_each(&mut say);
        rounds.push(round);
    }
    println!("{}\n{}", open_load::table(&rounds), notes.join("\n"));
    let record = || open_load::record(&machine::describe(), &notes, &rounds);
    options.records.keep(&options.name, record)
}

impl Session<'_> {
    fn round(&self, number: usize) -> Result<OpenLoad, String> {
        let options = self.options;
        let (core, redis) = (self.cores.server, self.redis.as_ref());
        let target = match options.url {
            Some(address) => Target::at(address),
            None => Target::start(self.folder, usize::from(options.workers), core, redis)?,
        };
        let what = format!("round {} of {}", number + 1, options.rounds);
        let offer = |load: &Load, what: &str| {
            offer(target.address, load, options.threads, &self.cores.generators, what)
        };
        let mut load = options.load();
        let warm_up = Load { duration: WARM_UP, ..load };
        offer(&warm_up, &format!("{what}, warming up"))?;
        let saturation = options.saturation.then(|| {
            let probe = Load { duration: PROBE, rate: None, ..load };
            let (before, stored) = (target.usage()?, target.stored()?);
            let tally = offer(&probe, &format!("{what}, looking for saturation"))?;
            let used = target.usage()?.zip(before).map(|(after, before)| after.since(&before));
            let stored = target.stored()?.zip(stored).map(|(after, before)| after.since(&before));
            Ok::<_, String>(saturation(&tally, used, stored))
        });
        let saturation = saturation.transpose()?;
        if let Some(found) = saturation {
            load.rate = Some((found.rate * options.share).round().max(1.0));
        }
        target.settle()?;
        let (before, stored) = (target.usage()?, target.stored()?);
        let tally = offer(&load, &what)?;
        let usage = target.usage()?.zip(before).map(|(after, before)| after.since(&before));
        target.settle()?;
        let stored = target.stored()?.zip(stored).map(|(after, before)| after.since(&before));
        tally.balance()?;
        check(&load, &tally, redis)?;
        Ok(OpenLoad {
            round: number,
            load,
            store: options.store(),
            threads: options.threads,
            saturation,
            tally,
            usage,
            stored,
        })
    }
}

/// What a probe that was answered as fast as it could be says about the most that can be.
fn saturation(tally: &Tally, used: Option<Usage>, stored: Option<Stored>) -> Saturation {
    let seconds = tally.elapsed.as_secs_f64();
    // What still waits is not counted: a queue that grows is no rate that can be held.
    let kept =
        stored.map_or(1.0, |stored| (number(stored.kept) / number(tally.accepted.max(1))).min(1.0));
    Saturation {
        rate: number(tally.answered) / seconds * kept,
        server_share: used.map(|usage| usage.cpu.as_secs_f64() / seconds),
        generator_share: tally.busy_share,
    }
}

fn said_of(round: usize, found: Saturation) -> String {
    let Saturation { rate, server_share, generator_share } = found;
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let server = server_share.map_or_else(|| "no known share".to_owned(), percent);
    let whose = if generator_share > BUSY_MAX {
        ": the generator was full as well, so the server may take more"
    } else if server_share.is_some_and(|share| share < BUSY_MAX) {
        ": neither was full, so it is that of what shares their cores, Redis or others"
    } else {
        ""
    };
    format!(
        "round {round}: saturation at {rate:.0} requests/s, with {server} of a core for the server \
         and {} for the generator{whose}",
        percent(generator_share)
    )
}

/// Every event that was answered for must have been accepted, and Redis must have some.
fn check(load: &Load, tally: &Tally, redis: Option<&Redis>) -> Result<(), String> {
    let events = load.extent.events_per_request(load.scenario);
    let expected = tally.answered * u64::try_from(events).unwrap_or(1);
    if tally.accepted != expected {
        return Err(format!("accepted {} of {expected} events", tally.accepted));
    }
    if let Some(redis) = redis
        && tally.answered > 0
        && redis.keys()? == 0
    {
        return Err("nothing came to Redis".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_consistent() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
        let options = Options::parse_from(["load"]);
        assert_eq!(options.store(), Some(Store::Memory));
        let given = Options::parse_from(["load", "--url", "http://127.0.0.1:8080"]);
        assert_eq!(given.store(), None);
        for wrong in [
            &["--url", "http://192.0.2.1"][..],
            &["--url", "http://127.0.0.1", "--redis"],
            &["--rate", "1000", "--saturation"],
            &["--share", "0.5"],
            &["--saturation", "--share", "0"],
        ] {
            let all = [&["load"], wrong].concat();
            assert!(Options::try_parse_from(all).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn saturation_is_what_the_store_takes_too() {
        let mut tally = Tally::new().unwrap();
        (tally.answered, tally.accepted) = (1000, 1000);
        tally.elapsed = Duration::from_secs(2);
        let stored = Stored { kept: 500, dropped: 250, pending: 250 };
        let cpu = Duration::from_secs(1);
        let found = saturation(&tally, Some(Usage { cpu, ..Usage::default() }), Some(stored));
        assert_eq!((found.rate, found.server_share), (250.0, Some(0.5)));
        assert!(said_of(0, found).starts_with("round 0: saturation at 250 requests/s, with 50 %"));
    }
}
