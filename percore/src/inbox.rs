//! The inbox of a core: later answers from other threads, and connections that other cores have
//! accepted.

use mio::Waker;

use crate::http::handler::{AnswerSink, RequestId};
use crate::http::response::Answer;
use crate::network::{Incoming, Stream};
use crate::sync::Mutex;

/// A connection that was accepted and not yet admitted.
#[derive(Debug)]
pub struct NewConnection<S> {
    /// The stream, and where it came from.
    pub incoming: Incoming<S>,
    /// The number of cores that had no idle connection to close for it.
    pub cores_asked: usize,
}

/// A message to a core.
#[derive(Debug)]
pub enum Message<S> {
    /// The answer to one of the core's requests.
    Answer(RequestId, Answer),
    /// A connection to admit.
    Connection(NewConnection<S>),
}

/// The inbox of one core. Its length is bounded by the number of connections: each waits for at
/// most one answer, and each new one is one message.
#[derive(Debug)]
pub struct Inbox<S> {
    queue: Mutex<Queue<S>>,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Queue<S> {
    messages: Vec<Message<S>>,
    /// True if no message is accepted any more.
    closed: bool,
}

impl<S: Stream> Inbox<S> {
    /// Returns an inbox that wakes its core with `waker`, if it has one.
    pub const fn new(waker: Option<Waker>) -> Self {
        Self { queue: Mutex::new(Queue { messages: Vec::new(), closed: false }), waker }
    }

    /// Moves all messages into `messages`, which is empty, and returns true if there are any.
    pub fn take(&self, messages: &mut Vec<Message<S>>) -> bool {
        let mut queue = self.queue.lock();
        if queue.messages.is_empty() {
            return false;
        }
        std::mem::swap(&mut queue.messages, messages);
        true
    }

    /// Ends the core's sleep.
    pub fn wake(&self) {
        // Writing to an event descriptor fails only when its counter is full: the core is awake
        // then.
        let _ = self.waker.as_ref().map(Waker::wake);
    }

    /// Posts a message.
    ///
    /// # Errors
    ///
    /// The core has ended; the message comes back.
    pub fn post(&self, message: Message<S>) -> Result<(), Message<S>> {
        let first = {
            let mut queue = self.queue.lock();
            if queue.closed {
                return Err(message);
            }
            queue.messages.push(message);
            queue.messages.len() == 1
        };
        // If the inbox was not empty before, an earlier message has woken the core.
        if first {
            self.wake();
        }
        Ok(())
    }

    /// Closes the inbox for good if it is empty, and returns true if it is closed.
    #[must_use]
    pub fn close_if_empty(&self) -> bool {
        let mut queue = self.queue.lock();
        queue.closed |= queue.messages.is_empty();
        queue.closed
    }

    /// Closes the inbox for good, and drops its messages.
    pub fn close(&self) {
        *self.queue.lock() = Queue { messages: Vec::new(), closed: true };
    }
}

impl<S: Stream> AnswerSink for Inbox<S> {
    fn deliver(&self, request: RequestId, answer: Answer) {
        // At a core that has ended, no client waits for the answer.
        let _ = self.post(Message::Answer(request, answer));
    }
}
