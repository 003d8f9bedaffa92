//! The network of a core in the kernel: an epoll, a listener and sockets.

use std::io;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token, Waker};

use crate::listener::Listener;
use crate::network::{Event, Incoming, Network, Readiness};
use crate::peer_rules::PeerRules;
use crate::socket::Socket;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// The epoll of one core, and its listener until that is closed.
#[derive(Debug)]
pub struct Epoll {
    poll: Poll,
    listener: Option<Listener>,
    rules: PeerRules,
}

impl Epoll {
    /// Returns an epoll that watches `listener`, by rules for its peers, and a waker to end its
    /// sleep.
    ///
    /// # Errors
    ///
    /// The kernel grants no epoll or event descriptor.
    pub fn new(mut listener: Listener, rules: PeerRules) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        Ok((Self { poll, listener: Some(listener), rules }, waker))
    }

    /// Waits for events, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// See man 2 epoll_wait; `Interrupted` by a signal.
    pub fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        self.poll.poll(events, timeout)
    }
}

impl Network for Epoll {
    type Stream = Socket;

    fn accept(&mut self) -> io::Result<Incoming<Socket>> {
        let incoming = self.listener.as_ref().ok_or(io::ErrorKind::WouldBlock)?.accept()?;
        Ok(Socket::accepted(incoming, &self.rules))
    }

    fn register(&mut self, stream: &mut Socket, slot: usize) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(stream.source(), Token(slot), interest)
    }

    fn deregister(&mut self, stream: &mut Socket) {
        // Closing the socket takes it out of epoll as well; a failure here changes nothing.
        let _ = self.poll.registry().deregister(stream.source());
    }

    fn close_listener(&mut self) {
        if let Some(mut listener) = self.listener.take() {
            // A Unix socket is shared by all cores, so the kernel would go on reporting it here. If
            // taking it out fails, it goes with this core.
            let _ = self.poll.registry().deregister(&mut listener);
        }
    }
}

impl From<&mio::event::Event> for Event {
    #[inline]
    fn from(event: &mio::event::Event) -> Self {
        match event.token() {
            LISTENER => Self::Incoming,
            WAKER => Self::WakeUp,
            Token(slot) => {
                let read_closed = event.is_read_closed() || event.is_error();
                Self::Stream(Readiness {
                    slot,
                    readable: event.is_readable() || read_closed,
                    read_closed,
                    write_closed: event.is_error() || event.is_write_closed(),
                })
            }
        }
    }
}
