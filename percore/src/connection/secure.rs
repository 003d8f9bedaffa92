//! TLS between the stream of a connection and its requests.
//!
//! Records are received into a buffer of the core and decrypted into the one that requests are
//! parsed in; answers are encrypted as a whole before they are sent. Only part of a record takes a
//! buffer from the pool, until the rest of it has come.

use std::fmt::Display;

use super::tls::Tls;
use super::transfer::reason_of;
use super::{Connection, Stage};
use crate::buffer_pool::BufferPool;
use crate::clock::Now;
use crate::context::{AfterServe, CoreContext};
use crate::http::handler::Handler;
use crate::http::request::asks_for_head;
use crate::http::request_error::RequestError;
use crate::limits::{TLS_PENDING_BYTES_MAX, TLS_RECEIVE_BYTES};
use crate::network::Stream;
use crate::observer::{CloseReason, HandshakeEnd, HandshakeOutcome, Observer};
use crate::tls::failure::TlsFailure;
use crate::tls::session::{Received, Session};

/// The type of a record of a handshake, the first byte of a connection with TLS (RFC 8446, section
/// 5.1). No request begins with it.
const HANDSHAKE_RECORD: u8 = 22;

/// A fatal alert `handshake_failure` (RFC 5246, section 7.2), which clients of any version read.
const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 1, 0, 2, 2, 40];

impl<S: Stream> Connection<S> {
    /// Has a connection that has not received anything speak TLS.
    pub fn secure(&mut self, session: Session) {
        self.stage = Stage::Handshaking { since_ms: self.active_ms };
        self.tls = Some(Box::new(Tls::new(session)));
    }

    /// Returns true while its handshake is not done.
    #[must_use]
    pub const fn is_handshaking(&self) -> bool {
        matches!(self.stage, Stage::Handshaking { .. })
    }

    /// Returns the name in the client's certificate.
    pub(super) fn identity(&self) -> Option<&str> {
        self.tls.as_ref().and_then(|tls| tls.identity.as_deref())
    }

    /// Receives records once, and returns the number of plain bytes in the receive buffer; `None`
    /// if there are none. What TLS itself has to say is sent.
    pub(super) fn receive_records<H: Handler>(
        &mut self,
        core: &mut CoreContext<'_, H>,
    ) -> Result<Option<usize>, CloseReason> {
        if self.is_handshaking() && *core.handshake_steps == 0 {
            self.is_deferred = true;
            return Ok(None);
        }
        let mut records = std::mem::take(&mut core.buffers.records);
        records.resize(TLS_PENDING_BYTES_MAX + TLS_RECEIVE_BYTES, 0);
        let received = self.read_records(&mut records, core);
        core.buffers.records = records;
        received
    }

    fn read_records<H: Handler>(
        &mut self,
        records: &mut [u8],
        core: &mut CoreContext<'_, H>,
    ) -> Result<Option<usize>, CloseReason> {
        let Some(tls) = &mut self.tls else {
            return Err(CloseReason::Error);
        };
        if tls.is_closed {
            return Err(CloseReason::Client);
        }
        let pending = tls.pending.len();
        let (before, free) = records.split_at_mut_checked(pending).ok_or(CloseReason::Error)?;
        before.copy_from_slice(&tls.pending);
        let (free, _) = free.split_at_mut_checked(TLS_RECEIVE_BYTES).ok_or(CloseReason::Error)?;
        let fresh = match self.read(free) {
            Ok(Some(0)) => return Err(self.end_of_records()),
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error) => return Err(reason_of(&error)),
        };
        let records = records.get_mut(..pending + fresh).unwrap_or_default();
        self.take_records(records, core)
    }

    /// Notes the end of the stream.
    fn end_of_records(&mut self) -> CloseReason {
        if let Some(tls) = &mut self.tls {
            tls.is_truncated = tls.is_established && !tls.is_closed;
        }
        CloseReason::Client
    }

    fn take_records<H: Handler>(
        &mut self,
        records: &mut [u8],
        core: &mut CoreContext<'_, H>,
    ) -> Result<Option<usize>, CloseReason> {
        let Some(tls) = &mut self.tls else {
            return Err(CloseReason::Error);
        };
        if !tls.has_begun && records.first().is_some_and(u8::is_ascii_alphabetic) {
            self.refuse_clear(asks_for_head(records), core);
            return Ok(Some(0));
        }
        tls.has_begun = true;
        let buffers = &mut *core.buffers;
        let received = tls.session.receive(records, &mut buffers.receive, &mut buffers.out);
        let received = match received {
            Ok(received) => received,
            Err(failure) => return self.fail(&failure, core).map(|()| None),
        };
        *core.handshake_steps = core.handshake_steps.saturating_sub(received.took_step.into());
        tls.is_closed = received.is_closed;
        let rest = records.get(received.consumed..).unwrap_or_default();
        // After its end the client has nothing to say.
        let rest = if received.is_closed { &[] } else { rest };
        buffers.release(std::mem::take(&mut tls.pending));
        if !rest.is_empty() {
            tls.pending = buffers.acquire(rest);
        }
        if rest.len() > TLS_PENDING_BYTES_MAX {
            return Err(CloseReason::Error);
        }
        self.note_progress(&received, core)?;
        if !core.buffers.out.is_empty() {
            self.send_as_it_is(core)?;
        }
        Ok((received.plain > 0).then_some(received.plain))
    }

    /// Follows the handshake, and what is pending, with the stage of the connection.
    fn note_progress<H: Handler>(
        &mut self,
        received: &Received,
        core: &mut CoreContext<'_, H>,
    ) -> Result<(), CloseReason> {
        let is_handshaking = self.is_handshaking();
        let Some(tls) = &self.tls else {
            return Err(CloseReason::Error);
        };
        // The end that the client has announced is met by the next reading.
        self.readable |= tls.is_closed;
        if is_handshaking {
            if !tls.session.is_handshaking() {
                self.establish(core)?;
            }
            return Ok(());
        }
        let is_pending = !tls.pending.is_empty();
        match self.stage {
            // Half a record has the deadline of half a request.
            Stage::Idle if is_pending => {
                self.stage = Stage::Receiving { since_ms: core.now.mono_ms() };
            }
            Stage::Receiving { .. }
                if !is_pending
                    && received.plain == 0
                    && self.input.is_empty()
                    && !self.reader.has_read_head() =>
            {
                self.stage = Stage::Idle;
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes a handshake that is done.
    fn establish<H: Handler>(&mut self, core: &mut CoreContext<'_, H>) -> Result<(), CloseReason> {
        let Some(tls) = &mut self.tls else {
            return Err(CloseReason::Error);
        };
        let established = tls.session.established();
        let now_unix_s = core.now.wall_us / 1_000_000;
        if established.client.as_ref().is_some_and(|client| client.expires_unix_s < now_unix_s) {
            // A ticket is younger than the certificate that it was given for, but may outlive it.
            return self.fail(&TlsFailure::expired(), core);
        }
        tls.is_established = true;
        tls.identity = established.client.and_then(|client| client.name).map(Into::into);
        self.stage = Stage::Idle;
        self.active_ms = core.now.mono_ms();
        let (outcome, version) = (established.outcome, Some(established.version));
        let end = HandshakeEnd { outcome, version, reason: &"" };
        core.handler.handshake_ended(&end, &self.stream, core.now);
        Ok(())
    }

    /// Ends a connection whose TLS has failed, with the alert that is in the out-buffer.
    fn fail<H: Handler>(
        &mut self,
        failure: &TlsFailure,
        core: &mut CoreContext<'_, H>,
    ) -> Result<(), CloseReason> {
        let handshaking = self.is_handshaking();
        if let Some(tls) = &mut self.tls {
            tls.has_failed = true;
            core.buffers.release(std::mem::take(&mut tls.pending));
        }
        if handshaking {
            self.tell_failed(failure.outcome(), failure, core.handler, core.now);
        }
        self.closing = Some(if handshaking { CloseReason::Handshake } else { CloseReason::Error });
        self.stage = Stage::Idle;
        if core.buffers.out.is_empty() { Ok(()) } else { self.send_as_it_is(core) }
    }

    /// Tells the observer of a handshake that will not be done.
    fn tell_failed(
        &self,
        outcome: HandshakeOutcome,
        reason: &dyn Display,
        observer: &mut impl Observer,
        now: Now,
    ) {
        let end = HandshakeEnd { outcome, version: None, reason };
        observer.handshake_ended(&end, &self.stream, now);
    }

    /// Answers a request in clear with an error in clear.
    #[cold]
    fn refuse_clear<H: Handler>(&mut self, asks_for_head: bool, core: &mut CoreContext<'_, H>) {
        self.tls = None;
        let reason = RequestError::InClear;
        self.tell_failed(HandshakeOutcome::Clear, &reason, core.handler, core.now);
        self.answer_error(reason, asks_for_head, core);
    }

    /// Returns true if these bytes begin a handshake of TLS on a connection in clear.
    #[cold]
    pub(super) fn is_hello(&self, bytes: &[u8]) -> bool {
        self.requests == 0 && self.tls.is_none() && bytes.first() == Some(&HANDSHAKE_RECORD)
    }

    /// Answers a handshake on a connection in clear in its own language.
    #[cold]
    pub(super) fn refuse_hello<H>(&mut self, core: &mut CoreContext<'_, H>) {
        core.buffers.out.extend_from_slice(&HANDSHAKE_FAILURE);
        self.stage = Stage::Idle;
        self.closing = Some(CloseReason::Error);
    }

    /// Returns the next step after a reading that has brought no bytes of requests.
    pub(super) fn after_no_request<H: Handler>(
        &mut self,
        core: &mut CoreContext<'_, H>,
    ) -> AfterServe {
        if !self.output.is_empty() {
            return AfterServe::Wait;
        }
        if self.closing.is_some() {
            return self.begin_lingering(core);
        }
        if self.readable { AfterServe::Again } else { AfterServe::Wait }
    }

    /// Makes records of the answers in the out-buffer.
    pub(super) fn encrypt<H>(&mut self, core: &mut CoreContext<'_, H>) -> Result<(), CloseReason> {
        let BufferPool { out, encrypted, .. } = &mut *core.buffers;
        let Some(tls) = self.tls.as_mut().filter(|tls| !tls.has_failed) else {
            out.clear();
            return Err(CloseReason::Error);
        };
        encrypted.clear();
        let outcome = tls.session.encrypt(out, &mut tls.pending, encrypted);
        out.clear();
        std::mem::swap(out, encrypted);
        outcome.map_err(|_| CloseReason::Error)
    }

    /// Tells the client that no more is sent, once.
    pub(super) fn send_close<H>(&mut self, core: &mut CoreContext<'_, H>) {
        if self.append_close(&mut core.buffers.out) {
            // The end of the stream follows in any case.
            let _ = self.send_as_it_is(core);
        }
    }

    fn append_close(&mut self, out: &mut Vec<u8>) -> bool {
        let ready = |tls: &&mut Box<Tls>| tls.is_established && !tls.has_failed;
        let tls = self.tls.as_mut().filter(ready).filter(|tls| !tls.is_close_sent);
        let Some(tls) = tls else {
            return false;
        };
        tls.is_close_sent = true;
        tls.session.close(&mut tls.pending, out);
        !out.is_empty()
    }

    /// Ends a connection whose handshake was not done in time.
    pub(super) fn expire_handshake<H: Handler>(
        &mut self,
        core: &mut CoreContext<'_, H>,
    ) -> AfterServe {
        if self.over_limit() {
            return AfterServe::Close(CloseReason::Limit);
        }
        if let Some(tls) = &mut self.tls {
            tls.has_failed = true;
        }
        let reason = "not done in time (--request-timeout)";
        self.tell_failed(HandshakeOutcome::Timeout, &reason, core.handler, core.now);
        AfterServe::Close(CloseReason::Handshake)
    }

    /// Ends the TLS of a connection that is about to be closed: tells the client if the stream has
    /// room for that, and the observer.
    pub fn end_tls(&mut self, reason: CloseReason, observer: &mut impl Observer, now: Now) {
        let Some(tls) = &self.tls else {
            return;
        };
        if tls.is_established {
            observer.tls_closed(tls.is_truncated);
            let mut alert = Vec::new();
            if self.output.is_empty() && !self.peer_gone && self.append_close(&mut alert) {
                // As the stream is closed now, what it does not take is lost anyway.
                let _ = Self::write(&mut self.stream, &alert);
            }
        } else if !tls.has_failed {
            let (outcome, words) = match (tls.has_begun, reason) {
                // A probe may end with a reset; and what a proxy has said is no handshake.
                (
                    false,
                    CloseReason::Client
                    | CloseReason::Error
                    | CloseReason::PeerLimit
                    | CloseReason::ProxyHeader,
                ) => (HandshakeOutcome::Unused, "nothing was sent"),
                (_, CloseReason::Client | CloseReason::Error) => {
                    (HandshakeOutcome::Aborted, "the client has gone")
                }
                _ => (HandshakeOutcome::Aborted, "closed for another connection, or at the end"),
            };
            self.tell_failed(outcome, &words, observer, now);
        }
    }
}
