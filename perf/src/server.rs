//! Servers that can be measured, each a program beside this one.

use crate::cores::run_on;
use clap::ValueEnum;
use core_affinity::CoreId;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::Server;

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
        let mut command = Command::new(folder().join(program));
        command.args(["--listen", "127.0.0.1:0"]).args(own).args(arguments);
        run_on(core, || Ok(Server::start_command(command)))
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
            Self::GoSeed => "not built (make peers, with a Go toolchain)",
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
