//! What other threads bring to a core: later answers, and newcomers that found no room elsewhere.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Registry, Token, Waker};

use crate::http::handler::{Mailbox, RequestId};
use crate::http::response::Answer;
use crate::sync::Mutex;

/// A connection that was accepted and not yet admitted.
#[derive(Debug)]
pub struct Newcomer {
    /// Its socket.
    pub stream: TcpStream,
    /// Whence it came.
    pub peer: SocketAddr,
    /// Cores that had no idle connection to close for it.
    pub asked: usize,
}

/// What is brought.
#[derive(Debug)]
pub enum Posted {
    /// An answer to one of the core's requests.
    Answer(RequestId, Answer),
    /// A connection to take in.
    Newcomer(Newcomer),
}

/// The inbox of one core. Its length is bounded by connections: each waits for at most one answer,
/// and each newcomer is one.
#[derive(Debug)]
pub struct Inbox {
    posted: Mutex<Vec<Posted>>,
    waker: Waker,
}

impl Inbox {
    /// An inbox that wakes the poll of `registry` under `token`.
    ///
    /// # Errors
    ///
    /// The kernel grants no event descriptor.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        Ok(Self { posted: Mutex::new(Vec::new()), waker: Waker::new(registry, token)? })
    }

    /// Moves everything that was posted into `posted`, which is empty.
    pub fn take(&self, posted: &mut Vec<Posted>) {
        std::mem::swap(&mut *self.posted.lock(), posted);
    }

    /// Ends the core's sleep.
    pub fn wake(&self) {
        // Writing to an event descriptor fails only when its counter is full: it is awake then.
        let _ = self.waker.wake();
    }

    /// Posts something.
    pub fn post(&self, something: Posted) {
        let first = {
            let mut posted = self.posted.lock();
            posted.push(something);
            posted.len() == 1
        };
        // Who posts to an inbox that has something in it knows that the core has been woken.
        if first {
            self.wake();
        }
    }
}

impl Mailbox for Inbox {
    fn deliver(&self, request: RequestId, answer: Answer) {
        self.post(Posted::Answer(request, answer));
    }
}
