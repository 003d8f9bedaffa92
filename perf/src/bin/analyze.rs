//! What `GET /analyze` costs a server with 100,000 devices while all of its cores are loaded.
//!
//! In every round an open load runs three times: without `/analyze`, beside it, and without again.
//! The first and the third say how far two equal phases lie apart on this machine; what `/analyze`
//! does to the load is to be seen against that. Its own time is read from the accounts of the
//! threads: of the cores, which take the question and send the answer, and of the control thread,
//! which merges in between. Once more it is read without a load, where nothing else is in it.
//!
//! ```text
//! cargo build --release --workspace && target/release/analyze
//! ```

use clap::Parser;
use corepulse_perf::beside::{self, Found, Phase, Round, Threads};
use corepulse_perf::cores::Cores;
use corepulse_perf::devices::{self, Devices};
use corepulse_perf::generator::{Load, now_ms};
use corepulse_perf::idle::ANSWER_MAX;
use corepulse_perf::latency::Latencies;
use corepulse_perf::offer::offer;
use corepulse_perf::open_load::OpenLoad;
use corepulse_perf::program::{self, Records};
use corepulse_perf::report::Store;
use corepulse_perf::scenario::{Extent, Scenario, Traffic};
use corepulse_perf::target::Target;
use corepulse_perf::{answers, fill, machine};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// Questions that are asked without a load.
const ALONE: u32 = 300;

/// Measures `/analyze` beside a load.
#[derive(Debug, Parser)]
struct Options {
    /// Devices, each with a window.
    #[arg(
        long,
        default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    devices: u32,
    /// Events of each device before the load; the window has 50.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    events: u32,
    /// Workers of the server, each pinned to a core.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Requests a second of the load.
    #[arg(
        long,
        default_value_t = 20_000,
        value_parser = clap::value_parser!(u32).range(1..=10_000_000)
    )]
    rate: u32,
    /// Questions a second.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    polls: u32,
    /// Keep-alive connections of the load, over all threads.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// Threads of the generator, one beside each worker.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Rounds of three phases.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How long a phase takes.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// The record's name after its date.
    #[arg(long, default_value = "analyze")]
    name: String,
    #[command(flatten)]
    records: Records,
}

impl Options {
    fn extent(&self) -> Extent {
        let devices = Devices::of(self.devices.into(), devices::Order::InTurn);
        Extent { devices, ..Extent::default() }
    }
}

fn main() -> ExitCode {
    program::end("analyze", measure(&Options::parse()))
}

fn measure(options: &Options) -> Result<(), String> {
    let folder = &program::folder()?;
    let mut notes = Vec::new();
    let mut say = |what: String| {
        eprintln!("analyze: {what}");
        notes.push(what);
    };
    let threads = usize::try_from(options.threads).unwrap_or(1);
    let workers = usize::from(options.workers);
    let cores = Cores::share(workers, threads, &mut say);
    let target = Target::start(folder, workers, cores.server, None)?;
    let id = target.id().ok_or("the server was not started here")?;
    fill(options, target.address)?;
    let session = Session { options, address: target.address, id, cores };
    session.load(0, WARM_UP)?;
    let (mut rounds, mut answers) = (Vec::new(), Latencies::new()?);
    for number in 0..usize::from(options.rounds) {
        let first = session.phase(number, None)?;
        let beside = session.phase(number, Some(&mut answers))?;
        let round = Round { first, beside, again: session.phase(number, None)? };
        let (ratio, noise) = (round.ratio(), round.noise());
        eprintln!("round {number}: p99.9 {ratio:.2} of that without; without, twice: {noise:.2}");
        for phase in [&round.first, &round.beside, &round.again] {
            let said = phase.load.own_limit().into_iter().chain(phase.load.shortfall());
            said.for_each(&mut say);
        }
        rounds.push(round);
    }
    let found = Found { rounds, answers, alone: session.alone()? };
    say(beside::verdict(&found.rounds));
    println!("{}\n{}", beside::table(&found), notes.join("\n"));
    options.records.keep(&options.name, || record(options, &notes, &found))
}

/// Gives every device its events.
fn fill(options: &Options, address: SocketAddr) -> Result<(), String> {
    let scenario = Scenario::Ndjson;
    let mut traffic = Traffic::of(scenario, options.extent(), &address.to_string(), now_ms());
    let events = u64::from(options.devices) * u64::from(options.events);
    let batch = u64::try_from(scenario.events_per_request()).unwrap_or(1);
    let batches = events.div_ceil(batch);
    let accepted = fill::post(address, &mut traffic, batches, |_| {})?;
    if accepted != batches * batch {
        return Err(format!("{accepted} of {events} events accepted"));
    }
    Ok(())
}

/// What is the same in all phases.
struct Session<'a> {
    options: &'a Options,
    address: SocketAddr,
    id: u32,
    cores: Cores,
}

impl Session<'_> {
    fn load(&self, round: usize, duration: Duration) -> Result<OpenLoad, String> {
        let options = self.options;
        let load = Load {
            scenario: Scenario::Device,
            extent: options.extent(),
            connections: usize::from(options.connections),
            duration,
            rate: Some(f64::from(options.rate)),
        };
        let (threads, cores) = (options.threads, &self.cores.generators);
        let tally = offer(self.address, &load, threads, cores, &format!("round {round}"))?;
        tally.balance()?;
        Ok(OpenLoad {
            round,
            load,
            store: Some(Store::Memory),
            threads,
            saturation: None,
            tally,
            usage: None,
            stored: None,
        })
    }

    /// One load, with questions beside it if there is something to take their latencies.
    fn phase(&self, round: usize, answers: Option<&mut Latencies>) -> Result<Phase, String> {
        let duration = Duration::from_secs(self.options.seconds);
        let before = Threads::of(self.id)?;
        let is_over = AtomicBool::new(false);
        let (load, polls) = thread::scope(|scope| {
            let polling = answers.map(|answers| scope.spawn(|| self.poll(answers, &is_over)));
            let load = self.load(round, duration);
            is_over.store(true, Ordering::Relaxed);
            let polls = polling.map_or(Ok(Ok(0)), thread::ScopedJoinHandle::join);
            Ok::<_, String>((load?, polls.map_err(|_| "the poll panicked")??))
        })?;
        Ok(Phase { load, threads: Threads::of(self.id)?.since(before), polls })
    }

    /// Asks at fixed times until it is over; how often.
    fn poll(&self, answers: &mut Latencies, is_over: &AtomicBool) -> Result<u32, String> {
        let mut asker = Asker::connect(self.address, self.options.devices)?;
        let (start, pause) = (Instant::now(), Duration::from_secs(1) / self.options.polls);
        let mut asked = 0;
        while !is_over.load(Ordering::Relaxed) {
            answers.record(asker.ask()?);
            asked += 1;
            thread::sleep((start + pause * asked).saturating_duration_since(Instant::now()));
        }
        Ok(asked)
    }

    /// The time of one question where there is nothing else to do.
    fn alone(&self) -> Result<Threads, String> {
        let mut asker = Asker::connect(self.address, self.options.devices)?;
        asker.ask()?;
        let before = Threads::of(self.id)?;
        for _ in 0..ALONE {
            asker.ask()?;
        }
        Ok(Threads::of(self.id)?.since(before).each(ALONE))
    }
}

/// A connection that asks for `/analyze`.
struct Asker {
    stream: TcpStream,
    received: Vec<u8>,
    /// What every answer has to say.
    devices: String,
}

impl Asker {
    fn connect(address: SocketAddr, devices: u32) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(ANSWER_MAX)).map_err(|e| e.to_string())?;
        Ok(Self { stream, received: Vec::new(), devices: format!("\"devices\":{devices}") })
    }

    /// How long the answer took, which must be the right one.
    fn ask(&mut self) -> Result<Duration, String> {
        let fault = |e: std::io::Error| format!("/analyze: {e}");
        let asked = Instant::now();
        self.stream
            .write_all(b"GET /analyze HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .map_err(fault)?;
        self.received.clear();
        let mut chunk = [0; 16 * 1024];
        loop {
            let length = self.stream.read(&mut chunk).map_err(fault)?;
            if length == 0 {
                return Err("/analyze: closed before its answer".to_owned());
            }
            self.received.extend(chunk.iter().take(length));
            if let Some(reply) = answers::reply(&self.received)? {
                let took = asked.elapsed();
                let body = String::from_utf8_lossy(reply.body);
                if reply.status != 200 || !body.contains(&self.devices) {
                    return Err(format!("/analyze: {} without {}", reply.status, self.devices));
                }
                return Ok(took);
            }
        }
    }
}

fn record(options: &Options, notes: &[String], found: &Found) -> Value {
    json!({
        "machine": machine::describe(),
        "notes": notes,
        "devices": options.devices,
        "events_per_device": options.events,
        "workers": options.workers,
        "measurements": found.record(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_consistent() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
    }
}
