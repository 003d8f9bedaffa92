//! Servers that can be measured, each a program beside this one.

use crate::cores::run_on;
use crate::scenario::Scenario;
use crate::traffic::Dialect;
use clap::ValueEnum;
use core_affinity::CoreId;
use std::ffi::OsStr;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::{Server, wait_until};

/// A program, and how it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The bare epoll loop of this crate.
    Floor,
    /// The server.
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
    /// VictoriaMetrics, which keeps what it is sent for good.
    VictoriaMetrics,
}

impl Kind {
    /// Returns its name in tables and records, the file of its program, and its own arguments.
    const fn parts(self) -> (&'static str, &'static str, &'static [&'static str]) {
        match self {
            Self::Floor => ("floor", "floor", &[]),
            Self::Corepulse => ("corepulse", "corepulse", &["--log-format", "json"]),
            Self::MayMinihttp => ("may_minihttp", "peer-may-minihttp", &[]),
            Self::Hyper => ("hyper", "peer-hyper", &[]),
            Self::HyperSerde => ("hyper, serde_json", "peer-hyper", &["--json", "serde"]),
            Self::ActixWeb => ("actix-web", "peer-actix-web", &[]),
            Self::Axum => ("axum, serde_json", "peer-axum", &[]),
            Self::GoSeed => ("go-seed", "go-seed", &[]),
            Self::VictoriaMetrics => ("VictoriaMetrics", "victoria-metrics", &[]),
        }
    }

    /// Starts it with further arguments on `core`, if there is one, and waits for the line that
    /// says where it listens.
    pub fn start(
        self,
        arguments: &[impl AsRef<OsStr> + Sync],
        core: Option<CoreId>,
    ) -> Result<Server, String> {
        let (_, program, own) = self.parts();
        let program = folder().join(program);
        if self == Self::VictoriaMetrics {
            return run_on(core, || start_victoria_metrics(&program));
        }
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0"]).args(own).args(arguments);
        run_on(core, || Ok(Server::start_command(command)))
    }

    /// Returns true if it can do what is asked of it: compressed bodies, line protocol and other
    /// fields are not for servers that are there to show what HTTP and JSON cost, and single events
    /// not for a database.
    pub const fn takes(self, scenario: Scenario) -> bool {
        let is_extra =
            matches!(scenario, Scenario::Gzip | Scenario::LineProtocol | Scenario::Eight);
        match self {
            Self::Floor | Self::Corepulse => true,
            Self::VictoriaMetrics => {
                matches!(scenario, Scenario::Ndjson | Scenario::LineProtocol)
            }
            _ => !is_extra,
        }
    }

    pub const fn dialect(self) -> Dialect {
        match self {
            Self::VictoriaMetrics => Dialect::VictoriaMetrics,
            _ => Dialect::Corepulse,
        }
    }

    pub const fn name(self) -> &'static str {
        self.parts().0
    }

    /// Returns true if it writes to Redis when it is told of one, with `--redis-url`.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Corepulse | Self::GoSeed)
    }

    /// Returns why it cannot be started; `None` if it can.
    pub fn missing(self) -> Option<&'static str> {
        let why = match self {
            Self::Floor | Self::Corepulse => "not built (cargo build --release --workspace)",
            Self::VictoriaMetrics => "not installed (make peers, on Debian)",
            _ => "not built (make peers)",
        };
        (!folder().join(self.parts().1).exists()).then_some(why)
    }
}

/// Returns the folder of the programs that were built with this one.
fn folder() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().map(Path::to_owned).unwrap_or_default()
}

/// Starts VictoriaMetrics with an empty store of its own. It does not say on which port it listens,
/// so it is given a free one, and the shell that becomes it says that.
fn start_victoria_metrics(program: &Path) -> Result<Server, String> {
    let store = store_of_victoria_metrics();
    let _ = fs::remove_dir_all(&store);
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.map_err(|e| e.to_string())?;
    let mut command = Command::new("sh");
    command.args(["-c", "echo \"listening on $1\" >&2; shift; exec \"$@\"", "sh"]);
    command.arg(address.to_string()).arg(program).arg(format!("-httpListenAddr={address}"));
    command.arg(format!("-storageDataPath={}", store.display())).arg("-loggerLevel=ERROR");
    let server = Server::start_command(command);
    wait_until("VictoriaMetrics listens", || connects(address));
    Ok(server)
}

fn connects(address: SocketAddr) -> Option<()> {
    TcpStream::connect(address).ok().map(|_| ())
}

/// The stores of the servers of this run, which are removed in the end.
#[derive(Debug)]
pub struct Stores;

impl Drop for Stores {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(store_of_victoria_metrics());
    }
}

/// Returns where VictoriaMetrics keeps what it is sent, beside the raw numbers.
fn store_of_victoria_metrics() -> PathBuf {
    let target = folder().parent().map(Path::to_owned).unwrap_or_default();
    target.join("perf").join(format!("victoria-metrics-{}", std::process::id()))
}
