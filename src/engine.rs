//! The choice of the engine: the default one, or `may_minihttp` to compare it with.

use std::io;

use crate::config;
use percore::cores;
use percore::engine::{Engine, EngineConfig};
use percore::http::handler::Handler;
use percore::listen::Listen;
use percore::listener::{self, Listener};
#[cfg(feature = "may-minihttp")]
use percore::may_minihttp;

/// The address of an engine that does not run yet: no other server can take it any more.
#[derive(Debug)]
pub enum BoundAddress {
    /// A listener for each core of the default engine.
    PerCore(Vec<Listener>),
    /// Only reserved: `may_minihttp` listens by itself.
    #[cfg(feature = "may-minihttp")]
    MayMinihttp(listener::Reserved),
}

impl BoundAddress {
    /// Binds the address for so many workers. Port 0 lets the kernel choose one.
    ///
    /// # Errors
    ///
    /// The address is in use, is not this machine's, or needs a privilege; or this build does not
    /// have the engine.
    pub fn bind(engine: config::Engine, listen: &Listen, workers: usize) -> io::Result<Self> {
        match engine {
            config::Engine::PerCore => listener::open(listen, workers).map(Self::PerCore),
            #[cfg(feature = "may-minihttp")]
            config::Engine::MayMinihttp => listener::reserve(listen).map(Self::MayMinihttp),
            #[cfg(not(feature = "may-minihttp"))]
            config::Engine::MayMinihttp => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Binds one more address, where TLS is spoken or not.
    ///
    /// # Errors
    ///
    /// As for [`Self::bind`]; only the default engine has several addresses, and speaks TLS.
    pub fn also_bind(self, listen: &Listen, is_secure: bool) -> io::Result<Self> {
        match self {
            Self::PerCore(listeners) => {
                let more = listener::open(listen, listeners.len())?;
                let both = listeners.into_iter().zip(more);
                Ok(Self::PerCore(both.map(|(one, more)| one.with(more, is_secure)).collect()))
            }
            #[cfg(feature = "may-minihttp")]
            Self::MayMinihttp(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Starts the engine, with the handler that `make` creates for the number of each worker.
    ///
    /// # Errors
    ///
    /// The system grants too few descriptors or threads. Nothing runs then.
    pub fn start<H: Handler + Send + 'static>(
        self,
        config: &EngineConfig,
        workers: usize,
        make: impl FnMut(usize) -> H,
    ) -> io::Result<Engine> {
        match self {
            Self::PerCore(listeners) => {
                debug_assert_eq!(listeners.len(), workers, "a listener for each core");
                cores::start(listeners, config, make)
            }
            #[cfg(feature = "may-minihttp")]
            Self::MayMinihttp(reserved) => may_minihttp::start(&reserved, config, workers, make),
        }
    }
}
