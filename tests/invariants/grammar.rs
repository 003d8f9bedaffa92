//! RFC 9112 read literally: what a request is, in the slowest and plainest way.
//!
//! The twin of the parser: built on nothing but the standard library, it looks only at whole
//! requests, and answers no more than whether one stands at the start of some bytes. It knows the
//! same choices where the RFC leaves one (which methods, which limits, one `Content-Length`), and
//! has none of the parser's reasons to go wrong: no state, no look at half a request.

use corepulse::http::request::Method;
use corepulse::limits::{CHUNK_LINE_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX};
use corepulse::limits::{REQUEST_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

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
    let (framed, keep_alive) = framing(method, http_1_0, &fields)?;
    Some(Head { method, path, query, fields, framed, keep_alive, http_1_0, bytes })
}

/// The path and the query of a target in one of its four forms.
fn origin(method: Method, target: &str) -> Option<(String, Option<String>)> {
    if method == Method::Connect {
        let (host, port) = target.rsplit_once(':')?;
        let is_port = !port.is_empty() && port.chars().all(|c| c.is_ascii_digit());
        return (!host.is_empty() && is_port && is_authority(target))
            .then(|| (String::new(), None));
    }
    if target == "*" {
        return (method == Method::Options).then(|| (target.to_owned(), None));
    }
    let mut origin = target;
    if !target.starts_with('/') {
        let (scheme, rest) = target.split_once("://")?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(end);
        let is_http = ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str());
        let has_host = !authority.is_empty() && !authority.starts_with(':');
        if !is_http || !has_host || !is_authority(authority) {
            return None;
        }
        origin = after;
    }
    let (path, query) = match origin.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin, None),
    };
    // RFC 3986, sections 3.3 and 3.4; whether digits follow a `%` is for who decodes it.
    let is_pchar = |c: char| c.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=:@/".contains(c);
    let is_right = path.chars().all(is_pchar)
        && query.is_none_or(|q| q.replace('?', "").chars().all(is_pchar));
    let path = if path.is_empty() { "/" } else { path };
    is_right.then(|| (path.to_owned(), query.map(str::to_owned)))
}

/// RFC 3986, section 3.2.2, without percent-encoding: `uri-host [ ":" port ]`.
fn is_authority(text: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c);
    let port = match text.strip_prefix('[') {
        Some(literal) => {
            let Some((address, port)) = literal.split_once(']') else {
                return false;
            };
            if address.is_empty() || !address.chars().all(|c| is_name(c) || c == ':') {
                return false;
            }
            port
        }
        None => text.trim_start_matches(is_name),
    };
    match port.strip_prefix(':') {
        Some(digits) => digits.chars().all(|c| c.is_ascii_digit()),
        None => port.is_empty(),
    }
}

/// How the body is framed and whether the connection stays open, by sections 3.2, 6.3 and 9.3.
fn framing(method: Method, http_1_0: bool, fields: &[(String, Vec<u8>)]) -> Option<(Framed, bool)> {
    let all = |name: &str| -> Option<Vec<String>> {
        let named = fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| String::from_utf8(value.clone()).ok()).collect()
    };
    let hosts = all("host")?;
    if hosts.len() > 1 || (hosts.is_empty() && !http_1_0) || !hosts.iter().all(|h| is_authority(h))
    {
        return None;
    }
    if !all("expect")?.iter().all(|value| value.eq_ignore_ascii_case("100-continue")) {
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
        ([], []) if !method.expects_body() => Framed::Length(0),
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
        let extension = trimmed(&size_line[digits..]);
        let is_extension = extension.is_empty() || extension.starts_with(b";");
        if !is_extension || !is_text(extension) || size_line.len() > CHUNK_LINE_BYTES_MAX {
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
