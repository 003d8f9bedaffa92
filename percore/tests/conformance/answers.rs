//! Answers: what stands in each of them, and what of a request does not change them.
//!
//! That each has a Date, a Content-Type and a Content-Length of its own, and no Transfer-Encoding,
//! is checked on every answer that any test reads (`testkit/src/http_response.rs`).

use super::row::{HEALTHY, answer, closed, each, get, line, old_get, open, stays, target};

rows![
    date(
        "RFC 9110, 6.6.1",
        "Date in each answer of 2xx, 3xx and 4xx (MUST)",
        "in every final answer, as IMF-fixdate",
        vec![
            stays(200, get("X: date\r\n")),
            stays(404, target("/nothing")),
            stays(405, line("DELETE / HTTP/1.1")),
            closed("\0", [answer(400)]),
        ],
    ),
    content_length(
        "RFC 9110, 8.6",
        "Content-Length where the length is known (SHOULD)",
        "in every final answer; nothing is sent in chunks, nothing is ended by closing",
        vec![
            open(
                get("X: length\r\n"),
                [answer(200).with("content-length", "16").without("transfer-encoding")],
            ),
            closed(
                old_get("X: length\r\n"),
                [answer(200).with("content-length", "16").without("transfer-encoding")],
            ),
            open(get("TE: chunked, trailers\r\n"), [answer(200).without("transfer-encoding")]),
        ],
    ),
    errors_explain_themselves(
        "RFC 9110, 15.5",
        "an error has an explanation (SHOULD)",
        "a problem of RFC 9457, which repeats little of what was sent",
        {
            let problem = |status| answer(status).with("content-type", "application/problem+json");
            vec![
                open(target(&format!("/{}", "x".repeat(200))), [problem(404)]),
                closed(line(&format!("{} / HTTP/1.1", "Z".repeat(80))), [problem(501)]),
                closed(get(&format!("Expect: {}\r\n", "e".repeat(200))), [problem(417)]),
            ]
        },
    ),
    types_are_not_negotiated(
        "RFC 9110, 12.5.1",
        "a server without what Accept asks for sends what it has, or 406",
        "Accept, Accept-Charset and Accept-Language are ignored",
        each(
            ["Accept: text/html", "Accept: */*;q=0", "Accept: \"", "Accept-Charset: x", "Accept:"],
            |field| {
                let answer = answer(200).with("content-type", "application/json").body(HEALTHY);
                open(get(&format!("{field}\r\n")), [answer])
            },
        ),
    ),
    codings_are_not_negotiated(
        "RFC 9110, 12.5.3",
        "an answer may always be sent without a coding, unless `identity;q=0` (SHOULD)",
        "differs: without, whatever Accept-Encoding says",
        each(["gzip", "gzip, br", "identity;q=0", "*;q=0", ""], |codings| {
            let plain = answer(200).without("content-encoding").body(HEALTHY);
            open(get(&format!("Accept-Encoding: {codings}\r\n")), [plain])
        }),
    ),
    ranges_are_ignored(
        "RFC 9110, 14.2",
        "Range may be ignored (MAY)",
        "200 with the whole, and no Accept-Ranges",
        vec![
            open(
                get("Range: bytes=0-1\r\n"),
                [answer(200).without("content-range").without("accept-ranges").body(HEALTHY)],
            ),
            open(get("Range: bytes=999-\r\nIf-Range: \"a\"\r\n"), [answer(200).body(HEALTHY)]),
            open(get("Range: x\r\n"), [answer(200).body(HEALTHY)]),
        ],
    ),
    dates_of_change_are_ignored(
        "RFC 9110, 13.1.3",
        "conditions on a date are ignored where a resource has none (MUST)",
        "so: nothing here has a Last-Modified",
        vec![
            open(
                get("If-Modified-Since: Sun, 06 Nov 2094 08:49:37 GMT\r\n"),
                [answer(200).without("last-modified")],
            ),
            stays(200, get("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n")),
            stays(200, get("If-Modified-Since: x\r\n")),
        ],
    ),
    entity_tags_are_ignored(
        "RFC 9110, 13.2.1",
        "conditions are evaluated before a method is carried out (MUST)",
        "differs: nothing here has an ETag, so no client has one to send; ignored, as dates are",
        vec![
            open(get("If-None-Match: \"a\"\r\n"), [answer(200).without("etag")]),
            stays(200, get("If-None-Match: *\r\n")),
            stays(200, get("If-Match: \"a\"\r\n")),
        ],
    ),
];
