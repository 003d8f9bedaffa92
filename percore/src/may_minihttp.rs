//! The second engine: the same handlers behind `may_minihttp`, to compare the first one with.
//!
//! `may_minihttp` accepts connections, runs one coroutine for each, reads heads and writes answers.
//! It calls an [`exchange`] with each request. It reports nothing of connections by itself, so
//! [`connections`] keeps them, and a thread of ours, the reaper, ends those that are overdue. Work
//! stealing is off: a coroutine runs at the worker `descriptor % workers`, and each worker has a
//! handler in [`shared`].
//!
//! Where `may_minihttp` 0.1.11 falls short, this module makes up for it as far as a service can:
//! lengths are checked before it touches a body, an unread body never passes for a request, and
//! connections are ended through a duplicate of their socket. `ARCHITECTURE.md` lists the rest.

mod answer_slot;
mod connections;
mod exchange;
mod fields;
mod shared;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use may_minihttp::HttpServiceFactory;

use super::engine::{Engine, EngineConfig, EngineThread, Wake};
use super::listener::{Address, Reserved};
use crate::http::handler::Handler;
use exchange::Exchange;
use shared::Shared;

/// Stack of a coroutine, in words: 128 KiB, of which a request touches a fifth. The default of may
/// is a quarter of that, and an overflow ends the process.
const STACK_WORDS: usize = 16 * 1024;

/// Starts to serve at the reserved address, with the handler that `make` creates for each worker.
/// The workers of may belong to the process and never end: a second engine in it has as many as the
/// first. Nor can `may_minihttp` be told to stop listening: after [`Engine::drain`] it goes on
/// accepting connections, and they are closed at once.
///
/// # Errors
///
/// The system grants no thread.
pub fn start<H: Handler + Send + 'static>(
    reserved: &Reserved,
    config: &EngineConfig,
    workers: usize,
    make: impl FnMut(usize) -> H,
) -> io::Result<Engine> {
    let pinned = config.placement.cores.is_some();
    may::config().set_workers(workers).set_stack_size(STACK_WORDS).set_worker_pin(pinned);
    let server = config.server_state(workers);
    let mut engine = Engine::new("may-minihttp", workers, reserved.bound.clone(), &server);
    let shared = Arc::new(Shared::new(server, workers, make));
    for address in reserved.bound.addresses() {
        if let Address::Internet(address) = address {
            // The coroutine that accepts runs on without its handle.
            let _ = ServiceFactory(Arc::clone(&shared)).start(*address)?;
        }
    }
    let (waker, woken) = channel();
    let run = move || {
        shared.run_reaper(&woken);
        Ok(())
    };
    let handle = thread::Builder::new().name("warden".to_owned()).spawn(run)?;
    engine.add(EngineThread { log_name: "the warden", waker: Box::new(waker), handle });
    Ok(engine)
}

impl Wake for Sender<()> {
    fn wake(&self) {
        // It fails only when the reaper has ended.
        let _ = self.send(());
    }
}

/// Creates a service for each connection that `may_minihttp` has accepted.
struct ServiceFactory<H>(Arc<Shared<H>>);

impl<H: Handler + Send + 'static> HttpServiceFactory for ServiceFactory<H> {
    type Service = Exchange<H>;

    fn new_service(&self, descriptor: usize) -> Exchange<H> {
        Exchange::new(Arc::clone(&self.0), descriptor)
    }
}
