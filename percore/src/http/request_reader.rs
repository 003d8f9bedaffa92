//! The request reader: the received bytes of a connection, turned into complete requests.
//!
//! A request is returned only when it is complete. A body with a length is waited for; a chunked
//! one is decoded in place as it comes, so that its coding never adds to the memory it takes. A
//! head that is complete before its body can be checked early, and its body skipped as it comes: a
//! client that is refused by its head learns so at once, and its body is not kept.

use super::chunked::Chunked;
use super::framing::Body;
use super::head_cache::{Head, HeadCache};
use super::request::Request;
use super::request_error::RequestError;

/// The state of a connection's current request; a few bytes, kept between receives.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestReader {
    state: State,
    /// True if the head of the chunked request is complete and was not yet reported.
    head_unseen: bool,
    /// True if the peer waits for `100 Continue` before it sends the body.
    expects_continue: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// The head is not complete.
    #[default]
    Head,
    /// The request is complete when it has this many bytes, and cannot be before.
    Length { request_bytes: usize },
    /// After `head_bytes` of head there are `body_bytes` of decoded body.
    Chunked { head_bytes: usize, body_bytes: usize, decoder: Chunked },
    /// The body of a chunked request is complete, and the next request starts at `consumed`.
    Decoded { body_bytes: usize, consumed: usize },
    /// The request has been answered, and this many bytes of its body are to be skipped.
    SkippingLength { bytes: usize },
    /// The request has been answered, and its chunks are to be skipped, of which `body_bytes` of
    /// data have come.
    SkippingChunks { body_bytes: usize, decoder: Chunked },
}

/// A complete request.
#[derive(Clone, Copy, Debug)]
pub struct CompleteRequest<'a> {
    /// The request, for the handler.
    pub request: Request<'a>,
    /// The offset in the input at which the next request starts.
    pub consumed: usize,
    /// True if the connection may carry another request.
    pub keep_alive: bool,
    /// True if the answer has to say that the connection stays open.
    pub http_1_0: bool,
}

/// A request whose head is complete and whose body is not.
#[derive(Clone, Copy, Debug)]
pub struct IncompleteRequest<'a> {
    /// The request without its body, which is empty here.
    pub request: Request<'a>,
    /// True if the connection may carry another request.
    pub keep_alive: bool,
    /// True if the answer has to say that the connection stays open.
    pub http_1_0: bool,
    /// True if the peer waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// The result of [`RequestReader::read`].
#[derive(Debug)]
pub enum ReadProgress<'a> {
    /// More bytes are needed; they go after all of the input, which the caller keeps.
    Partial,
    /// More bytes are needed, and the head has just become complete: see
    /// [`RequestReader::incomplete_request`]. Reported once.
    HeadComplete,
    /// The input has chunks to decode: call [`RequestReader::decode`] with it.
    NeedsDecoding,
    /// A complete request, borrowed from the input.
    Complete(CompleteRequest<'a>),
}

/// The result of [`RequestReader::decode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeProgress {
    /// More bytes are needed; they go after the first `keep` bytes of the input, which the caller
    /// keeps. The rest of the input is no longer needed.
    Partial {
        /// The number of bytes to keep.
        keep: usize,
        /// True if the head has just become complete: see [`RequestReader::incomplete_request`].
        /// Reported once.
        head_complete: bool,
    },
    /// The body is complete: [`RequestReader::read`] returns the request.
    Complete,
}

/// The result of [`RequestReader::skip`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipProgress {
    /// The bytes at the start of the input that are no longer needed.
    pub consumed: usize,
    /// True if that was the end of the body: the next request follows.
    pub done: bool,
}

impl RequestReader {
    /// Returns true if the head of a request has been read whose body is not complete.
    pub const fn has_read_head(&self) -> bool {
        !matches!(self.state, State::Head)
    }

    /// Reads a request from the start of `input`, which begins with all bytes that were kept.
    ///
    /// # Errors
    ///
    /// The first rule that the request breaks. Nothing after it can be parsed.
    #[inline(always)]
    pub fn read<'a>(
        &mut self,
        input: &'a [u8],
        head_cache: &'a mut HeadCache,
        body_bytes_max: usize,
    ) -> Result<ReadProgress<'a>, RequestError> {
        match self.state {
            State::Length { request_bytes } if input.len() < request_bytes => {
                return Ok(ReadProgress::Partial);
            }
            State::Chunked { .. } => return Ok(ReadProgress::NeedsDecoding),
            State::SkippingLength { .. } | State::SkippingChunks { .. } => {
                return Ok(ReadProgress::Partial);
            }
            State::Decoded { body_bytes, consumed } => {
                self.state = State::Head;
                let head = head_cache.read(input)?.ok_or(RequestError::RequestLine)?;
                return Ok(ReadProgress::Complete(complete_request(
                    &head, input, body_bytes, consumed,
                )));
            }
            State::Length { .. } | State::Head => {}
        }
        let head_complete = matches!(self.state, State::Length { .. });
        let Some(head) = head_cache.read(input)? else {
            return Ok(ReadProgress::Partial);
        };
        // A peer that has sent part of the body is not waiting for `100 Continue`.
        let expects_continue = head.framing.expects_continue && input.len() == head.bytes;
        match head.framing.body {
            Body::Chunked => {
                let decoder = Chunked::default();
                self.state = State::Chunked { head_bytes: head.bytes, body_bytes: 0, decoder };
                (self.head_unseen, self.expects_continue) = (true, expects_continue);
                Ok(ReadProgress::NeedsDecoding)
            }
            Body::Length(length) => {
                // Refused for its length, before any of it is read (RFC 9110, 15.5.14).
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > body_bytes_max {
                    return Err(RequestError::BodyTooLarge);
                }
                let request_bytes = head.bytes + length;
                if input.len() < request_bytes {
                    self.state = State::Length { request_bytes };
                    self.expects_continue = expects_continue;
                    return Ok(if head_complete {
                        ReadProgress::Partial
                    } else {
                        ReadProgress::HeadComplete
                    });
                }
                self.state = State::Head;
                Ok(ReadProgress::Complete(complete_request(&head, input, length, request_bytes)))
            }
        }
    }

    /// Decodes the chunks in `input` in place, after [`ReadProgress::NeedsDecoding`].
    ///
    /// # Errors
    ///
    /// A malformed or an oversize body.
    pub fn decode(
        &mut self,
        input: &mut [u8],
        body_bytes_max: usize,
    ) -> Result<DecodeProgress, RequestError> {
        let State::Chunked { head_bytes, body_bytes, ref mut decoder } = self.state else {
            return Ok(DecodeProgress::Complete);
        };
        let body = input.get_mut(head_bytes..).unwrap_or_default();
        let progress = decoder.decode(body, body_bytes, body_bytes_max)?;
        let decoder = *decoder;
        let body_bytes = progress.decoded;
        if progress.done {
            self.state = State::Decoded { body_bytes, consumed: head_bytes + progress.consumed };
            return Ok(DecodeProgress::Complete);
        }
        self.state = State::Chunked { head_bytes, body_bytes, decoder };
        let head_complete = std::mem::take(&mut self.head_unseen);
        Ok(DecodeProgress::Partial { keep: head_bytes + body_bytes, head_complete })
    }

    /// Returns the request at the start of `input` if its head is complete and its body is not.
    pub fn incomplete_request<'a>(
        &self,
        input: &'a [u8],
        head_cache: &'a mut HeadCache,
    ) -> Option<IncompleteRequest<'a>> {
        if !matches!(self.state, State::Length { .. } | State::Chunked { .. }) {
            return None;
        }
        let head = head_cache.read(input).ok().flatten()?;
        let Head { method, path, query, headers, framing, .. } = head;
        Some(IncompleteRequest {
            request: Request { method, path, query, headers, body: &[] },
            keep_alive: framing.keep_alive,
            http_1_0: framing.http_1_0,
            expects_continue: self.expects_continue,
        })
    }

    /// Skips the body from now on instead of waiting for it: the request has been answered. The
    /// `received` bytes of it, head included, are no longer needed.
    pub const fn skip_body(&mut self, received: usize) {
        self.state = match self.state {
            State::Length { request_bytes } => {
                State::SkippingLength { bytes: request_bytes.saturating_sub(received) }
            }
            State::Chunked { body_bytes, decoder, .. } => {
                State::SkippingChunks { body_bytes, decoder }
            }
            other => other,
        };
    }

    /// Returns true if a body is being skipped: call [`Self::skip`] with the input.
    pub const fn is_skipping(&self) -> bool {
        matches!(self.state, State::SkippingLength { .. } | State::SkippingChunks { .. })
    }

    /// Skips the bytes of `input` that belong to the body of the answered request.
    ///
    /// # Errors
    ///
    /// A malformed or an oversize body: where the next request begins cannot be known.
    pub fn skip(
        &mut self,
        input: &mut [u8],
        body_bytes_max: usize,
    ) -> Result<SkipProgress, RequestError> {
        let skipped = match &mut self.state {
            State::SkippingLength { bytes } => {
                let consumed = input.len().min(*bytes);
                *bytes -= consumed;
                SkipProgress { consumed, done: *bytes == 0 }
            }
            State::SkippingChunks { body_bytes, decoder } => {
                let left = body_bytes_max.saturating_sub(*body_bytes);
                let progress = decoder.decode(input, 0, left)?;
                *body_bytes += progress.decoded;
                SkipProgress { consumed: progress.consumed, done: progress.done }
            }
            _ => SkipProgress { consumed: 0, done: true },
        };
        if skipped.done {
            self.state = State::Head;
        }
        Ok(skipped)
    }
}

#[inline]
fn complete_request<'a>(
    head: &Head<'a>,
    input: &'a [u8],
    body_bytes: usize,
    consumed: usize,
) -> CompleteRequest<'a> {
    let body = input.get(head.bytes..head.bytes + body_bytes).unwrap_or_default();
    let Head { method, path, query, headers, framing, .. } = *head;
    CompleteRequest {
        request: Request { method, path, query, headers, body },
        consumed,
        keep_alive: framing.keep_alive,
        http_1_0: framing.http_1_0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BODY_MAX: usize = 1000;

    /// The requests that a connection saw, each with its path, its body and its persistence, the
    /// count of `100 Continue`, and the error.
    #[derive(Debug, Default, PartialEq)]
    struct Seen {
        requests: Vec<(String, Vec<u8>, bool)>,
        continues: usize,
        error: Option<RequestError>,
    }

    /// Feeds pieces the way the engine does.
    fn feed<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Seen {
        let mut seen = Seen::default();
        let mut reader = RequestReader::default();
        let mut buffer: Vec<u8> = Vec::new();
        for piece in pieces {
            buffer.extend_from_slice(piece);
            if let Err(error) = drain(&mut reader, &mut buffer, &mut seen) {
                seen.error = Some(error);
                return seen;
            }
        }
        seen
    }

    fn drain(
        reader: &mut RequestReader,
        buffer: &mut Vec<u8>,
        seen: &mut Seen,
    ) -> Result<(), RequestError> {
        while !buffer.is_empty() {
            let mut head_cache = HeadCache::default();
            match reader.read(buffer, &mut head_cache, BODY_MAX)? {
                ReadProgress::Partial => break,
                ReadProgress::HeadComplete => {
                    seen.continues += usize::from(expects_continue(reader, buffer));
                    break;
                }
                ReadProgress::NeedsDecoding => match reader.decode(buffer, BODY_MAX)? {
                    DecodeProgress::Partial { keep, head_complete } => {
                        seen.continues +=
                            usize::from(head_complete && expects_continue(reader, buffer));
                        buffer.truncate(keep);
                        break;
                    }
                    DecodeProgress::Complete => {}
                },
                ReadProgress::Complete(CompleteRequest {
                    request, consumed, keep_alive, ..
                }) => {
                    let body = request.body.to_vec();
                    seen.requests.push((request.path.to_owned(), body, keep_alive));
                    buffer.drain(..consumed);
                }
            }
        }
        Ok(())
    }

    fn expects_continue(reader: &RequestReader, buffer: &[u8]) -> bool {
        reader.incomplete_request(buffer, &mut HeadCache::default()).unwrap().expects_continue
    }

    const STREAM: &str = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
        GET /2 HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: v\r\n\r\n\
        POST /4 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
        0\r\n\r\n";

    fn stream_seen() -> Seen {
        let request =
            |path: &str, body: &[u8], keep_alive| (path.into(), body.to_vec(), keep_alive);
        Seen {
            requests: vec![
                request("/1", b"hello", true),
                request("/2", b"", true),
                request("/3", b"abcde", true),
                request("/4", b"", false),
            ],
            ..Seen::default()
        }
    }

    #[test]
    fn every_split_in_two_gives_the_same_requests() {
        for at in 0..=STREAM.len() {
            let (one, two) = STREAM.as_bytes().split_at(at);
            assert_eq!(feed([one, two]), stream_seen(), "at byte {at}");
        }
        assert_eq!(feed(STREAM.as_bytes().chunks(1)), stream_seen());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_requests(cuts in prop::collection::vec(0..STREAM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &STREAM.as_bytes()[pair[0]..pair[1]]);
            prop_assert_eq!(feed(pieces), stream_seen());
        }

        /// Any bytes are accepted, refused or waited for, alike in one piece and in single bytes.
        #[test]
        fn arbitrary_bytes_are_taken_alike_in_one_piece_and_in_many(
            at in 0..STREAM.len(), with in any::<u8>(), removed in 0_usize..4,
        ) {
            let mut bytes = STREAM.as_bytes().to_vec();
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, [with]);
            let whole = feed([&bytes[..]]);
            let split = feed(bytes.chunks(1));
            prop_assert_eq!(whole.error, split.error);
            prop_assert_eq!(whole.requests, split.requests);
        }
    }

    #[test]
    fn continue_is_said_once_and_only_to_those_who_wait() {
        for body in ["Content-Length: 2", "Transfer-Encoding: chunked"] {
            let head =
                format!("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{body}\r\n\r\n");
            let sent: &[&[u8]] =
                if body.starts_with('C') { &[b"a", b"b"] } else { &[b"1\r", b"\na\r\n0\r\n\r\n"] };
            let waiting = feed(std::iter::once(head.as_bytes()).chain(sent.iter().copied()));
            assert_eq!((waiting.continues, waiting.requests.len()), (1, 1), "{body}");
            let impatient = [head.as_bytes(), sent[0]].concat();
            let seen = feed([&impatient[..], sent[1]]);
            assert_eq!((seen.continues, seen.requests.len()), (0, 1), "{body}");
        }
    }

    #[test]
    fn an_announced_body_is_refused_before_it_arrives() {
        let head = |length: usize| {
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
                 Content-Length: {length}\r\n\r\n"
            )
        };
        assert_eq!(feed([head(BODY_MAX).as_bytes()]).error, None);
        let refused = feed([head(BODY_MAX + 1).as_bytes()]);
        assert_eq!((refused.error, refused.continues), (Some(RequestError::BodyTooLarge), 0));
    }

    /// In any pieces, the skipped bytes are the body, and the request after it is complete.
    #[test]
    fn a_body_that_is_thrown_away_ends_where_it_ends() {
        let fields = ["Content-Length: 11", "Transfer-Encoding: chunked"];
        let bodies = ["hello world", "5\r\nhello\r\n6;x\r\n world\r\n0\r\nT: v\r\n\r\n"];
        for (field, body) in fields.into_iter().zip(bodies) {
            let head = format!("POST /1 HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
            for come in 0..body.len() {
                for size in 1..=body.len() {
                    let (mut reader, mut head_cache) =
                        (RequestReader::default(), HeadCache::default());
                    let mut first = [head.as_bytes(), &body.as_bytes()[..come]].concat();
                    let begins = match reader.read(&first, &mut head_cache, BODY_MAX).unwrap() {
                        ReadProgress::NeedsDecoding => {
                            let decoded = reader.decode(&mut first, BODY_MAX).unwrap();
                            matches!(decoded, DecodeProgress::Partial { head_complete: true, .. })
                        }
                        advance => matches!(advance, ReadProgress::HeadComplete),
                    };
                    assert!(begins, "at byte {come}");
                    assert_eq!(
                        reader.incomplete_request(&first, &mut head_cache).unwrap().request.path,
                        "/1"
                    );
                    reader.skip_body(first.len());
                    let rest = [&body.as_bytes()[come..], b"GET"].concat();
                    let mut left = rest.len();
                    for piece in rest.chunks(size) {
                        let mut piece = piece.to_vec();
                        if !reader.is_skipping() {
                            break;
                        }
                        let skipped = reader.skip(&mut piece, BODY_MAX).unwrap();
                        assert!(skipped.done || skipped.consumed == piece.len());
                        left -= skipped.consumed;
                    }
                    assert!(!reader.is_skipping() && left == 3, "{field}, {come}, {size}: {left}");
                }
            }
        }
    }

    #[test]
    fn what_is_thrown_away_is_bounded_and_has_to_be_a_body() {
        let mut head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for (rest, error) in [
            ("3e8\r\n", Ok(())),
            ("3e9\r\n", Err(RequestError::BodyTooLarge)),
            ("x", Err(RequestError::Chunk)),
        ] {
            let (mut reader, mut head_cache) = (RequestReader::default(), HeadCache::default());
            let _ = reader.read(&head, &mut head_cache, BODY_MAX).unwrap();
            let _ = reader.decode(&mut head, BODY_MAX).unwrap();
            reader.skip_body(head.len());
            let skipped = reader.skip(&mut rest.as_bytes().to_vec(), BODY_MAX).map(|_| ());
            assert_eq!(skipped, error, "{rest:?}");
        }
    }
}
