//! corepulse, the program: configuration, start, signals, exit code.

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clap::error::ErrorKind;
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXFSZ,
};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

use corepulse::config::arguments::{Arguments, Command, Scope};
use corepulse::config::replay_options::ReplayOptions;
use corepulse::config::server_url::ServerUrl;
use corepulse::config::token_options::{NewTokenOptions, TokenCommand};
use corepulse::config::unknown_variables::{UnknownVariable, find_unknown};
use corepulse::config::{Config, EXIT_USAGE};
use corepulse::healthcheck;
use corepulse::new_token::NewToken;
use corepulse::replay;
use corepulse::resources::Resources;
use corepulse::server::{DrainReport, Server, StartError};
use corepulse::telemetry::log;
use corepulse::top::{self, TopError};
use percore::systemd;

/// Exit code: acknowledged events could not be written in time (`EX_TEMPFAIL` of sysexits.h).
const EXIT_LOST: u8 = 75;

/// Exit code: the directory of `--spill` cannot be used (`EX_CANTCREAT`).
const EXIT_CANNOT_CREATE: u8 = 73;

/// Exit code: the system grants too few descriptors or threads (`EX_OSERR`).
const EXIT_SYSTEM: u8 = 71;

/// Exit code: a thread failed (`EX_SOFTWARE`).
const EXIT_SOFTWARE: u8 = 70;

/// Exit code: the address cannot be listened on (`EX_UNAVAILABLE`).
const EXIT_UNAVAILABLE: u8 = 69;

/// Exit code: `replay` was interrupted, as shells have it.
const EXIT_INTERRUPTED: u8 = 130;

/// Signals that do nothing. By default each would end the process and lose the events that wait to
/// be written; they come from habits with other servers, inherited timers, a profiler's last
/// sample, or a log that has reached its size limit.
const IGNORED: [i32; 7] = [SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGXFSZ];

fn main() -> ExitCode {
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(error) => return print_clap(&error),
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
    match arguments.command {
        Some(Command::Healthcheck) => return check_health(&config),
        Some(Command::Top { once, to, scope }) => return show_top(&config, to, scope, once),
        Some(Command::Replay(options)) => return replay_files(&config, &options),
        Some(Command::Token { command: TokenCommand::New(options) }) => {
            return print_token(&options);
        }
        None => {}
    }
    log::start(config.log_format, config.log_level);
    for UnknownVariable { name, nearest } in unknown_variables() {
        log::warn!(variable = name, nearest, "a variable of this name has no effect");
    }
    let orders = match listen_for_signals(config.has_files_to_reload() || systemd::is_there()) {
        Ok(orders) => orders,
        Err(error) => {
            say(&format_args!("corepulse: signals cannot be listened for: {error}\n"));
            return ExitCode::from(EXIT_SYSTEM);
        }
    };
    match Server::start(&config) {
        Ok(server) => {
            tell_systemd(systemd::READY);
            serve(server, &orders)
        }
        Err(error) => {
            say(&format_args!("corepulse: {error}\n"));
            ExitCode::from(match error {
                StartError::Listen(..) => EXIT_UNAVAILABLE,
                StartError::System(_) => EXIT_SYSTEM,
                StartError::Spill(..) => EXIT_CANNOT_CREATE,
                StartError::Queue(_) | StartError::Files(_) => EXIT_USAGE,
            })
        }
    }
}

/// Prints the configuration with the values that this machine derives from it, and the variables
/// that have no effect.
fn print(mut config: Config) -> ExitCode {
    for UnknownVariable { name, nearest } in unknown_variables() {
        let hint = nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
        say(&format_args!("corepulse: {name} has no effect{hint}\n"));
    }
    let resources = Resources::observe(&config);
    config.sources.derive("workers", resources.workers);
    config.sources.derive("max-connections", resources.connections_max);
    let printed = std::io::stdout().write_all(config.print().as_bytes());
    if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Finds the variables that have no effect.
fn unknown_variables() -> Vec<UnknownVariable> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    find_unknown(variables)
}

/// Asks the server that was started with the same configuration for its health.
fn check_health(config: &Config) -> ExitCode {
    match healthcheck::ask(config.own_address()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(unhealthy) => {
            say(&format_args!("corepulse: {unhealthy}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Shows the state of the server at a URL, or of the one that was started with the same
/// configuration, or of its whole fleet.
fn show_top(config: &Config, to: Option<ServerUrl>, scope: Option<Scope>, once: bool) -> ExitCode {
    let shown = if once {
        top::print_once(config, to, scope).and_then(|text| {
            std::io::stdout().write_all(text.as_bytes()).map_err(TopError::Terminal)
        })
    } else {
        top::watch(config, to, scope)
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format_args!("corepulse: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Posts files to a server. The first signal to stop ends it with a report, the second at once.
fn replay_files(config: &Config, options: &ReplayOptions) -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let listening = flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())
            .and_then(|_| flag::register(signal, stop.clone()));
        if let Err(error) = listening {
            say(&format_args!("corepulse: signals cannot be listened for: {error}\n"));
            return ExitCode::from(EXIT_SYSTEM);
        }
    }
    let is_terminal = std::io::stderr().is_terminal();
    // On a terminal it takes the place of the progress.
    let start = if is_terminal { "\r" } else { "" };
    let warn = |text: &str| say(&format_args!("{start}corepulse: {text}\n"));
    let progress = |rows: u64| {
        if is_terminal {
            say(&format_args!("\r{rows} rows read"));
        }
    };
    let (report, text) = match replay::run(config, options, &stop, &warn, &progress) {
        Ok(done) => done,
        Err(error) => {
            warn(&error);
            return ExitCode::FAILURE;
        }
    };
    say(&start);
    let printed = std::io::stdout().write_all(text.as_bytes());
    if let Some(fault) = report.fault() {
        warn(fault);
    }
    match report.is_clean() && printed.is_ok() {
        true => ExitCode::SUCCESS,
        false if report.is_interrupted() => ExitCode::from(EXIT_INTERRUPTED),
        false => ExitCode::FAILURE,
    }
}

/// The order that a signal gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// To read files again.
    Reload,
    /// To end in order.
    Stop,
}

/// Prints a new token and its line, a line each, and to a person how they are used.
fn print_token(options: &NewTokenOptions) -> ExitCode {
    let Some(NewToken { token, line }) = NewToken::make(options) else {
        say(&"corepulse: the system has no randomness\n");
        return ExitCode::from(EXIT_SYSTEM);
    };
    let mut output = std::io::stdout();
    let is_terminal = output.is_terminal();
    if writeln!(output, "{token}\n{line}").is_err() {
        return ExitCode::FAILURE;
    }
    if is_terminal {
        say(&"The first line is the token, as in Authorization: Bearer TOKEN, shown this once.\n\
              The second is for the file of --tokens, which SIGHUP has the server read again.\n");
    }
    ExitCode::SUCCESS
}

/// Serves until a signal to stop comes or a core fails, and drains.
fn serve(server: Server, orders: &Receiver<Order>) -> ExitCode {
    loop {
        match orders.recv_timeout(Duration::from_secs(1)) {
            Ok(Order::Reload) => server.reload(),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
        }
        if !server.is_sound() {
            log::error!("a thread failed; stopping");
            break;
        }
        server.log_due_warnings();
    }
    tell_systemd(systemd::STOPPING);
    #[expect(clippy::disallowed_methods, reason = "nothing else is left to do")]
    let report = server.drain(thread::sleep);
    match report {
        DrainReport { threads_failed: 1.., .. } => ExitCode::from(EXIT_SOFTWARE),
        DrainReport { lost: 1.., .. } => ExitCode::from(EXIT_LOST),
        DrainReport { .. } => ExitCode::SUCCESS,
    }
}

/// Tells systemd, if that started this process. It ends what does not tell it in time, so a notice
/// that does not get there is worth a warning.
fn tell_systemd(notice: &str) {
    if let Err(error) = systemd::tell(notice) {
        log::warn!(notice, %error, "systemd could not be told");
    }
}

/// Returns a channel that receives the orders of signals. HUP is one to read files again, if there
/// are such or systemd says when to stop, and else one to stop, as with other programs.
///
/// A second TERM or INT ends the process at once; a second HUP does not, because the end of a
/// terminal or session may send it twice, or along with another.
#[expect(clippy::disallowed_methods, reason = "the system tells a thread of signals")]
fn listen_for_signals(hup_reloads: bool) -> std::io::Result<Receiver<Order>> {
    let mut signals = Signals::new([SIGTERM, SIGINT].into_iter().chain(IGNORED))?;
    // With `nohup` the server outlives its terminal.
    if hup_reloads || !is_ignored(SIGHUP) {
        signals.add_signal(SIGHUP)?;
    }
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let (mut is_stopping, mut is_told) = (false, false);
        for signal in signals.forever().filter(|signal| !IGNORED.contains(signal)) {
            let name = signal_name(signal);
            if hup_reloads && signal == SIGHUP {
                if !is_told {
                    log::info!(signal = name, "reading files again");
                    let _ = sender.send(Order::Reload);
                }
                continue;
            }
            if is_stopping && signal != SIGHUP {
                log::warn!(signal = name, "the stopping is cut short: what waits is lost");
                std::process::exit(128 + signal);
            }
            if !is_told {
                log::info!(signal = name, "stopping");
            }
            is_told = true;
            // Only the first is received; the receiver lives as long as `main`.
            let _ = sender.send(Order::Stop);
            is_stopping |= signal != SIGHUP;
        }
    })?;
    Ok(receiver)
}

/// Returns true if the process was started with a signal ignored (man 5 proc).
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (signal - 1) & 1 == 1
}

/// Prints help and version to standard output, errors to standard error.
fn print_clap(error: &clap::Error) -> ExitCode {
    // A closed pipe is no reason to fail.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_USAGE),
    }
}

/// Writes to standard error; does nothing if that is closed, where `eprint` would panic.
fn say(text: &dyn Display) {
    let _ = write!(std::io::stderr(), "{text}");
}
