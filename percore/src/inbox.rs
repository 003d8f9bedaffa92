//! What other threads bring to a core: later answers, and newcomers that another core has accepted.

use std::net::SocketAddr;

use mio::Waker;

use crate::http::handler::{AnswerSink, RequestId};
use crate::http::response::Answer;
use crate::network::Stream;
use crate::sync::Mutex;

/// A connection that was accepted and not yet admitted.
#[derive(Debug)]
pub struct NewConnection<S> {
    /// Its socket.
    pub stream: S,
    /// Whence it came.
    pub peer: SocketAddr,
    /// Cores that had no idle connection to close for it.
    pub cores_asked: usize,
}

/// What is brought.
#[derive(Debug)]
pub enum Message<S> {
    /// An answer to one of the core's requests.
    Answer(RequestId, Answer),
    /// A connection to take in.
    Connection(NewConnection<S>),
}

/// The inbox of one core. Its length is bounded by connections: each waits for at most one answer,
/// and each newcomer is one.
#[derive(Debug)]
pub struct Inbox<S> {
    queue: Mutex<Queue<S>>,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Queue<S> {
    messages: Vec<Message<S>>,
    /// Nobody will look into it any more.
    closed: bool,
}

impl<S: Stream> Inbox<S> {
    /// Returns an inbox that wakes its core with `waker`, if it has one.
    #[must_use]
    pub const fn new(waker: Option<Waker>) -> Self {
        Self { queue: Mutex::new(Queue { messages: Vec::new(), closed: false }), waker }
    }

    /// Moves everything that was posted into `posted`, which is empty.
    pub fn take(&self, messages: &mut Vec<Message<S>>) {
        std::mem::swap(&mut self.queue.lock().messages, messages);
    }

    /// Ends the core's sleep.
    pub fn wake(&self) {
        // Writing to an event descriptor fails only when its counter is full: it is awake then.
        let _ = self.waker.as_ref().map(Waker::wake);
    }

    /// Posts something.
    ///
    /// # Errors
    ///
    /// The core has ended; what was brought comes back.
    pub fn post(&self, message: Message<S>) -> Result<(), Message<S>> {
        let first = {
            let mut queue = self.queue.lock();
            if queue.closed {
                return Err(message);
            }
            queue.messages.push(message);
            queue.messages.len() == 1
        };
        // Who posts to an inbox that has something in it knows that the core has been woken.
        if first {
            self.wake();
        }
        Ok(())
    }

    /// Closes it for good, unless something is in it.
    #[must_use]
    pub fn close_if_empty(&self) -> bool {
        let mut queue = self.queue.lock();
        queue.closed |= queue.messages.is_empty();
        queue.closed
    }

    /// Closes it for good, and drops what is in it.
    pub fn close(&self) {
        *self.queue.lock() = Queue { messages: Vec::new(), closed: true };
    }
}

impl<S: Stream> AnswerSink for Inbox<S> {
    fn deliver(&self, request: RequestId, answer: Answer) {
        // At a core that has ended nobody waits for it.
        let _ = self.post(Message::Answer(request, answer));
    }
}
