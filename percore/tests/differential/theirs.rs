//! The requests that `hyper` finds in a stream, by its own server connection.
//!
//! Its connection is polled here, without a runtime, over a stream that is always ready. Reads give
//! so many bytes at most; given one at a time it has read exactly what it had to when a request's
//! body ended, which is where the next request begins for it.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};

/// Nothing that is tested takes longer; a connection that does is stuck.
const POLLS_MAX: usize = 10_000;

/// A request that was received whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed {
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    pub body: Vec<u8>,
    pub keep_alive: bool,
    /// Where in the stream the next request starts, if bytes were read one by one.
    pub end: usize,
}

/// The stream as far as it has been read, and what was found in it.
#[derive(Debug, Default)]
struct Shared {
    at: Cell<usize>,
    requests: RefCell<Vec<Framed>>,
    /// True while the service handles a request.
    busy: Cell<bool>,
}

struct Wire<'s> {
    stream: &'s [u8],
    step: usize,
    shared: Rc<Shared>,
}

impl Read for Wire<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let shared = &self.shared;
        // A server that reads on after an answer keeps the connection open.
        if let Some(last) = shared.requests.borrow_mut().last_mut().filter(|_| !shared.busy.get()) {
            last.keep_alive = true;
        }
        let at = shared.at.get();
        let bytes = self.step.min(into.remaining()).min(self.stream.len() - at);
        into.put_slice(&self.stream[at..at + bytes]);
        shared.at.set(at + bytes);
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The body of every answer.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}

/// Reads the body to its end, and answers 404: a success would make a tunnel of CONNECT.
async fn answer(shared: Rc<Shared>, request: Request<Incoming>) -> Response<Nothing> {
    shared.busy.set(true);
    let (parts, mut incoming) = request.into_parts();
    let mut body = Vec::new();
    let whole = loop {
        match poll_fn(|context| Pin::new(&mut incoming).poll_frame(context)).await {
            Some(Ok(frame)) => body.extend(frame.into_data().unwrap_or_default()),
            Some(Err(_)) => break false,
            None => break true,
        }
    };
    if whole {
        shared.requests.borrow_mut().push(Framed {
            method: parts.method.as_str().to_owned(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().map(str::to_owned),
            body,
            keep_alive: false,
            end: shared.at.get(),
        });
    }
    shared.busy.set(false);
    let mut response = Response::new(Nothing);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// Notes that somebody asked to be polled again.
#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The requests that hyper receives whole from a stream that it reads `step` bytes at a time.
///
/// Configured as a server in our place would be: with the fields that we take (its own default),
/// and with its other limits, which are all wider than ours. `half_close` has it answer what was
/// received before the stream's end, and keeps it from reading ahead while a request is answered.
pub fn requests(stream: &[u8], step: usize) -> Vec<Framed> {
    let shared = Rc::new(Shared::default());
    let wire = Wire { stream, step, shared: Rc::clone(&shared) };
    let service = service_fn(|request| {
        let answer = answer(Rc::clone(&shared), request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .half_close(true)
        .max_headers(percore::limits::HEADERS_MAX)
        .auto_date_header(false)
        .serve_connection(wire, service);
    let mut connection = pin!(connection);
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    for _ in 0..POLLS_MAX {
        assert!(woken.0.swap(false, Ordering::Relaxed), "it waits, and nothing will wake it");
        // An error is how it says that a request was wrong, or that the stream ended inside one.
        if connection.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return shared.requests.take();
        }
    }
    panic!("not done after {POLLS_MAX} polls");
}
