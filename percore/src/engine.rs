//! The engine as its owner sees it: its configuration before it runs, and its control afterwards.
//!
//! Both engines of this crate are one [`Engine`] to their owner: [`cores`](crate::cores) starts the
//! first, `may_minihttp` the second.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::admission::AdmissionControl;
use super::balancer::Balancer;
use super::context::ConnectionLimits;
use super::descriptors;
use super::listener::Bound;
use super::peer_rules::PeerRules;
use super::placement::Placement;
use super::server_state::ServerState;
use super::shutdown::Shutdown;
use crate::clock::{Clock, nanoseconds};
use crate::limits::BODY_BYTES_DEFAULT;
use crate::network::Stream;
use crate::tls::acceptor::Acceptor;

/// The configuration of an engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The processors that its threads run on.
    pub placement: Placement,
    /// Deadlines of connections, and the size of bodies.
    pub limits: ConnectionLimits,
    /// The maximum age of a connection in milliseconds; `u64::MAX` for no limit.
    pub connection_age_ms: u64,
    /// The most connections that all cores together hold.
    pub connections_max: usize,
    /// The credentials of TLS, for listeners where it is spoken.
    pub acceptor: Option<Arc<Acceptor>>,
    /// The rules for peers.
    pub peers: PeerRules,
    /// The clock.
    pub clock: Clock,
}

impl EngineConfig {
    /// Returns a configuration that suits most: threads that are not pinned, the deadlines and
    /// sizes that are the defaults of corepulse, connections of any age, and as many of them as the
    /// limit of open files allows.
    pub fn for_workers(workers: usize) -> Self {
        let descriptors = descriptors::raise_limit();
        Self {
            placement: Placement { cores: None, reason: "not asked for" },
            limits: ConnectionLimits {
                idle_ms: 75_000,
                request_ms: 10_000,
                body_bytes_max: BODY_BYTES_DEFAULT,
            },
            connection_age_ms: u64::MAX,
            connections_max: descriptors::connections_max(None, descriptors, workers),
            acceptor: None,
            peers: PeerRules::default(),
            clock: Clock::start(),
        }
    }

    /// Returns the state of a server with so many workers, none of which runs yet.
    pub fn server_state<S: Stream>(&self, workers: usize) -> ServerState<S> {
        ServerState {
            limits: self.limits,
            connection_age_ms: self.connection_age_ms,
            admission_control: Arc::new(AdmissionControl::new(self.connections_max)),
            balancer: Arc::new(Balancer::new(workers)),
            shutdown: Arc::new(Shutdown::default()),
            acceptor: self.acceptor.clone(),
            clock: self.clock,
        }
    }
}

/// The number of threads that did not reach their orderly end; the log says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} of the cores failed")]
pub struct FailedCores(pub usize);

/// A running engine. It goes on when this is dropped; [`Engine::drain`] ends it.
#[derive(Debug)]
pub struct Engine {
    name: &'static str,
    workers: usize,
    bound: Bound,
    shutdown: Arc<Shutdown>,
    clock: Clock,
    threads: Vec<EngineThread>,
}

/// A thread of an engine, which ends only when the engine is drained, or by a failure.
#[derive(Debug)]
pub(crate) struct EngineThread {
    /// The thread's name in the log.
    pub(crate) log_name: &'static str,
    /// Ends the thread's sleep.
    pub(crate) waker: Box<dyn Wake>,
    /// The thread.
    pub(crate) handle: JoinHandle<io::Result<()>>,
}

/// Ends the sleep of a thread.
pub(crate) trait Wake: fmt::Debug + Send + Sync {
    /// Wakes the thread; does nothing if it has ended.
    fn wake(&self);
}

impl Engine {
    /// Returns an engine of this name without threads.
    pub(crate) fn new(
        name: &'static str,
        workers: usize,
        bound: Bound,
        server: &ServerState,
    ) -> Self {
        Self {
            name,
            workers,
            bound,
            shutdown: Arc::clone(&server.shutdown),
            clock: server.clock,
            threads: Vec::new(),
        }
    }

    /// Adds a running thread.
    pub(crate) fn add(&mut self, thread: EngineThread) {
        self.threads.push(thread);
    }

    /// Returns the name, as corepulse's `--engine` has it.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the number of workers.
    pub const fn workers(&self) -> usize {
        self.workers
    }

    /// Returns the addresses where it listens; a port is the kernel's choice if 0 was asked for.
    pub const fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Returns true while all threads run, as they do until they are drained.
    pub fn is_running(&self) -> bool {
        !self.threads.iter().any(|thread| thread.handle.is_finished())
    }

    /// Takes the engine out of service: connections are still accepted and answered, but each
    /// answer is the last of its connection, and handlers see that the server drains.
    pub fn begin_drain(&self) {
        self.shutdown.begin_drain();
        self.wake();
    }

    /// Stops accepting, closes idle connections at once, finishes the requests under way, and gives
    /// up the rest after `timeout`.
    ///
    /// # Errors
    ///
    /// The number of threads that failed, now or before.
    pub fn drain(self, timeout: Duration) -> Result<(), FailedCores> {
        let mut clock = self.clock;
        self.shutdown.close(clock.now().mono_ns.saturating_add(nanoseconds(timeout)));
        self.wake();
        self.join()
    }

    /// Waits until all threads have ended, which they do by themselves only if they fail.
    ///
    /// # Errors
    ///
    /// The number of threads that failed.
    pub fn join(self) -> Result<(), FailedCores> {
        let mut failed = 0;
        for EngineThread { log_name, handle, .. } in self.threads {
            match handle.join() {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => tracing::error!(%error, "{log_name} ended"),
                Err(_) => tracing::error!("{log_name} panicked"),
            }
            failed += 1;
        }
        if failed == 0 { Ok(()) } else { Err(FailedCores(failed)) }
    }

    fn wake(&self) {
        self.threads.iter().for_each(|thread| thread.waker.wake());
    }
}
