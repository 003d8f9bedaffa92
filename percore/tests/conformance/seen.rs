//! The requests that [`RequestReader`] finds and a handler would be given, without a socket.
//!
//! An answer depends on nothing but its request, so two streams of bytes in which the same requests
//! are seen, and the same refusal after them, are answered alike.

use percore::http::head_cache::HeadCache;
use percore::http::request::Method;
use percore::http::request_error::RequestError;
use percore::http::request_reader::{CompleteRequest, DecodeProgress, ReadProgress, RequestReader};
use percore::limits::BODY_BYTES_DEFAULT;

/// A request, or the refusal of one.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Request {
        method: Method,
        path: String,
        query: Option<String>,
        fields: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
        keep_alive: bool,
        http_1_0: bool,
    },
    Refused(RequestError),
}

impl Seen {
    /// Returns true if the bytes after it are not parsed.
    pub const fn is_last(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Request { keep_alive: false, .. })
    }
}

/// A connection's input, taken the way an engine takes it.
#[derive(Default)]
struct Input {
    reader: RequestReader,
    kept: Vec<u8>,
    seen: Vec<Seen>,
}

/// Returns the requests in these pieces, and the number of bytes that wait for more.
pub fn seen<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<Seen>, usize) {
    let mut input = Input::default();
    for piece in pieces {
        input.kept.extend_from_slice(piece);
        if let Err(refusal) = input.take() {
            input.seen.push(Seen::Refused(refusal));
        }
        if input.seen.last().is_some_and(Seen::is_last) {
            return (input.seen, 0);
        }
    }
    (input.seen, input.kept.len())
}

impl Input {
    fn take(&mut self) -> Result<(), RequestError> {
        let Self { reader, kept, seen } = self;
        loop {
            while !reader.has_read_head() && kept.starts_with(b"\r\n") {
                kept.drain(..2);
            }
            if kept.is_empty() {
                return Ok(());
            }
            let mut heads = HeadCache::default();
            match reader.read(kept, &mut heads, BODY_BYTES_DEFAULT)? {
                ReadProgress::Partial | ReadProgress::HeadComplete => return Ok(()),
                ReadProgress::Complete(whole) => {
                    let consumed = whole.consumed;
                    seen.push(request(&whole));
                    kept.drain(..consumed);
                    if seen.last().is_some_and(Seen::is_last) {
                        return Ok(());
                    }
                }
                ReadProgress::NeedsDecoding => match reader.decode(kept, BODY_BYTES_DEFAULT)? {
                    DecodeProgress::Complete => {}
                    DecodeProgress::Partial { keep, .. } => {
                        kept.truncate(keep);
                        return Ok(());
                    }
                },
            }
        }
    }
}

fn request(whole: &CompleteRequest<'_>) -> Seen {
    let request = &whole.request;
    let fields = request.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec()));
    Seen::Request {
        method: request.method,
        path: request.path.to_owned(),
        query: request.query.map(str::to_owned),
        fields: fields.collect(),
        body: request.body.to_vec(),
        keep_alive: whole.keep_alive,
        http_1_0: whole.http_1_0,
    }
}
