//! `Expect`: `100-continue`, and nothing else.

use super::row::{ACCEPTED, METRIC, answer, closed, closes, each, get, open, post, stays};

/// The metric under this expectation, with the body already there.
fn expecting(expectation: &str) -> String {
    post(&format!("Expect: {expectation}\r\nContent-Length: 17\r\n\r\n{METRIC}"))
}

rows![
    a_body_that_is_there(
        "RFC 9110, 10.1.1",
        "100 may be omitted where content has begun to come (MAY)",
        "no 100 to who has not waited; the value in any case",
        vec![
            open(expecting("100-continue"), [answer(202).body(ACCEPTED)]),
            stays(202, expecting("100-Continue")),
            stays(202, expecting(" \t100-CONTINUE ")),
            stays(
                202,
                post(&format!(
                    "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n\
                     11\r\n{METRIC}\r\n0\r\n\r\n"
                )),
            ),
        ],
    ),
    no_body(
        "RFC 9110, 10.1.1",
        "no 100 for a request without content",
        "none",
        vec![
            stays(200, get("Expect: 100-continue\r\n")),
            stays(200, get("Expect: 100-continue\r\nContent-Length: 0\r\n")),
            stays(400, post("Expect: 100-continue\r\n\r\n")),
        ],
    ),
    lists(
        "RFC 9110, 10.1.1",
        "Expect is a list, whose empty elements are ignored (MUST)",
        "the same twice is the same, in one field or in two; an empty list expects nothing",
        vec![
            stays(200, get("Expect: 100-continue\r\nexpect: 100-continue\r\n")),
            stays(202, expecting("100-continue, 100-CONTINUE")),
            stays(202, expecting(",100-continue,")),
            stays(202, expecting("")),
        ],
    ),
    others(
        "RFC 9110, 10.1.1",
        "417 for any other expectation (MAY)",
        "417, also for one beside it",
        {
            let mut cases = each(
                [
                    "200-ok",
                    "100-continue, x",
                    "x",
                    "\"\"",
                    "100-continue;q=1",
                    "y 100-continue",
                    "100",
                ],
                |expectation| closes(417, expecting(expectation)),
            );
            cases.push(closes(417, get("Expect: x\r\n")));
            cases.push(closes(417, get("Expect: 100-continue\r\nExpect: x\r\n")));
            cases
        },
    ),
    in_http_1_0(
        "RFC 9110, 10.1.1",
        "the expectation of an HTTP/1.0 request is ignored (MUST)",
        "no 100",
        vec![closed(
            format!(
                "POST /metrics HTTP/1.0\r\nExpect: 100-continue\r\n\
                 Content-Length: 17\r\n\r\n{METRIC}"
            ),
            [answer(202)],
        )],
    ),
    refused_all_the_same(
        "RFC 9110, 10.1.1",
        "a final status where the request is refused by its head (MUST)",
        "that, and no 100",
        vec![closes(400, post("Expect: 100-continue\r\nContent-Length: 1, 1\r\n\r\n")),],
    ),
];
