//! What other threads bring to a core: later answers, and newcomers that another core has accepted.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Registry, Token, Waker};

use crate::http::handler::{AnswerSink, RequestId};
use crate::http::response::Answer;
use crate::sync::Mutex;

/// A connection that was accepted and not yet admitted.
#[derive(Debug)]
pub struct NewConnection {
    /// Its socket.
    pub stream: TcpStream,
    /// Whence it came.
    pub peer: SocketAddr,
    /// Cores that had no idle connection to close for it.
    pub cores_asked: usize,
}

/// What is brought.
#[derive(Debug)]
pub enum Message {
    /// An answer to one of the core's requests.
    Answer(RequestId, Answer),
    /// A connection to take in.
    Connection(NewConnection),
}

/// The inbox of one core. Its length is bounded by connections: each waits for at most one answer,
/// and each newcomer is one.
#[derive(Debug)]
pub struct Inbox {
    queue: Mutex<Queue>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Queue {
    messages: Vec<Message>,
    /// Nobody will look into it any more.
    closed: bool,
}

impl Inbox {
    /// An inbox that wakes the poll of `registry` under `token`.
    ///
    /// # Errors
    ///
    /// The kernel grants no event descriptor.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        Ok(Self { queue: Mutex::default(), waker: Waker::new(registry, token)? })
    }

    /// Moves everything that was posted into `posted`, which is empty.
    pub fn take(&self, messages: &mut Vec<Message>) {
        std::mem::swap(&mut self.queue.lock().messages, messages);
    }

    /// Ends the core's sleep.
    pub fn wake(&self) {
        // Writing to an event descriptor fails only when its counter is full: it is awake then.
        let _ = self.waker.wake();
    }

    /// Posts something.
    ///
    /// # Errors
    ///
    /// The core has ended; what was brought comes back.
    pub fn post(&self, message: Message) -> Result<(), Message> {
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

impl AnswerSink for Inbox {
    fn deliver(&self, request: RequestId, answer: Answer) {
        // At a core that has ended nobody waits for it.
        let _ = self.post(Message::Answer(request, answer));
    }
}
