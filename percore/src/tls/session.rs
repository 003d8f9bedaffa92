//! The TLS of one connection: records in, plain bytes out, and the other way round.
//!
//! Pure: no socket, no clock but that of certificates, and no buffers. Records that are not whole
//! stay with the caller, who passes them again with what follows.

use std::fmt;
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{Error, HandshakeKind, ProtocolVersion, ServerConfig};

use super::certificate::CertificateFacts;
use super::failure::TlsFailure;
use crate::observer::{HandshakeOutcome, TlsVersion};

/// Plain bytes of one record (RFC 8446, section 5.1).
const FRAGMENT_BYTES: usize = 16 * 1024;

/// Bytes that a record has beside its plain ones, at most: head, explicit nonce, tag and type.
const OVERHEAD_BYTES: usize = 5 + 8 + 16 + 1;

/// Bytes of messages that may go before the plain ones, such as those of a change of keys.
const SPARE_BYTES: usize = 256;

/// The side of the server in one TLS connection.
pub struct Session {
    tls: UnbufferedServerConnection,
}

impl fmt::Debug for Session {
    /// Leaves out the keys.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_handshaking = self.is_handshaking();
        let mut shown = out.debug_struct("Session");
        shown.field("is_handshaking", &is_handshaking).finish_non_exhaustive()
    }
}

/// The result of receiving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes of records that are done with.
    pub consumed: usize,
    /// Plain bytes that were in them.
    pub plain: usize,
    /// True if the peer has said that it sends no more.
    pub is_closed: bool,
    /// True if a step of the handshake was taken, which costs some hundred microseconds.
    pub took_step: bool,
}

/// The client that a handshake has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// The way that the handshake has gone.
    pub outcome: HandshakeOutcome,
    /// The version of TLS.
    pub version: TlsVersion,
    /// The client's certificate, if one was asked for.
    pub client: Option<CertificateFacts>,
}

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>) -> Option<Self> {
        UnbufferedServerConnection::new(config).ok().map(|tls| Self { tls })
    }

    /// Returns true until the handshake is done.
    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Returns the facts of a handshake that is done.
    pub fn established(&self) -> Established {
        let outcome = match self.tls.handshake_kind() {
            Some(HandshakeKind::Resumed) => HandshakeOutcome::Resumed,
            _ => HandshakeOutcome::Full,
        };
        let version = match self.tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
            _ => TlsVersion::Tls13,
        };
        let client = self.tls.peer_certificates().and_then(<[_]>::first);
        let client = client.and_then(|client| CertificateFacts::read(client));
        Established { outcome, version, client }
    }

    /// Takes records, of which the last may not be whole. Writes their plain bytes to the start of
    /// `plain`, which has to be as long as `records`, and appends what is to be sent to `out`.
    ///
    /// # Errors
    ///
    /// The peer has not kept to the protocol, or offers nothing that is taken here. An alert that
    /// says so is appended to `out`; nothing more can be received or sent.
    pub fn receive(
        &mut self,
        records: &mut [u8],
        plain: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Received, TlsFailure> {
        let mut received = Received::default();
        loop {
            let rest = records.get_mut(received.consumed..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(rest);
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    self.append_alert(out);
                    return Err(TlsFailure(error));
                }
            };
            let mut is_done = false;
            match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(TlsFailure)?;
                        let end = received.plain + record.payload.len();
                        if let Some(to) = plain.get_mut(received.plain..end) {
                            to.copy_from_slice(record.payload);
                        }
                        received.plain = end;
                        discard += record.discard;
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    received.took_step = true;
                    append(out, SPARE_BYTES, |to| data.encode(to))?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => received.is_closed = true,
                ConnectionState::BlockedHandshake
                | ConnectionState::WriteTraffic(_)
                | ConnectionState::Closed => is_done = true,
                // Early data is not offered.
                _ => return Err(TlsFailure(Error::General("unexpected state".to_owned()))),
            }
            received.consumed += discard;
            if is_done {
                return Ok(received);
            }
        }
    }

    /// Appends the alert that tells a peer of an error.
    fn append_alert(&mut self, out: &mut Vec<u8>) {
        // What waits to be sent comes before any reading, so that no records are needed.
        while self.tls.wants_write() {
            let state = self.tls.process_tls_records(&mut []).state;
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else {
                return;
            };
            if append(out, SPARE_BYTES, |to| data.encode(to)).is_err() {
                return;
            }
        }
    }

    /// Appends `plain` to `out` in records. `pending` is what the last receiving has left.
    ///
    /// # Errors
    ///
    /// The handshake is not done, the connection has failed, or its keys are used up.
    pub fn encrypt(
        &mut self,
        plain: &[u8],
        pending: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<(), TlsFailure> {
        let records = plain.len().div_ceil(FRAGMENT_BYTES);
        let bytes = plain.len() + records * OVERHEAD_BYTES + SPARE_BYTES;
        self.write(pending, out, |traffic, out| append(out, bytes, |to| traffic.encrypt(plain, to)))
    }

    /// Appends the alert that ends what this side sends; nothing if there is nobody to tell.
    pub fn close(&mut self, pending: &mut [u8], out: &mut Vec<u8>) {
        // Without a whole handshake, or after a failure, the end of the stream has to do.
        let _ = self.write(pending, out, |traffic, out| {
            append(out, SPARE_BYTES, |to| traffic.queue_close_notify(to))
        });
    }

    /// Writes in the state in which that is possible. The crate comes to it by way of what it has
    /// left unread: its place in that is a count of bytes, which have to be there.
    fn write(
        &mut self,
        pending: &mut [u8],
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Traffic<'_>, &mut Vec<u8>) -> Result<(), TlsFailure>,
    ) -> Result<(), TlsFailure> {
        loop {
            match self.tls.process_tls_records(pending).state.map_err(TlsFailure)? {
                ConnectionState::WriteTraffic(mut traffic) => return write(&mut traffic, out),
                ConnectionState::EncodeTlsData(mut data) => {
                    append(out, SPARE_BYTES, |to| data.encode(to))?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => {}
                _ => return Err(TlsFailure(Error::HandshakeNotComplete)),
            }
        }
    }
}

type Traffic<'a> = rustls::unbuffered::WriteTraffic<'a, rustls::server::ServerConnectionData>;

/// The size that an encoder needs, or a failure.
enum Refusal {
    Size(usize),
    Failed(Error),
}

impl From<EncodeError> for Refusal {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::Size(required_size)
            }
            EncodeError::AlreadyEncoded => Self::Failed(Error::General(error.to_string())),
        }
    }
}

impl From<EncryptError> for Refusal {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::Size(required_size)
            }
            EncryptError::EncryptExhausted => Self::Failed(Error::EncryptError),
        }
    }
}

/// Appends what `encode` writes into a slice of so many bytes or, if it asks for more, of those.
fn append<E: Into<Refusal>>(
    out: &mut Vec<u8>,
    mut bytes: usize,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), TlsFailure> {
    let start = out.len();
    loop {
        out.resize(start + bytes, 0);
        let written = encode(out.get_mut(start..).unwrap_or_default());
        match written.map_err(Into::into) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(Refusal::Size(more)) if more > bytes => bytes = more,
            Err(refusal) => {
                out.truncate(start);
                let error = match refusal {
                    Refusal::Failed(error) => error,
                    Refusal::Size(_) => Error::EncryptError,
                };
                return Err(TlsFailure(error));
            }
        }
    }
}
