//! A connection's request reader, driven without the engine and as the engine drives it.
//!
//! It keeps bytes between pieces, skips bodies and stops as `percore/src/connection/exchange.rs`
//! does; handlers and answers are left out.

use percore::http::head_cache::HeadCache;
use percore::http::request::Method;
use percore::http::request_error::RequestError;
use percore::http::request_reader::{CompleteRequest, DecodeProgress, ReadProgress, RequestReader};

/// A request as it was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub method: Method,
    pub path: String,
    pub query: Option<String>,
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    pub keep_alive: bool,
    pub http_1_0: bool,
    /// The offset in the stream at which the next request starts.
    pub end: usize,
}

/// The requests that a connection saw in a stream. The heads that it was shown before their bodies
/// were whole depend on what had arrived when it looked, so they are no part of this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub requests: Vec<Taken>,
    pub refusal: Option<RequestError>,
}

impl Seen {
    /// Returns true if all bytes that follow are thrown away.
    pub fn is_over(&self) -> bool {
        self.refusal.is_some() || self.requests.last().is_some_and(|taken| !taken.keep_alive)
    }
}

struct Connection {
    reader: RequestReader,
    /// Received and not consumed.
    input: Vec<u8>,
    /// Bytes of the stream received so far.
    received: usize,
    /// True if the head of the current request has been shown before its body was whole.
    head_complete: bool,
    body_bytes_max: usize,
    seen: Seen,
}

/// Returns the requests that a connection sees in a stream that arrives in these pieces.
pub fn receive<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, body_bytes_max: usize) -> Seen {
    let mut connection = Connection {
        reader: RequestReader::default(),
        input: Vec::new(),
        received: 0,
        head_complete: false,
        body_bytes_max,
        seen: Seen::default(),
    };
    for piece in pieces {
        connection.input.extend_from_slice(piece);
        connection.received += piece.len();
        if let Err(refusal) = connection.take_all() {
            connection.seen.refusal = Some(refusal);
        }
        if connection.seen.is_over() {
            break;
        }
    }
    connection.seen
}

impl Connection {
    /// Takes every request that is whole, as far as the last of the connection.
    fn take_all(&mut self) -> Result<(), RequestError> {
        while !self.input.is_empty() && !self.seen.is_over() {
            if !self.reader.has_read_head() && self.input.starts_with(b"\r\n") {
                self.input.drain(..2);
                continue;
            }
            let mut heads = HeadCache::default();
            let kept = self.input.len();
            match self.reader.read(&self.input, &mut heads, self.body_bytes_max)? {
                ReadProgress::Partial => break,
                ReadProgress::HeadComplete => {
                    self.note_begun();
                    break;
                }
                ReadProgress::NeedsDecoding => {
                    match self.reader.decode(&mut self.input, self.body_bytes_max)? {
                        DecodeProgress::Partial { keep, head_complete } => {
                            assert!(keep <= kept, "{keep} of {kept} bytes kept");
                            self.input.truncate(keep);
                            if head_complete {
                                self.note_begun();
                            }
                            break;
                        }
                        DecodeProgress::Complete => {}
                    }
                }
                ReadProgress::Complete(whole) => {
                    let consumed = whole.consumed;
                    assert!(0 < consumed && consumed <= kept, "{consumed} of {kept} consumed");
                    let end = self.received - (kept - consumed);
                    let taken = taken(&whole, end);
                    self.seen.requests.push(taken);
                    self.head_complete = false;
                    self.input.drain(..consumed);
                }
            }
        }
        Ok(())
    }

    fn note_begun(&mut self) {
        assert!(!self.head_complete, "a head is shown once");
        self.head_complete = true;
        let mut heads = HeadCache::default();
        let head_complete = self
            .reader
            .incomplete_request(&self.input, &mut heads)
            .expect("a head that has head_complete");
        assert!(head_complete.request.body.is_empty());
    }
}

fn taken(whole: &CompleteRequest<'_>, end: usize) -> Taken {
    let request = whole.request;
    Taken {
        method: request.method,
        path: request.path.to_owned(),
        query: request.query.map(str::to_owned),
        fields: request.headers.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        body: request.body.to_vec(),
        keep_alive: whole.keep_alive,
        http_1_0: whole.http_1_0,
        end,
    }
}

/// Cuts `bytes` into pieces of these sizes, by turns.
pub fn pieces<'b>(bytes: &'b [u8], sizes: &[usize]) -> Vec<&'b [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*size).clamp(1, rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
