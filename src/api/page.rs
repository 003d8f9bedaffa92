//! The page for people: `GET /` for those who prefer HTML, and its parts under `/page/`.
//!
//! The files of `web/` are part of the program, as they stand there. Each is compressed once, when
//! the first server of the process is made; an answer is a copy of bytes that are ready, so a core
//! makes it itself. The header lines forbid the page to run, show or ask for anything that is not
//! from this server, and to read any text as markup.

use std::fmt::Write;
use std::sync::LazyLock;

use percore::http::accept::weight;
use percore::http::accept_encoding::{gzip, wants_gzip};
use percore::http::headers::Headers;
use percore::http::problem::problem;
use percore::http::request::Request;
use percore::http::response::Response;
use percore::http::status::Status;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file as it is written.
struct File {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! files {
    ($($content_type:ident $name:literal,)+) => {
        [$(File {
            name: $name,
            content_type: $content_type,
            bytes: include_bytes!(concat!("../../web/", $name)),
        }),+]
    };
}

/// The document, which is at `/`.
const DOCUMENT: [File; 1] = files!(HTML "index.html",);

/// The parts that the document names, and those that these name.
const PARTS: [File; 24] = files!(
    CSS "page.css",
    SVG "icon.svg",
    SCRIPT "anomalies.js",
    SCRIPT "api.js",
    SCRIPT "chart.js",
    SCRIPT "cores.js",
    SCRIPT "device.js",
    SCRIPT "devices.js",
    SCRIPT "dom.js",
    SCRIPT "feed.js",
    SCRIPT "flame.js",
    SCRIPT "format.js",
    SCRIPT "health.js",
    SCRIPT "history.js",
    SCRIPT "links.js",
    SCRIPT "live.js",
    SCRIPT "main.js",
    SCRIPT "overview.js",
    SCRIPT "performance.js",
    SCRIPT "plot.js",
    SCRIPT "scope.js",
    SCRIPT "spark.js",
    SCRIPT "welcome.js",
    SCRIPT "zone.js",
);

/// The header lines of every file. A browser keeps the files, and asks whether they have changed:
/// a new server brings a new page with it.
const LINES: &str = "\r\nCache-Control: no-cache\
    \r\nContent-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'\
    \r\nCross-Origin-Resource-Policy: same-origin\
    \r\nReferrer-Policy: no-referrer\
    \r\nX-Content-Type-Options: nosniff";

/// A file as it is sent.
struct Part {
    name: &'static str,
    content_type: &'static str,
    plain: Form,
    gzipped: Form,
}

/// One of the forms of a part.
struct Form {
    bytes: Vec<u8>,
    tag: String,
    /// The lines of an answer with the bytes, and of one without them.
    lines: &'static str,
    lines_of_304: &'static str,
}

static READY: LazyLock<(Part, Vec<Part>)> = LazyLock::new(|| {
    let [document] = DOCUMENT.map(|file| Part::new(&file, "Accept, Accept-Encoding"));
    let parts = PARTS.iter().map(|file| Part::new(file, "Accept-Encoding"));
    (document, parts.collect())
});

/// Compresses the files, if that has not been done yet: some milliseconds, which no request waits
/// for.
pub fn prepare() {
    LazyLock::force(&READY);
}

/// Returns true if a request prefers HTML to JSON, as browsers do. Programs that take anything get
/// JSON.
pub fn is_wanted(headers: &Headers<'_>) -> bool {
    let lines = headers.values("accept").map(String::from_utf8_lossy);
    let accept = lines.collect::<Vec<_>>().join(",");
    let wanted = weight(&accept, "text/html");
    wanted > 0.0 && wanted >= weight(&accept, "application/json")
}

/// Answers with the document.
pub fn document(request: &Request<'_>, body: &mut Vec<u8>, route: usize) -> Response {
    let (document, _) = &*READY;
    document.answer(request, body, route)
}

/// Answers with a part.
pub fn part(name: &str, request: &Request<'_>, body: &mut Vec<u8>, route: usize) -> Response {
    let (_, parts) = &*READY;
    if let Some(part) = parts.iter().find(|part| part.name == name) {
        return part.answer(request, body, route);
    }
    problem(body, Status::NotFound, "path: the page at / has no such part", None, route)
}

/// Returns the names of all parts.
pub fn names() -> impl Iterator<Item = &'static str> {
    PARTS.iter().map(|file| file.name)
}

impl Part {
    fn new(file: &File, varies_by: &str) -> Self {
        let File { name, content_type, bytes } = *file;
        let (plain, gzipped) = (bytes.to_vec(), gzip(bytes));
        let tag = format!("{:016x}", fingerprint(bytes));
        let lines = format!("{LINES}\r\nVary: {varies_by}");
        Self {
            name,
            content_type,
            plain: Form::new(plain, format!("\"{tag}\""), &lines, ""),
            gzipped: Form::new(
                gzipped,
                format!("\"{tag}-gzip\""),
                &lines,
                "\r\nContent-Encoding: gzip",
            ),
        }
    }

    fn answer(&self, request: &Request<'_>, body: &mut Vec<u8>, route: usize) -> Response {
        let is_gzipped = wants_gzip(request.headers.values("accept-encoding"));
        let Form { bytes, tag, lines, lines_of_304 } =
            if is_gzipped { &self.gzipped } else { &self.plain };
        let ok = Response { extra_headers: lines, ..Response::ok(self.content_type, route) };
        if has_tag(&request.headers, tag) {
            return Response { status: Status::NotModified, extra_headers: lines_of_304, ..ok };
        }
        body.extend_from_slice(bytes);
        ok
    }
}

impl Form {
    /// Makes a form. Its lines live as long as the process, so that an answer carries only a
    /// reference to them.
    fn new(bytes: Vec<u8>, tag: String, lines: &str, coding: &str) -> Self {
        let mut lines = lines.to_owned();
        // Writing to a string cannot fail.
        let _ = write!(lines, "\r\nETag: {tag}");
        let whole = format!("{coding}{lines}");
        Self { bytes, tag, lines: leak(whole), lines_of_304: leak(lines) }
    }
}

fn leak(lines: String) -> &'static str {
    Box::leak(lines.into_boxed_str())
}

/// Returns true if a request says that it has this form already (RFC 9110, section 13.1.2; the
/// comparison is the weak one).
fn has_tag(headers: &Headers<'_>, tag: &str) -> bool {
    let known = headers.values("if-none-match").flat_map(|line| line.split(|byte| *byte == b','));
    known
        .map(<[u8]>::trim_ascii)
        .any(|known| known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == tag.as_bytes())
}

/// Returns a number that tells one file's content from another's: FNV-1a in 64 bits. The files are
/// our own, so nobody looks for two that have the same.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
