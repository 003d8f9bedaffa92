//! RFC 9112 read literally: what a request is, in the slowest and plainest way.
//!
//! The twin of the parser: built on nothing but the standard library, it looks only at whole
//! requests, and answers no more than whether one stands at the start of some bytes. It knows the
//! same choices where the RFC leaves one (which methods, which limits, one `Content-Length`), and
//! has none of the parser's reasons to go wrong: no state, no look at half a request.

use std::net::Ipv6Addr;

use percore::http::request::Method;
use percore::limits::{CHUNK_LINE_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX};
use percore::limits::{REQUEST_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

use crate::receive::{Seen, Taken};

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed {
    Length(u64),
    Chunked,
}

/// A head with all that is decided by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub method: Method,
    pub path: String,
    pub query: Option<String>,
    pub fields: Vec<(String, Vec<u8>)>,
    pub framed: Framed,
    pub keep_alive: bool,
    pub http_1_0: bool,
    pub bytes: usize,
}

/// The line at the start of `bytes`, without its end, and what follows.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[..at], &bytes[at + 2..]))
}

fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}

/// Visible characters, blanks and what is outside ASCII.
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = bytes.iter().take_while(|byte| is_blank(byte)).count();
    let end = bytes.iter().rev().take_while(|byte| is_blank(byte)).count();
    if start == bytes.len() { &[] } else { &bytes[start..bytes.len() - end] }
}

/// The head that stands whole at the start of `input`.
pub fn head(input: &[u8]) -> Option<Head> {
    let mut rest = input;
    while rest.starts_with(b"\r\n") {
        rest = &rest[2..];
    }
    let (request_line, after) = line(rest)?;
    rest = after;
    if request_line.len() > REQUEST_LINE_BYTES_MAX {
        return None;
    }
    let words: Vec<&[u8]> = request_line.split(|&byte| byte == b' ').collect();
    let &[method, target, version] = &words[..] else {
        return None;
    };
    let method = Method::from_token(std::str::from_utf8(method).ok()?)?;
    let (path, query) = origin(method, std::str::from_utf8(target).ok()?)?;
    let http_1_0 = match version {
        b"HTTP/1.0" => true,
        b"HTTP/1.1" => false,
        _ => return None,
    };
    let mut fields = Vec::new();
    loop {
        let (field, after) = line(rest)?;
        rest = after;
        if field.is_empty() {
            break;
        }
        let colon = field.iter().position(|&byte| byte == b':')?;
        let (name, value) = (&field[..colon], trimmed(&field[colon + 1..]));
        if !is_token(name) || !is_text(value) {
            return None;
        }
        fields.push((String::from_utf8(name.to_vec()).ok()?, value.to_vec()));
    }
    let bytes = input.len() - rest.len();
    if bytes > HEAD_BYTES_MAX || fields.len() > HEADERS_MAX {
        return None;
    }
    let (framed, keep_alive) = framing(http_1_0, &fields)?;
    Some(Head { method, path, query, fields, framed, keep_alive, http_1_0, bytes })
}

/// The path and the query of a target that is served: in origin-form, in absolute-form with `http`,
/// or the asterisk of OPTIONS.
fn origin(method: Method, target: &str) -> Option<(String, Option<String>)> {
    // RFC 9110, section 9.3.6: an origin server opens no tunnels.
    if method == Method::Connect {
        return None;
    }
    if target == "*" {
        return (method == Method::Options).then(|| (target.to_owned(), None));
    }
    let mut origin = target;
    if !target.starts_with('/') {
        let (scheme, rest) = target.split_once("://")?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(end);
        // RFC 9110, section 7.4: `https` is not served over what is not secured.
        if !scheme.eq_ignore_ascii_case("http") || !is_authority(authority) {
            return None;
        }
        origin = after;
    }
    let (path, query) = match origin.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin, None),
    };
    // RFC 3986, sections 3.3 and 3.4.
    let is_right = is_encoded(path, ":@/") && query.is_none_or(|query| is_encoded(query, ":@/?"));
    let path = if path.is_empty() { "/" } else { path };
    is_right.then(|| (path.to_owned(), query.map(str::to_owned)))
}

/// RFC 3986, sections 2.1 to 2.3: unreserved characters and sub-delimiters, these others, and two
/// hexadecimal digits behind each `%`.
fn is_encoded(text: &str, others: &str) -> bool {
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c) || others.contains(c);
    let mut parts = text.split('%');
    let before = parts.next().unwrap_or_default();
    before.chars().all(is_plain)
        && parts.all(|part| {
            let mut rest = part.chars();
            let mut is_digit = || rest.next().is_some_and(|c| c.is_ascii_hexdigit());
            is_digit() && is_digit() && rest.all(is_plain)
        })
}

/// RFC 3986, section 3.2: `uri-host [ ":" port ]`, with a host.
fn is_authority(text: &str) -> bool {
    let (is_host, port) = match text.strip_prefix('[') {
        Some(literal) => {
            let Some((address, port)) = literal.split_once(']') else {
                return false;
            };
            (address.parse::<Ipv6Addr>().is_ok(), port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            // A second spelling of a name is not taken.
            (!host.is_empty() && !host.contains('%') && is_encoded(host, ""), port)
        }
    };
    let is_number =
        |digits: &str| digits.chars().all(|c| c.is_ascii_digit()) && digits.parse::<u16>().is_ok();
    let is_port = match port.strip_prefix(':') {
        Some(digits) => digits.is_empty() || is_number(digits),
        None => port.is_empty(),
    };
    is_host && is_port
}

/// Returns the framing of the body, and true if the connection stays open, by sections 3.2, 6.3 and
/// 9.3.
fn framing(http_1_0: bool, fields: &[(String, Vec<u8>)]) -> Option<(Framed, bool)> {
    let all = |name: &str| -> Option<Vec<String>> {
        let named = fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| String::from_utf8(value.clone()).ok()).collect()
    };
    let hosts = all("host")?;
    let is_right = |host: &String| host.is_empty() || is_authority(host);
    if hosts.len() > 1 || (hosts.is_empty() && !http_1_0) || !hosts.iter().all(is_right) {
        return None;
    }
    // RFC 9110, section 5.6.1: empty elements of a list count for nothing.
    let is_known = |expectation: &str| {
        let expectation = expectation.trim_matches([' ', '\t']);
        expectation.is_empty() || expectation.eq_ignore_ascii_case("100-continue")
    };
    if !all("expect")?.iter().all(|value| value.split(',').all(is_known)) {
        return None;
    }
    let (lengths, codings) = (all("content-length")?, all("transfer-encoding")?);
    let framed = match (&lengths[..], &codings[..]) {
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") && !http_1_0 => Framed::Chunked,
        ([length], []) => {
            let is_number = !length.is_empty() && length.chars().all(|c| c.is_ascii_digit());
            // A number too long for 64 bits is too long for any limit.
            is_number.then(|| Framed::Length(length.parse().unwrap_or(u64::MAX)))?
        }
        ([], []) => Framed::Length(0),
        _ => return None,
    };
    let connection: Vec<&[u8]> = fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("connection"))
        .flat_map(|(_, value)| value.split(|&byte| byte == b',').map(trimmed))
        .collect();
    let says = |option: &[u8]| connection.iter().any(|said| said.eq_ignore_ascii_case(option));
    let keep_alive = !says(b"close") && (!http_1_0 || says(b"keep-alive"));
    Some((framed, keep_alive))
}

/// The body that stands whole in chunks at the start of `input`, and where it ends.
pub fn chunked(input: &[u8], body_bytes_max: usize) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut rest = input;
    loop {
        let (size_line, after) = line(rest)?;
        rest = after;
        let digits = size_line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(&size_line[..digits]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if !are_extensions(&size_line[digits..]) || size_line.len() > CHUNK_LINE_BYTES_MAX {
            return None;
        }
        if size == 0 {
            break;
        }
        let data = rest.get(..size)?;
        body.extend_from_slice(data);
        rest = rest[size..].strip_prefix(b"\r\n")?;
        if body.len() > body_bytes_max {
            return None;
        }
    }
    let trailers = rest;
    loop {
        let (trailer, after) = line(rest)?;
        let trailer_bytes = trailers.len() - rest.len() + trailer.len();
        rest = after;
        if trailer.is_empty() {
            return Some((body, input.len() - rest.len()));
        }
        let colon = trailer.iter().position(|&byte| byte == b':')?;
        let is_field = is_token(&trailer[..colon]) && is_text(&trailer[colon + 1..]);
        if !is_field || trailer_bytes > TRAILER_BYTES_MAX {
            return None;
        }
    }
}

/// Returns true if these bytes are chunk extensions (section 7.1.1):
/// `*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )`.
fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(after) = without_blanks(rest).strip_prefix(b";") else {
            return false;
        };
        let Some(after) = without_token(without_blanks(after)) else {
            return false;
        };
        rest = after;
        if let Some(value) = without_blanks(after).strip_prefix(b"=") {
            let value = without_blanks(value);
            let Some(after) = without_token(value).or_else(|| without_quoted(value)) else {
                return false;
            };
            rest = after;
        }
    }
    true
}

fn without_blanks(bytes: &[u8]) -> &[u8] {
    let blanks = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &bytes[blanks..]
}

fn without_token(bytes: &[u8]) -> Option<&[u8]> {
    let token = bytes.iter().take_while(|byte| is_token(&[**byte])).count();
    (token > 0).then(|| &bytes[token..])
}

/// Without the quoted string at the start (RFC 9110, section 5.6.4).
fn without_quoted(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.strip_prefix(b"\"")?;
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = match byte {
            b'"' => return Some(after),
            b'\\' => after.split_first().filter(|(quoted, _)| is_text(&[**quoted]))?.1,
            _ => Some(after).filter(|_| is_text(&[byte]))?,
        };
    }
}

/// The request that stands whole at the start of `input`; it ends at an offset into that.
fn request(input: &[u8], body_bytes_max: usize) -> Option<Taken> {
    let head = head(input)?;
    let rest = &input[head.bytes..];
    let (body, body_bytes) = match head.framed {
        Framed::Length(length) => {
            let length = usize::try_from(length).ok().filter(|&length| length <= body_bytes_max)?;
            (rest.get(..length)?.to_vec(), length)
        }
        Framed::Chunked => chunked(rest, body_bytes_max)?,
    };
    let Head { method, path, query, fields, keep_alive, http_1_0, bytes, .. } = head;
    let end = bytes + body_bytes;
    Some(Taken { method, path, query, fields, body, keep_alive, http_1_0, end })
}

/// The requests of a stream, up to the first that is not whole or not right, or that is the last.
pub fn requests(stream: &[u8], body_bytes_max: usize) -> Vec<Taken> {
    let mut seen = Seen::default();
    let mut start = 0;
    while !seen.is_over() {
        // Empty lines are passed over between requests, however many (section 2.2).
        while stream[start..].starts_with(b"\r\n") {
            start += 2;
        }
        let Some(mut taken) = request(&stream[start..], body_bytes_max) else {
            break;
        };
        taken.end += start;
        start = taken.end;
        seen.requests.push(taken);
    }
    seen.requests
}
