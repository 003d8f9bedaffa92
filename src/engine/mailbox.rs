//! Answers that other threads made, brought to the core that owns the connection.

use std::io;

use mio::{Registry, Token, Waker};

use crate::http::handler::{Mailbox, RequestId};
use crate::http::response::Answer;
use crate::sync::Mutex;

/// The inbox of one core. Its length is bounded by the core's connections: each waits for at most
/// one answer.
#[derive(Debug)]
pub struct Inbox {
    posted: Mutex<Vec<(RequestId, Answer)>>,
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

    /// Moves everything that was posted into `answers`, which is empty.
    pub fn take(&self, answers: &mut Vec<(RequestId, Answer)>) {
        std::mem::swap(&mut *self.posted.lock(), answers);
    }

    /// Ends the core's sleep.
    pub fn wake(&self) {
        // Writing to an event descriptor fails only when its counter is full: it is awake then.
        let _ = self.waker.wake();
    }
}

impl Mailbox for Inbox {
    fn deliver(&self, request: RequestId, answer: Answer) {
        let first = {
            let mut posted = self.posted.lock();
            posted.push((request, answer));
            posted.len() == 1
        };
        // Who posts to an inbox that has something in it knows that the core has been woken.
        if first {
            self.wake();
        }
    }
}
