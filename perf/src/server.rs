//! Servers under measurement: one process at a time, pinned, ended when its value is dropped.

use clap::ValueEnum;
use core_affinity::CoreId;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// A server that does not say where it listens within this time has failed.
const START_MAX: Duration = Duration::from_secs(10);

/// Which program, and how it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The bare epoll loop of this crate.
    Floor,
    /// The server, with one worker.
    Corepulse,
    /// `may_minihttp`, which parses with sonic-rs.
    MayMinihttp,
    /// hyper, which parses with sonic-rs.
    Hyper,
    /// hyper, which parses with `serde_json`.
    HyperSerde,
    /// actix-web, which parses with sonic-rs.
    ActixWeb,
    /// axum, which parses with `serde_json`.
    Axum,
    /// The Go service that the server replaces.
    GoSeed,
}

impl Kind {
    /// As in the table and in the record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Corepulse => "corepulse",
            Self::MayMinihttp => "may_minihttp",
            Self::Hyper => "hyper",
            Self::HyperSerde => "hyper, serde_json",
            Self::ActixWeb => "actix-web",
            Self::Axum => "axum, serde_json",
            Self::GoSeed => "go-seed",
        }
    }

    /// The file in the folder of programs.
    const fn program(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Corepulse => "corepulse",
            Self::MayMinihttp => "peer-may-minihttp",
            Self::Hyper | Self::HyperSerde => "peer-hyper",
            Self::ActixWeb => "peer-actix-web",
            Self::Axum => "peer-axum",
            Self::GoSeed => "go-seed",
        }
    }

    /// What it is started with. Pinning is done from outside, the same way for all.
    #[must_use]
    pub const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Corepulse => &["--listen", "127.0.0.1:0", "--workers", "1", "--pin", "off"],
            Self::HyperSerde => &["--listen", "127.0.0.1:0", "--json", "serde"],
            _ => &["--listen", "127.0.0.1:0"],
        }
    }

    /// What its answers to a request of `events` must say was accepted. The floor reads no body.
    #[must_use]
    pub const fn accepted(self, events: u64) -> u64 {
        match self {
            Self::Floor => 1,
            _ => events,
        }
    }

    /// Whether it writes to Redis when it is told of one, with `--redis-url`.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Corepulse | Self::GoSeed)
    }

    /// Why it cannot be started from `folder`; `None` if it can.
    #[must_use]
    pub fn missing(self, folder: &Path) -> Option<&'static str> {
        if folder.join(self.program()).exists() {
            return None;
        }
        let has_go = || Command::new("go").arg("version").output().is_ok();
        Some(match self {
            Self::Floor | Self::Corepulse => "not built (cargo build --release --workspace)",
            Self::GoSeed if !has_go() => "no Go toolchain",
            _ => "not built (make peers)",
        })
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts the program of that name in `folder`, pinned to `core`, and waits for its address.
    ///
    /// # Errors
    ///
    /// When it cannot be started or does not say where it listens.
    pub fn start(kind: Kind, folder: &Path, core: Option<CoreId>) -> Result<Self, String> {
        Self::start_with(kind, kind.arguments(), folder, core)
    }

    /// The same with these arguments, which make it listen on 127.0.0.1.
    ///
    /// # Errors
    ///
    /// When it cannot be started or does not say where it listens.
    pub fn start_with(
        kind: Kind,
        arguments: &[&str],
        folder: &Path,
        core: Option<CoreId>,
    ) -> Result<Self, String> {
        let path = folder.join(kind.program());
        let mut command = Command::new(&path);
        command.args(arguments).stderr(Stdio::piped());
        // A process inherits the mask of the thread that starts it.
        let spawned = thread::spawn(move || {
            if core.is_some_and(|core| !core_affinity::set_for_current(core)) {
                return Err(std::io::Error::other("cannot pin"));
            }
            command.spawn()
        });
        let mut child = spawned
            .join()
            .unwrap_or_else(|_| Err(std::io::Error::other("panicked")))
            .map_err(|e| format!("{}: {e} (is it built?)", kind.name()))?;
        let said = child.stderr.take().map(BufReader::new);
        let (sender, addresses) = mpsc::channel();
        // Reads to the end: a server whose pipe is full would stop.
        thread::spawn(move || {
            for line in said.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
                // Nobody listens any more after the first address.
                let _ = address(&line).map(|address| sender.send(address));
            }
        });
        let Ok(address) = addresses.recv_timeout(START_MAX) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{}: no start-up line with an address", kind.name()));
        };
        Ok(Self { child, address })
    }

    /// The process, for its account.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing left to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The loopback address with a port that a start-up line names.
fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("127.0.0.1:")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let port = rest.get(..end)?.parse().ok().filter(|&port| port > 0)?;
    Some(SocketAddr::from(([127, 0, 0, 1], port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_up_lines_are_understood() {
        let expected = Some(SocketAddr::from(([127, 0, 0, 1], 4321)));
        assert_eq!(address("floor: listening on 127.0.0.1:4321"), expected);
        assert_eq!(address(r#"{"message":"listening","address":"127.0.0.1:4321"}"#), expected);
        assert_eq!(address("listen=127.0.0.1:0"), None);
        assert_eq!(address("starting"), None);
    }
}
