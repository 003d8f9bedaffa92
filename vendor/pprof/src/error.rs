// Copyright 2019 TiKV Project Authors. Licensed under Apache-2.0.

use std::fmt;

#[derive(Debug)]
pub enum Error {
    Nix(nix::Error),
    Io(std::io::Error),
    Running,
    NotRunning,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nix(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Running => f.write_str("start running cpu profiler error"),
            Self::NotRunning => f.write_str("stop running cpu profiler error"),
        }
    }
}

impl std::error::Error for Error {}

impl From<nix::Error> for Error {
    fn from(error: nix::Error) -> Self {
        Self::Nix(error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

pub type Result<T> = std::result::Result<T, Error>;
