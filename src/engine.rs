//! Which engine serves: ours, or the one to compare it with.

use std::io;
use std::time::Duration;

use crate::config::Engine;
use percore::cores::{Cores, EngineConfig, Failed};
use percore::http::handler::Handler;
use percore::listen::Listen;
use percore::listener::{self, Bound, Listener};
#[cfg(feature = "may-minihttp")]
use percore::may_minihttp::MayMinihttp;

/// An address that is ours, before anybody serves there.
#[derive(Debug)]
pub enum Entrance {
    /// A listener for each core.
    PerCore(Vec<Listener>),
    /// Only reserved: this engine listens by itself.
    #[cfg(feature = "may-minihttp")]
    MayMinihttp(listener::Reserved),
}

impl Entrance {
    /// Opens what `listen` means for so many workers. Port 0 lets the kernel choose one.
    ///
    /// # Errors
    ///
    /// The address is in use, is not this machine's, or needs a privilege; or this build does not
    /// have the engine.
    pub fn open(engine: Engine, listen: &Listen, workers: usize) -> io::Result<Self> {
        match engine {
            Engine::PerCore => listener::open(listen, workers).map(Self::PerCore),
            #[cfg(feature = "may-minihttp")]
            Engine::MayMinihttp => listener::reserve(listen).map(Self::MayMinihttp),
            #[cfg(not(feature = "may-minihttp"))]
            Engine::MayMinihttp => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// The running engine.
#[derive(Debug)]
pub enum Running {
    /// Ours.
    PerCore(Cores),
    /// The one to compare it with.
    #[cfg(feature = "may-minihttp")]
    MayMinihttp(MayMinihttp),
}

impl Running {
    /// Starts the workers, each with the handler that `make` makes for its number.
    ///
    /// # Errors
    ///
    /// The system grants too few descriptors or threads. Nothing runs then.
    pub fn start<H: Handler + Send + 'static>(
        entrance: Entrance,
        setup: &EngineConfig,
        workers: usize,
        make: impl FnMut(usize) -> H,
    ) -> io::Result<Self> {
        match entrance {
            Entrance::PerCore(listeners) => {
                debug_assert_eq!(listeners.len(), workers, "a listener for each core");
                Cores::start(listeners, setup, make).map(Self::PerCore)
            }
            #[cfg(feature = "may-minihttp")]
            Entrance::MayMinihttp(reserved) => {
                MayMinihttp::start(&reserved, setup, workers, make).map(Self::MayMinihttp)
            }
        }
    }

    /// The name, as `--engine` takes it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PerCore(_) => "percore",
            #[cfg(feature = "may-minihttp")]
            Self::MayMinihttp(_) => "may-minihttp",
        }
    }

    /// Where it listens; the port is the kernel's choice if 0 was asked for.
    #[must_use]
    pub const fn bound(&self) -> &Bound {
        match self {
            Self::PerCore(cores) => cores.bound(),
            #[cfg(feature = "may-minihttp")]
            Self::MayMinihttp(second) => second.bound(),
        }
    }

    /// How many workers it has.
    #[must_use]
    pub const fn count(&self) -> usize {
        match self {
            Self::PerCore(cores) => cores.count(),
            #[cfg(feature = "may-minihttp")]
            Self::MayMinihttp(second) => second.count(),
        }
    }

    /// Whether all of it runs, as it does until it is drained.
    #[must_use]
    pub fn is_running(&self) -> bool {
        match self {
            Self::PerCore(cores) => cores.are_running(),
            #[cfg(feature = "may-minihttp")]
            Self::MayMinihttp(second) => second.is_running(),
        }
    }

    /// Takes it out of service, see [`Cores::begin_drain`].
    pub fn begin_drain(&self) {
        match self {
            Self::PerCore(cores) => cores.begin_drain(),
            #[cfg(feature = "may-minihttp")]
            Self::MayMinihttp(second) => second.begin_drain(),
        }
    }

    /// Ends it, see [`Cores::drain`].
    ///
    /// # Errors
    ///
    /// How many of its threads failed, now or before.
    pub fn drain(self, timeout: Duration) -> Result<(), Failed> {
        match self {
            Self::PerCore(cores) => cores.drain(timeout),
            #[cfg(feature = "may-minihttp")]
            Self::MayMinihttp(second) => second.drain(timeout),
        }
    }
}
