//! The cores of one server: started together over the same port, and ended together.
//!
//! This is the engine as a library. [`serve`] is all that a handler needs; whoever has settings
//! and counters of his own opens the listeners, fills in a [`EngineConfig`] and calls [`Cores::start`].

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::balancer::Balancer;
use super::connection_table::AdmissionControl;
use super::context::ConnectionLimits;
use super::descriptors;
use super::event_loop::{EventLoop, ServerState};
use super::inbox::Inbox;
use super::listener::{self, Bound, Listener};
use super::placement::{Placement, pin_current_thread};
use super::shutdown::Shutdown;
use crate::clock::{Clock, nanoseconds};
use crate::http::handler::Handler;
use crate::limits::BODY_BYTES_DEFAULT;

/// How cores serve.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// On which processors.
    pub placement: Placement,
    /// Deadlines and sizes.
    pub patience: ConnectionLimits,
    /// A connection's age, in milliseconds; `u64::MAX` for no limit.
    pub connection_age_ms: u64,
    /// ConnectionTable that all cores may hold.
    pub connections_max: usize,
    /// The time.
    pub clock: Clock,
}

impl EngineConfig {
    /// What suits most: not pinned, the deadlines and sizes of the server's own flags, connections
    /// of any age and as many as the limit of open files allows, and counters of its own.
    #[must_use]
    pub fn of(workers: usize) -> Self {
        let descriptors = descriptors::raise_limit();
        Self {
            placement: Placement { cores: None, reason: "not asked for" },
            patience: ConnectionLimits {
                idle_ms: 75_000,
                request_ms: 10_000,
                body_bytes_max: BODY_BYTES_DEFAULT,
            },
            connection_age_ms: u64::MAX,
            connections_max: descriptors::connections_max(None, descriptors, workers),
            clock: Clock::start(),
        }
    }

    /// What `workers` cores have in common, none of which runs yet.
    pub(super) fn common(&self, workers: usize) -> ServerState {
        ServerState {
            patience: self.patience,
            connection_age_ms: self.connection_age_ms,
            population: Arc::new(AdmissionControl::new(self.connections_max)),
            crew: Arc::new(Balancer::new(workers)),
            shutdown: Arc::new(Shutdown::default()),
            clock: self.clock,
        }
    }
}

/// Serves a handler on `address` from so many threads, each with a handler of its own, which
/// `make` makes. Port 0 lets the kernel choose one: [`Cores::bound`] says which.
///
/// # Errors
///
/// The address cannot be listened on, or the system grants too few descriptors or threads.
pub fn serve<H: Handler + Send + 'static>(
    address: SocketAddr,
    workers: usize,
    make: impl FnMut(usize) -> H,
) -> io::Result<Cores> {
    let listeners = listener::open(&address.into(), workers)?;
    Cores::start(listeners, &EngineConfig::of(workers), make)
}

/// Running cores. They go on when this is dropped; [`Cores::drain`] ends them.
#[derive(Debug)]
pub struct Cores {
    bound: Bound,
    shutdown: Arc<Shutdown>,
    clock: Clock,
    threads: Vec<(Arc<Inbox>, JoinHandle<io::Result<()>>)>,
}

/// So many cores did not reach their orderly end; the log says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed(pub usize);

impl fmt::Display for Failed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} of the cores failed", self.0)
    }
}

impl std::error::Error for Failed {}

impl Cores {
    /// Starts one core for each listener, with the handler that `make` makes for its number.
    ///
    /// # Errors
    ///
    /// The system grants too few descriptors or threads. Nothing runs then.
    pub fn start<H: Handler + Send + 'static>(
        listeners: Vec<Listener>,
        setup: &EngineConfig,
        mut make: impl FnMut(usize) -> H,
    ) -> io::Result<Self> {
        let bound = listeners.first().map(Listener::bound).transpose()?;
        let bound = bound.ok_or(io::ErrorKind::InvalidInput)?;
        let common = setup.common(listeners.len());
        let make =
            |(number, listener)| EventLoop::new(number, listener, make(number), common.clone());
        let cores: Vec<_> =
            listeners.into_iter().enumerate().map(make).collect::<io::Result<_>>()?;
        common.crew.introduce(cores.iter().map(EventLoop::inbox));
        let shutdown = Arc::clone(&common.shutdown);
        let mut started = Self { bound, shutdown, clock: setup.clock, threads: Vec::new() };
        for (number, core) in cores.into_iter().enumerate() {
            if let Err(error) = started.run(number, core, &setup.placement) {
                // Those that run already are stopped again; none has been told of to anybody.
                let _ = started.drain(Duration::ZERO);
                return Err(error);
            }
        }
        Ok(started)
    }

    fn run<H: Handler + Send + 'static>(
        &mut self,
        number: usize,
        core: EventLoop<H>,
        placement: &Placement,
    ) -> io::Result<()> {
        let inbox = core.inbox();
        let pinned = placement.cores.as_ref().and_then(|cores| cores.get(number)).copied();
        let work = move || {
            if let Some(core) = pinned
                && !pin_current_thread(core)
            {
                tracing::warn!(core, "the kernel refused to pin this worker");
            }
            core.run()
        };
        let thread = thread::Builder::new().name(format!("core-{number}")).spawn(work)?;
        self.threads.push((inbox, thread));
        Ok(())
    }

    /// Where they listen; the port is the kernel's choice if 0 was asked for.
    #[must_use]
    pub const fn bound(&self) -> &Bound {
        &self.bound
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.threads.len()
    }

    /// Whether all of them run, as they do until they are drained.
    #[must_use]
    pub fn are_running(&self) -> bool {
        !self.threads.iter().any(|(_, thread)| thread.is_finished())
    }

    /// Takes them out of service: connections are still taken and answered, each answer the last of
    /// its connection, and handlers are told so.
    pub fn begin_drain(&self) {
        self.shutdown.begin();
        self.wake();
    }

    /// Closes the listeners and idle connections at once, finishes what is under way, and gives up
    /// what is left after `timeout`.
    ///
    /// # Errors
    ///
    /// How many failed, now or before.
    pub fn drain(self, timeout: Duration) -> Result<(), Failed> {
        let mut clock = self.clock;
        self.shutdown.close(clock.now().mono_ns.saturating_add(nanoseconds(timeout)));
        self.wake();
        self.join()
    }

    /// Waits until all have ended, which they do by themselves only if they fail.
    ///
    /// # Errors
    ///
    /// How many failed.
    pub fn join(self) -> Result<(), Failed> {
        let mut failed = 0;
        for (_, thread) in self.threads {
            match thread.join() {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => tracing::error!(%error, "a core ended"),
                Err(_) => tracing::error!("a core panicked"),
            }
            failed += 1;
        }
        if failed == 0 { Ok(()) } else { Err(Failed(failed)) }
    }

    fn wake(&self) {
        for (inbox, _) in &self.threads {
            inbox.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::handler::{Context, Reply};
    use crate::http::request::Request;
    use crate::http::response::{Response, TEXT};
    use crate::observer::Observer;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    /// What breaks at one request.
    struct Fragile;

    impl Observer for Fragile {}

    impl Handler for Fragile {
        fn handle(&mut self, request: &Request<'_>, _: &Context<'_>, _: &mut Vec<u8>) -> Reply {
            assert_ne!(request.path, "/break");
            Reply::Now(Response::ok(TEXT, 0))
        }
    }

    /// A connection that has asked for `path`, and what it is told first.
    fn ask(address: SocketAddr, path: &str) -> (TcpStream, io::Result<usize>) {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(client, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let told = client.read(&mut [0; 1024]);
        (client, told)
    }

    #[test]
    fn where_a_core_has_failed_the_others_serve_all_that_they_accept() {
        let cores = serve(([127, 0, 0, 1], 0).into(), 2, |_| Fragile).unwrap();
        let address = cores.bound().internet().unwrap();
        let (broken, told) = ask(address, "/break");
        assert!(!matches!(told, Ok(1..)), "{told:?}");
        while cores.are_running() {
            thread::yield_now();
        }
        let clients: Vec<_> = (0..8).map(|_| ask(address, "/")).collect();
        for (_, told) in &clients {
            assert!(matches!(told, Ok(1..)), "{told:?}");
        }
        drop((clients, broken));
        assert_eq!(cores.drain(Duration::ZERO), Err(Failed(1)));
    }
}
