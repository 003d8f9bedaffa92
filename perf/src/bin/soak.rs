//! A soak: some hundreds of devices on a server whose connections may live half a minute.
//!
//! No connection may grow older than its age, the jitter and a second, and no request of a device
//! that behaves may fail, although connections end all the time. Exits with 1 where that does not
//! hold.
//!
//! ```text
//! cargo build --release --workspace && target/release/soak --seconds 600
//! ```

use clap::Parser;
use corepulse_perf::fleet::{Fleet, Habit, Ledger};
use corepulse_perf::record;
use corepulse_perf::server::Kind;
use corepulse_perf::usage::Usage;
use percore::descriptors;
use std::process::ExitCode;
use std::time::Duration;

/// Over the age with its tenth of jitter: what the server waits for a request, a tick of its
/// timers, and the machine.
const GRACE: Duration = Duration::from_secs(1);

/// Soaks a server.
#[derive(Debug, Parser)]
struct Options {
    /// How long.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Devices, a third of each habit.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u16).range(3..=10_000))]
    devices: u16,
    /// The server's `--max-connection-age`, in seconds.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(2..=3600))]
    age: u64,
    /// The server's `--engine`.
    #[arg(long, default_value = "percore")]
    engine: String,
}

impl Options {
    fn age_max(&self) -> Duration {
        Duration::from_secs(self.age) * 11 / 10 + GRACE
    }

    /// Whether every device has to see the end of several connections.
    const fn outlives_connections(&self) -> bool {
        self.seconds >= 2 * self.age + 10
    }
}

fn main() -> ExitCode {
    record::end("soak", soak(&Options::parse()))
}

fn soak(options: &Options) -> Result<(), String> {
    descriptors::raise_limit();
    let age = format!("{}s", options.age);
    let arguments = [
        ["--listen", "127.0.0.1:0"],
        ["--workers", "2"],
        ["--pin", "off"],
        ["--engine", &options.engine],
        ["--max-connection-age", &age],
    ];
    let server = Kind::Corepulse.start(arguments.as_flattened(), None)?;
    let fleet = Fleet::new(server.address, usize::from(options.devices), options.age_max())?;
    let before = Usage::of(server.id())?;
    let ledgers = fleet.run(Duration::from_secs(options.seconds))?;
    let usage = Usage::of(server.id())?.since(&before);
    print!("{}", table(&ledgers));
    println!(
        "the server used {:.1} s of CPU time and holds {} MiB",
        usage.cpu,
        usage.resident_bytes / 1024 / 1024
    );
    judge(options, &ledgers)
}

fn table(ledgers: &[Ledger]) -> String {
    let head = "| devices | requests | connections | told of their end | closed between requests \
                | oldest | faults |\n|---|---|---|---|---|---|---|\n";
    let rows = Habit::ALL.iter().zip(ledgers).map(|(habit, ledger)| {
        let Ledger { requests, opened, told, closed_idle, faults, .. } = ledger;
        let (name, oldest) = (habit.name(), ledger.oldest.as_secs_f64());
        format!(
            "| {name} | {requests} | {opened} | {told} | {closed_idle} | {oldest:.2} s \
             | {faults} |\n"
        )
    });
    rows.fold(head.to_owned(), |text, row| text + &row)
}

/// What has to hold.
fn judge(options: &Options, ledgers: &[Ledger]) -> Result<(), String> {
    let mut said = Vec::new();
    for (habit, ledger) in Habit::ALL.iter().zip(ledgers) {
        let name = habit.name();
        said.extend(ledger.said.iter().cloned());
        let unsaid = ledger.faults.saturating_sub(u64::try_from(ledger.said.len()).unwrap_or(0));
        if unsaid > 0 {
            said.push(format!("{name}: {unsaid} faults more"));
        }
        if ledger.accepted != ledger.requests {
            let Ledger { requests, accepted, .. } = ledger;
            said.push(format!("{name}: {accepted} of {requests} requests accepted"));
        }
        if options.outlives_connections() && ledger.told == 0 {
            said.push(format!("{name}: no connection was told of its end"));
        }
    }
    if said.is_empty() { Ok(()) } else { Err(said.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_consistent() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
        assert_eq!(Options::parse_from(["soak"]).age_max(), Duration::from_secs(34));
    }

    #[test]
    fn faults_and_what_has_not_happened_are_said() {
        let options = Options::parse_from(["soak"]);
        let good = Ledger { requests: 5, accepted: 5, told: 1, ..Ledger::default() };
        let all = vec![good.clone(); Habit::ALL.len()];
        assert_eq!(judge(&options, &all), Ok(()));
        let untold = Ledger { told: 0, ..good.clone() };
        let lost = Ledger { accepted: 4, ..good.clone() };
        let faulty = Ledger { faults: 3, said: vec!["first".to_owned()], ..good };
        let said = judge(&options, &[untold, lost, faulty]).unwrap_err();
        assert_eq!(
            said.lines().collect::<Vec<_>>(),
            [
                "steady: no connection was told of its end",
                "rare: 4 of 5 requests accepted",
                "first",
                "pipelined: 2 faults more",
            ]
        );
    }
}
