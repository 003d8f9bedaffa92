//! corepulse, the program: configuration, start, signals, exit code.

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clap::error::ErrorKind;
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXFSZ,
};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

use corepulse::config::arguments::{Arguments, Command};
use corepulse::config::unknown_variables::{UnknownVariable, find_unknown};
use corepulse::config::{Config, EXIT_USAGE, LogFormat, LogLevel};
use corepulse::healthcheck;
use corepulse::resources::Means;
use corepulse::server::{Report, Server, StartError};
use corepulse::telemetry::log;

/// What was acknowledged could not all be written in time (`EX_TEMPFAIL`).
const EXIT_LOST: u8 = 75;

/// The system grants too few descriptors or threads (`EX_OSERR`).
const EXIT_SYSTEM: u8 = 71;

/// A thread ended that should not have (`EX_SOFTWARE` of sysexits.h).
const EXIT_SOFTWARE: u8 = 70;

/// The address cannot be listened on (`EX_UNAVAILABLE`).
const EXIT_UNAVAILABLE: u8 = 69;

/// What would end a process that has no use for them, with all that waits to be written: somebody's
/// habit from another server, timers that it may have inherited, a profiler's last sample, a log
/// that has reached its greatest size.
const IGNORED: [i32; 7] = [SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGXFSZ];

fn main() -> ExitCode {
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    let config = match Config::check(&arguments) {
        Ok(config) => config,
        Err(errors) => {
            say(&errors);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if arguments.print_config {
        return print(config);
    }
    if arguments.command == Some(Command::Healthcheck) {
        return check_health(&config);
    }
    start_log(&config);
    for UnknownVariable { name, nearest } in unknown_variables() {
        log::warn!(variable = name, nearest, "a variable of this name has no effect");
    }
    let stop = match listen_for_signals() {
        Ok(stop) => stop,
        Err(error) => {
            say(&format_args!("corepulse: signals cannot be listened for: {error}\n"));
            return ExitCode::from(EXIT_SYSTEM);
        }
    };
    match Server::start(&config) {
        Ok(server) => serve(server, &stop),
        Err(error) => {
            say(&format_args!("corepulse: {error}\n"));
            ExitCode::from(match error {
                StartError::Listen(..) => EXIT_UNAVAILABLE,
                StartError::System(_) => EXIT_SYSTEM,
                StartError::Queue(_) => EXIT_USAGE,
            })
        }
    }
}

/// Prints the configuration with what it comes to on this machine, and which variables are not part
/// of it.
fn print(mut config: Config) -> ExitCode {
    for UnknownVariable { name, nearest } in unknown_variables() {
        let hint = nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
        say(&format_args!("corepulse: {name} has no effect{hint}\n"));
    }
    let means = Means::observe(&config);
    config.sources.derive("workers", means.workers);
    config.sources.derive("max-connections", means.connections_max);
    let printed = std::io::stdout().write_all(config.print().as_bytes());
    if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Those that begin like ours. Names and values that are no text are none.
fn unknown_variables() -> Vec<UnknownVariable> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    find_unknown(variables)
}

fn start_log(config: &Config) {
    let format = match config.log_format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    };
    let least = match config.log_level {
        LogLevel::Error => log::Least::Error,
        LogLevel::Warn => log::Least::Warn,
        LogLevel::Info => log::Least::Info,
        LogLevel::Debug => log::Least::Debug,
    };
    log::start(format, least);
}

/// Asks the server that these same settings have started.
fn check_health(config: &Config) -> ExitCode {
    match healthcheck::ask(&config.listen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(unhealthy) => {
            say(&format_args!("corepulse: {unhealthy}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal comes or a core fails, and drains.
fn serve(server: Server, stop: &Receiver<()>) -> ExitCode {
    while stop.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
        if !server.is_sound() {
            log::error!("a thread failed; stopping");
            break;
        }
        server.log_due_warnings();
    }
    #[expect(clippy::disallowed_methods, reason = "nothing else is left to do")]
    let report = server.drain(thread::sleep);
    match report {
        Report { threads_failed: 1.., .. } => ExitCode::from(EXIT_SOFTWARE),
        Report { lost: 1.., .. } => ExitCode::from(EXIT_LOST),
        Report { .. } => ExitCode::SUCCESS,
    }
}

/// The first signal to stop arrives in what is returned. A second TERM or INT ends the process at
/// once; a second HUP does not, for whoever closes a terminal or a session sends it along with
/// another, or twice.
#[expect(clippy::disallowed_methods, reason = "the system tells a thread of signals")]
fn listen_for_signals() -> std::io::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGTERM, SIGINT].into_iter().chain(IGNORED))?;
    // `nohup` asks to outlive the terminal.
    if !is_ignored(SIGHUP) {
        signals.add_signal(SIGHUP)?;
    }
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let (mut is_stopping, mut is_told) = (false, false);
        for signal in signals.forever().filter(|signal| !IGNORED.contains(signal)) {
            let name = signal_name(signal);
            if is_stopping && signal != SIGHUP {
                log::warn!(signal = name, "the stopping is cut short: what waits is lost");
                std::process::exit(128 + signal);
            }
            if !is_told {
                log::info!(signal = name, "stopping");
            }
            is_told = true;
            // Only the first is waited for, and the receiver lives as long as `main` does.
            let _ = sender.send(());
            is_stopping |= signal != SIGHUP;
        }
    })?;
    Ok(receiver)
}

/// Whether whoever started this process had it ignore a signal (man 5 proc).
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (signal - 1) & 1 == 1
}

/// Prints help and version to standard output, mistakes to standard error.
fn explain(error: &clap::Error) -> ExitCode {
    // A closed pipe is no reason to fail.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_USAGE),
    }
}

/// Writes to standard error, or nowhere if that is closed: `eprint` would panic.
fn say(text: &dyn Display) {
    let _ = write!(std::io::stderr(), "{text}");
}
