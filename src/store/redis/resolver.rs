//! A resolver of host names with a bound on the wait.
//!
//! `getaddrinfo` may take half a minute if a name server does not answer, and cannot be cancelled.
//! So a thread calls it, and the caller waits for that thread until its time is over. The thread
//! runs to its end, and the next caller for the same name gets its answer.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam::channel::{self, Receiver, RecvTimeoutError};

use crate::limits::STORE_RESOLUTIONS_MAX;
use percore::sync::Mutex;

/// All addresses of a host, each with this port.
type Addresses = Vec<SocketAddr>;

pub(super) struct Resolver {
    ask: fn(&str, u16) -> io::Result<Addresses>,
    /// Threads that run.
    running: Arc<AtomicUsize>,
    /// Answers that no caller waits for at the moment.
    unclaimed: Mutex<Vec<Unclaimed>>,
}

/// The future answer to a call whose caller has stopped waiting.
struct Unclaimed {
    host: String,
    port: u16,
    answer: Receiver<io::Result<Addresses>>,
}

/// The resolver of the system.
impl Default for Resolver {
    fn default() -> Self {
        Self::new(|host, port| (host, port).to_socket_addrs().map(Iterator::collect))
    }
}

impl Resolver {
    fn new(ask: fn(&str, u16) -> io::Result<Addresses>) -> Self {
        Self { ask, running: Arc::new(AtomicUsize::new(0)), unclaimed: Mutex::new(Vec::new()) }
    }

    /// Returns the addresses of a host within `wait`. A host that is an address needs no resolving.
    pub(super) fn resolve(&self, host: &str, port: u16, wait: Duration) -> io::Result<Addresses> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![(address, port).into()]);
        }
        let answer = match self.take_unclaimed(host, port) {
            Some(answer) => answer,
            None => self.begin(host, port)?,
        };
        match answer.recv_timeout(wait) {
            Ok(addresses) => addresses,
            Err(RecvTimeoutError::Timeout) => {
                self.unclaimed.lock().push(Unclaimed { host: host.to_owned(), port, answer });
                Err(io::Error::new(ErrorKind::TimedOut, "its name is not resolved in time"))
            }
            Err(RecvTimeoutError::Disconnected) => Err(ErrorKind::Interrupted.into()),
        }
    }

    fn take_unclaimed(&self, host: &str, port: u16) -> Option<Receiver<io::Result<Addresses>>> {
        let mut unclaimed = self.unclaimed.lock();
        let at = unclaimed.iter().position(|one| one.host == host && one.port == port)?;
        Some(unclaimed.swap_remove(at).answer)
    }

    fn begin(&self, host: &str, port: u16) -> io::Result<Receiver<io::Result<Addresses>>> {
        let more = |running| (running < STORE_RESOLUTIONS_MAX).then_some(running + 1);
        if self.running.try_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            // Answers for names that no caller asks for again must not be kept for ever.
            self.unclaimed.lock().retain(|one| one.answer.is_empty());
            return Err(io::Error::new(ErrorKind::TimedOut, "other names are not resolved yet"));
        }
        let (sender, answer) = channel::bounded(1);
        let (ask, running, host) = (self.ask, Arc::clone(&self.running), host.to_owned());
        let work = move || {
            let addresses = ask(&host, port);
            running.fetch_sub(1, Ordering::Relaxed);
            // The caller may be gone.
            let _ = sender.send(addresses);
        };
        let started = thread::Builder::new().name("resolver".to_owned()).spawn(work);
        if let Err(error) = started {
            self.running.fetch_sub(1, Ordering::Relaxed);
            return Err(error);
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// The name server of these tests answers while this lock is free.
    static GATE: StdMutex<()> = StdMutex::new(());

    fn slow(host: &str, port: u16) -> io::Result<Addresses> {
        let _gate = GATE.lock();
        if host == "nowhere" { Err(ErrorKind::NotFound.into()) } else { Ok(address(port)) }
    }

    fn address(port: u16) -> Addresses {
        vec![([127, 0, 0, 9], port).into()]
    }

    #[test]
    fn a_name_server_that_does_not_answer_is_not_waited_for() {
        let resolver = Resolver::new(slow);
        let gate = GATE.lock();
        // An address needs no resolving.
        assert_eq!(resolver.resolve("::1", 7, LONG).unwrap(), ["[::1]:7".parse().unwrap()]);
        let since = Instant::now();
        let wait = Duration::from_millis(20);
        for _ in 0..3 {
            let error = resolver.resolve("cache", 7, wait).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        }
        assert!(since.elapsed() < LONG / 2);
        assert_eq!(resolver.running.load(Ordering::Relaxed), 1, "one thread a name");
        // Others have threads of their own, up to a bound.
        for number in 1..STORE_RESOLUTIONS_MAX + 3 {
            resolver.resolve(&format!("cache-{number}"), 7, wait).unwrap_err();
        }
        assert_eq!(resolver.running.load(Ordering::Relaxed), STORE_RESOLUTIONS_MAX);
        drop(gate);
        // What was asked for before is answered now.
        assert_eq!(resolver.resolve("cache", 7, LONG).unwrap(), address(7));
        while resolver.running.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        let error = resolver.resolve("nowhere", 7, LONG).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(resolver.resolve("new", 8, LONG).unwrap(), address(8));
    }
}
