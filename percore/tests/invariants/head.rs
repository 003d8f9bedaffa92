//! The invariants of the parser of heads, for all bytes.
//!
//! - A head is taken if and only if the grammar has one there, and says the same of it.
//! - Every proper prefix of a head is partial; what follows it changes nothing.
//! - A prefix that is refused stays refused, for the same reason, with every byte after it.

use percore::http::framing::Body;
use percore::http::head_cache::HeadCache;
use percore::http::request_error::RequestError;

use crate::grammar::{self, Framed, Head};

/// Prefixes of one input that are looked at. A fuzzer that tries many inputs of many lengths sees
/// every byte of them at the end of one.
const PREFIXES_MAX: usize = 32;

fn parsed(input: &[u8]) -> Result<Option<Head>, RequestError> {
    let mut heads = HeadCache::default();
    let Some(head) = heads.read(input)? else {
        return Ok(None);
    };
    let framing = head.framing;
    let has = |wanted| head.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    assert!(!framing.expects_continue || has("expect"));
    Ok(Some(Head {
        method: head.method,
        path: head.path.to_owned(),
        query: head.query.map(str::to_owned),
        fields: head.headers.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        framed: match framing.body {
            Body::Length(length) => Framed::Length(length),
            Body::Chunked => Framed::Chunked,
        },
        keep_alive: framing.keep_alive,
        http_1_0: framing.http_1_0,
        bytes: head.bytes,
    }))
}

/// Fails if anything above does not hold of these bytes.
pub fn check(input: &[u8]) {
    let found = parsed(input);
    let whole = found.clone().ok().flatten();
    assert_eq!(whole, grammar::head(input));
    let bytes = whole.as_ref().map_or(input.len(), |head| head.bytes);
    let step = bytes.div_ceil(PREFIXES_MAX).max(1);
    let mut refused = None;
    for end in (bytes % step..bytes).step_by(step) {
        match parsed(&input[..end]) {
            Ok(head) => assert_eq!(head, None, "to byte {end}"),
            Err(refusal) => {
                // To refuse again takes long; that it stays so is seen with all of the bytes.
                refused = Some(refusal);
                break;
            }
        }
    }
    match found {
        Err(refusal) => {
            assert_eq!(refused.unwrap_or(refusal), refusal, "the first fault is named");
            let more = [input, b"\r\n\r\n"].concat();
            assert_eq!(parsed(&more), Err(refusal), "with more bytes");
        }
        Ok(None) => assert_eq!(refused, None),
        Ok(Some(head)) => {
            assert_eq!(refused, None);
            assert_eq!(parsed(&input[..head.bytes]), Ok(Some(head)), "without what follows");
        }
    }
}
