//! `Content-Length`: one decimal number.

use super::row::{ACCEPTED, HEALTHY, METRIC, answer, closed, closes, each, get, open, post, stays};

/// The answer to a POST of nothing.
const EMPTY: &str = "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\
    \"detail\":\"expected an event, found an empty body\"}\n";

/// A POST of the metric under this length.
fn with(value: &str) -> String {
    post(&format!("Content-Length:{value}\r\n\r\n{METRIC}"))
}

rows![
    delimits_the_body(
        "RFC 9112, 6.2",
        "a body is as long as Content-Length says, and the next request follows it",
        "to the byte",
        vec![
            open(with(" 17"), [answer(202).body(ACCEPTED)]),
            open(with("17"), [answer(202)]),
            stays(202, with(" \t17 \t")),
            // One byte less of it is no JSON, one more is a space and the rest a request.
            open(post("Content-Length: 16\r\n\r\n{\"cpu\":1,\"rps\":2"), [answer(400)]),
            stays(202, post("Content-Length: 18\r\n\r\n{\"cpu\":1,\"rps\":2} ")),
            open(post("Content-Length: 0\r\n\r\n"), [answer(400)]),
        ],
    ),
    leading_zeros(
        "RFC 9110, 8.6",
        "`1*DIGIT`, which may begin with zeros",
        "taken, and decimal",
        each([" 017", " 00000000000000000000000000000000017"], |value| stays(202, with(value))),
    ),
    invalid(
        "RFC 9112, 6.3",
        "400 and close for an invalid Content-Length (MUST)",
        "400 for signs, hexadecimal, fractions, exponents, words, white space within, and nothing",
        each(
            [
                "",
                " ",
                " +17",
                " -17",
                " -0",
                " 0x11",
                " 11h",
                " 17.0",
                " 1e1",
                " 1_7",
                " 1 7",
                " abc",
                " 17;",
                " \"17\"",
                " 17\u{a0}",
                " \u{661}\u{667}",
                " 17\x0b",
                " 17 a",
                " (17)",
                " NaN",
            ],
            |value| closes(400, with(value)),
        ),
    ),
    lists(
        "RFC 9112, 6.3",
        "a list of equal numbers may be taken for the number (MAY); of others, 400 (MUST)",
        "400 for any list",
        each([" 17, 17", " 17,17", " 17,", " ,17", " 17, 18", " 0, 17"], |value| {
            closes(400, with(value))
        }),
    ),
    more_than_one(
        "RFC 9112, 6.3",
        "several fields are a list: equal ones may be taken (MAY)",
        "400 for any second one",
        each(["17", "18", "0", ""], |second| {
            let fields = format!("Content-Length: 17\r\ncontent-length: {second}\r\n");
            closes(400, post(&format!("{fields}\r\n{METRIC}")))
        }),
    ),
    overflow(
        "RFC 9110, 8.6",
        "large numbers are to be expected, and must not overflow (MUST)",
        "413, before any of it is read",
        each(
            [
                " 1048577",
                " 2147483648",
                " 4294967296",
                " 4294967313",
                " 9223372036854775808",
                " 18446744073709551615",
                " 18446744073709551616",
                " 18446744073709551633",
                " 99999999999999999999999999999999999999",
            ],
            |value| closes(413, post(&format!("Content-Length:{value}\r\n\r\n"))),
        ),
    ),
    too_large_for_whoever_waits(
        "RFC 9110, 10.1.1",
        "a final status instead of 100 where the content is not wanted (MAY)",
        "413 at once",
        vec![closes(413, post("Content-Length: 2097152\r\nExpect: 100-continue\r\n\r\n"))],
    ),
    none(
        "RFC 9112, 6.3",
        "a request without any length has no body (MUST)",
        "so, whatever its method: 400 for a POST of nothing, and what is behind it is the next \
         request",
        vec![
            stays(200, get("Content-Type: application/json\r\n")),
            open(post("\r\n"), [answer(400).body(EMPTY)]),
            open(
                post("Content-Type: application/json\r\n\r\n") + &get(""),
                [answer(400).body(EMPTY), answer(200).body(HEALTHY)],
            ),
            closed(post("\r\n{}\r\n"), [answer(400).body(EMPTY), answer(400)]),
            stays(405, "PUT /metrics HTTP/1.1\r\nHost: a\r\n\r\n"),
            stays(404, "PATCH /nothing HTTP/1.1\r\nHost: a\r\n\r\n"),
            stays(405, "DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n"),
            closed("POST /metrics HTTP/1.0\r\n\r\n{}", [answer(400).body(EMPTY)]),
        ],
    ),
    on_any_method(
        "RFC 9110, 9.3.1",
        "content of a GET has no meaning, but its framing has",
        "read and ignored; what is behind it is the next request",
        vec![
            open(get("Content-Length: 5\r\n") + "hello", [answer(200).body(HEALTHY)]),
            open(
                get("Content-Length: 37\r\n") + "GET /nothing HTTP/1.1\r\nHost: abcd\r\n\r\n",
                [answer(200)],
            ),
            open(
                "HEAD /health HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
                [answer(200).for_head()],
            ),
            open("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", [answer(405)]),
        ],
    ),
];
