//! The default engine: one thread for each core, started together over the same port.
//!
//! [`serve`] is all that a handler needs. An owner with a configuration of its own opens the
//! listeners, fills in an [`EngineConfig`] and calls [`start`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::engine::{Engine, EngineConfig, EngineThread, Wake};
use super::epoll::Epoll;
use super::event_loop::EventLoop;
use super::inbox::Inbox;
use super::listener::{self, Listener};
use super::placement::pin_current_thread;
use super::socket::Socket;
use crate::http::handler::Handler;

/// Serves `address` with so many threads, each with a handler of its own, which `make` creates for
/// its number. Port 0 lets the kernel choose one: [`Engine::bound`] returns it.
///
/// # Errors
///
/// The address cannot be listened on, or the system grants too few descriptors or threads.
pub fn serve<H: Handler + Send + 'static>(
    address: SocketAddr,
    workers: usize,
    make: impl FnMut(usize) -> H,
) -> io::Result<Engine> {
    let listeners = listener::open(&address.into(), workers)?;
    start(listeners, &EngineConfig::for_workers(workers), make)
}

/// Starts one core for each listener, with the handler that `make` creates for its number.
///
/// # Errors
///
/// The system grants too few descriptors or threads. Nothing runs then.
pub fn start<H: Handler + Send + 'static>(
    listeners: Vec<Listener>,
    config: &EngineConfig,
    mut make: impl FnMut(usize) -> H,
) -> io::Result<Engine> {
    let workers = listeners.len();
    let bound = listeners.first().map(Listener::bound).transpose()?;
    let bound = bound.ok_or(io::ErrorKind::InvalidInput)?;
    let server = config.server_state(workers);
    let make = |(number, listener)| {
        let (epoll, waker) = Epoll::new(listener, config.peers.clone())?;
        Ok(EventLoop::new(number, epoll, Some(waker), make(number), server.clone()))
    };
    let cores: Vec<_> = listeners.into_iter().enumerate().map(make).collect::<io::Result<_>>()?;
    server.balancer.set_inboxes(cores.iter().map(EventLoop::inbox));
    let mut engine = Engine::new("percore", workers, bound, &server);
    for (number, core) in cores.into_iter().enumerate() {
        let pinned = config.placement.cores.as_ref().and_then(|cores| cores.get(number)).copied();
        match spawn(number, core, pinned) {
            Ok(thread) => engine.add(thread),
            Err(error) => {
                // Those that run already are stopped again; nobody has learnt of them yet.
                let _ = engine.drain(Duration::ZERO);
                return Err(error);
            }
        }
    }
    Ok(engine)
}

fn spawn<H: Handler + Send + 'static>(
    number: usize,
    core: EventLoop<H, Epoll>,
    pinned: Option<usize>,
) -> io::Result<EngineThread> {
    let waker = Box::new(core.inbox());
    let run = move || {
        if let Some(core) = pinned
            && !pin_current_thread(core)
        {
            tracing::warn!(core, "the kernel refused to pin this worker");
        }
        core.run()
    };
    let handle = thread::Builder::new().name(format!("core-{number}")).spawn(run)?;
    Ok(EngineThread { log_name: "a core", waker, handle })
}

impl Wake for Arc<Inbox<Socket>> {
    fn wake(&self) {
        Inbox::wake(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::FailedCores;
    use crate::http::handler::{Context, Reply};
    use crate::http::request::Request;
    use crate::http::response::{Response, TEXT};
    use crate::observer::Observer;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    /// A handler that panics at one request.
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
        let engine = serve(([127, 0, 0, 1], 0).into(), 2, |_| Fragile).unwrap();
        let address = engine.bound().internet().unwrap();
        let (broken, told) = ask(address, "/break");
        assert!(!matches!(told, Ok(1..)), "{told:?}");
        while engine.is_running() {
            thread::yield_now();
        }
        let clients: Vec<_> = (0..8).map(|_| ask(address, "/")).collect();
        for (_, told) in &clients {
            assert!(matches!(told, Ok(1..)), "{told:?}");
        }
        drop((clients, broken));
        assert_eq!(engine.drain(Duration::ZERO), Err(FailedCores(1)));
    }
}
