//! The header fields that describe a body: its media type and its content coding.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::row::{ACCEPTED, METRIC, answer, each, open, post_with, stays};

fn zipped() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(METRIC.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zlib() -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(METRIC.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn bare() -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(METRIC.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A frame of Zstandard whose only block is not compressed (RFC 8878, section 3.1.1).
fn frame(content: &[u8]) -> Vec<u8> {
    let block = u32::try_from(content.len()).unwrap() << 3 | 1;
    let head = b"\x28\xb5\x2f\xfd\x00\x38";
    [&head[..], &block.to_le_bytes()[..3], content].concat()
}

fn typed(value: &str) -> Vec<u8> {
    post_with(&format!("Content-Type:{value}\r\n"), METRIC.as_bytes())
}

rows![
    types_that_hold_metrics(
        "RFC 9110, 8.3.1",
        "types are case-insensitive and may have parameters",
        "JSON, `+json`, NDJSON, plain text, and what `curl -d` says",
        each(
            [
                " application/json",
                " application/json; charset=utf-8",
                " APPLICATION/JSON",
                " application/json ; a=\"b;c\"",
                " application/vnd.device+json",
                " text/json",
                " application/x-ndjson",
                " application/ndjson",
                " application/jsonl; charset=utf-8",
                " text/plain;charset=utf-8",
                " application/x-www-form-urlencoded",
            ],
            |value| open(typed(value), [answer(202).body(ACCEPTED)]),
        ),
    ),
    no_type(
        "RFC 9110, 8.3",
        "without a type the recipient may look at the content (MAY)",
        "taken for JSON",
        vec![
            stays(202, post_with("Content-Language: en\r\n", METRIC.as_bytes())),
            stays(202, typed(""))
        ],
    ),
    other_types(
        "RFC 9110, 15.5.16",
        "415 for a type that is not taken",
        "415; so for two types, which are one too many",
        {
            let others = [
                " image/png",
                " application/xml",
                " text/html",
                " json",
                " application/json5",
                " +json",
                " application/json, text/html",
                " \"application/json\"",
                " application/json\r\nContent-Type: application/json",
            ];
            each(others, |value| open(typed(value), [answer(415).without("accept-encoding")]))
        },
    ),
    codings(
        "RFC 9110, 8.4.1",
        "codings are case-insensitive; x-gzip is gzip (SHOULD)",
        "gzip, deflate (zlib or bare) and zstd",
        {
            let mut cases = each(["gzip", "GZIP", "x-gzip", ", gzip,"], |coding| {
                let fields = format!("Content-Encoding: {coding}\r\n");
                open(post_with(&fields, &zipped()), [answer(202).body(ACCEPTED)])
            });
            let raw = frame(METRIC.as_bytes());
            for (coding, body) in
                [("deflate", zlib()), ("DEFLATE", bare()), ("zstd", raw.clone()), ("Zstd,", raw)]
            {
                let fields = format!("Content-Encoding: {coding}\r\n");
                let sent = post_with(&fields, &body);
                cases.push(open(sent, [answer(202).body(ACCEPTED)]));
                cases.push(stays(400, post_with(&fields, METRIC.as_bytes())));
            }
            cases.push(stays(202, post_with("Content-Encoding: identity\r\n", METRIC.as_bytes())));
            cases.push(stays(202, post_with("Content-Encoding:\r\n", METRIC.as_bytes())));
            cases.push(stays(400, post_with("Content-Encoding: gzip\r\n", METRIC.as_bytes())));
            cases
        },
    ),
    other_codings(
        "RFC 9110, 12.5.3",
        "415 for a coding that is not taken, with Accept-Encoding (\"ought to\")",
        "415, also for a coding upon a coding, in one field or in two",
        each(
            [
                "br",
                "x-deflate",
                "zstd, deflate",
                "compress",
                "gzip, gzip",
                "gzip, br",
                "gzip, identity",
                "gzip;q=1",
                "chunked",
                "identity\r\nContent-Encoding: gzip",
                "identity\r\nContent-Encoding: br",
            ],
            |coding| {
                let fields = format!("Content-Encoding: {coding}\r\n");
                let refusal = answer(415).with("accept-encoding", "gzip, deflate, zstd");
                open(post_with(&fields, METRIC.as_bytes()), [refusal])
            },
        ),
    ),
];
