//! The transfer of bytes from and to the stream.

use std::io::{self, ErrorKind};

use super::{Connection, Stage};
use crate::context::{AfterServe, CoreContext};
use crate::http::handler::Handler;
use crate::limits::LINGER_MS;
use crate::network::Stream;
use crate::observer::CloseReason;

impl<S: Stream> Connection<S> {
    /// Receives once, unless whole requests wait already; returns `None` when there is nothing to
    /// do.
    pub(super) fn receive<H: Handler>(
        &mut self,
        core: &mut CoreContext<'_, H>,
    ) -> Result<Option<usize>, CloseReason> {
        if self.has_unparsed {
            return Ok(Some(0));
        }
        if !self.readable {
            return Ok(None);
        }
        self.readable_ns = core.readable_ns;
        if self.tls.is_some() {
            return self.receive_records(core);
        }
        match self.read(&mut core.buffers.receive) {
            Ok(Some(0)) => Err(CloseReason::Client),
            Ok(received) => Ok(received),
            Err(error) => Err(reason_of(&error)),
        }
    }

    /// Reads once; returns `None` when nothing is readable, 0 at the end of the stream.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.stream.read(buffer) {
                Ok(bytes) => {
                    // A short read has drained the socket (man 7 epoll, question 9), unless the end
                    // of the stream follows.
                    self.readable = bytes == buffer.len() || self.peer_closed;
                    return Ok(Some(bytes));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes once; returns 0 when the stream is full.
    pub(super) fn write(stream: &mut S, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match stream.write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                outcome => return outcome,
            }
        }
    }

    /// Sends the out-buffer once, and keeps what the kernel does not take.
    pub(super) fn send<H>(&mut self, core: &mut CoreContext<'_, H>) -> Result<(), CloseReason> {
        if self.tls.is_some() {
            self.encrypt(core)?;
        }
        self.send_as_it_is(core)
    }

    /// Sends the out-buffer, which has what is to be on the wire.
    #[inline(always)]
    pub(super) fn send_as_it_is<H>(
        &mut self,
        core: &mut CoreContext<'_, H>,
    ) -> Result<(), CloseReason> {
        if !self.output.is_empty() {
            // A later answer, while those before it have not all been sent.
            let mut out = std::mem::take(&mut core.buffers.out);
            core.buffers.append(&mut self.output, &out);
            out.clear();
            core.buffers.out = out;
            return Ok(());
        }
        let mut out = std::mem::take(&mut core.buffers.out);
        let outcome = Self::write(&mut self.stream, &out);
        let rest = outcome.as_ref().ok().and_then(|sent| out.get(*sent..)).unwrap_or_default();
        if !rest.is_empty() {
            self.output = core.buffers.acquire(rest);
            self.sent = 0;
        }
        out.clear();
        core.buffers.out = out;
        outcome.map(|_| ()).map_err(|_| CloseReason::Error)
    }

    /// Sends kept output, as much as the kernel takes.
    pub(super) fn flush<H>(&mut self, core: &mut CoreContext<'_, H>) -> Result<(), CloseReason> {
        while let Some(rest) = self.output.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let sent = Self::write(&mut self.stream, rest).map_err(|_| CloseReason::Error)?;
            if sent == 0 {
                return Ok(());
            }
            self.sent += sent;
            self.active_ms = core.now.mono_ms();
        }
        core.buffers.release(std::mem::take(&mut self.output));
        self.sent = 0;
        Ok(())
    }

    /// Ends the output after the last answer, and waits for the peer to read it and close. To close
    /// with unread input would reset the connection, and a reset drops the answer (RFC 9112,
    /// section 9.6).
    pub(super) fn begin_lingering<H>(&mut self, core: &mut CoreContext<'_, H>) -> AfterServe {
        core.buffers.release(std::mem::take(&mut self.input));
        self.has_unparsed = false;
        if self.tls.is_some() {
            self.send_close(core);
            if !self.output.is_empty() {
                return AfterServe::Wait;
            }
        }
        if self.stream.shutdown_write().is_err() {
            return AfterServe::Close(self.close_reason());
        }
        self.stage = Stage::Lingering { until_ms: core.now.mono_ms() + LINGER_MS };
        self.discard_input(core)
    }

    /// Discards input until the peer closes.
    pub(super) fn discard_input<H>(&mut self, core: &mut CoreContext<'_, H>) -> AfterServe {
        if !self.readable && !self.peer_closed {
            return AfterServe::Wait;
        }
        match self.read(&mut core.buffers.receive) {
            Ok(Some(0)) | Err(_) => AfterServe::Close(self.close_reason()),
            Ok(_) if self.readable => AfterServe::Again,
            Ok(_) => AfterServe::Wait,
        }
    }
}

/// Returns the reason for which a connection ends that cannot be read.
pub(super) fn reason_of(error: &io::Error) -> CloseReason {
    match error.kind() {
        ErrorKind::QuotaExceeded => CloseReason::PeerLimit,
        ErrorKind::InvalidData => CloseReason::ProxyHeader,
        _ => CloseReason::Error,
    }
}
