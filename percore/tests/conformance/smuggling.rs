//! Attacks by their names: bytes that two parsers would divide in two ways.
//!
//! Each is either divided in the one way that the RFCs leave, or refused with all that follows it.

use super::row::{METRIC, answer, closed, closes, each, get, open, post, stays};

/// The request that an attacker hides in the body of another one.
const HIDDEN: &str = "GET /analyze HTTP/1.1\r\nHost: hidden\r\n\r\n";

/// A POST with these fields, and what they make a body or not.
fn attack(fields: &str, rest: &str) -> String {
    post(&format!("{fields}\r\n{rest}"))
}

rows![
    cl_te(
        "RFC 9112, 11.2",
        "CL.TE: the proxy goes by the length, the server by the chunks",
        "400",
        vec![
            closes(
                400,
                attack("Content-Length: 48\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")
                    + HIDDEN
            ),
            closes(
                400,
                attack("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nG")
            ),
        ],
    ),
    te_cl(
        "RFC 9112, 11.2",
        "TE.CL: the proxy goes by the chunks, the server by the length",
        "400",
        vec![closes(
            400,
            attack(
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
                &format!("2c\r\n{HIDDEN}x=\r\n0\r\n\r\n"),
            ),
        )],
    ),
    te_te(
        "RFC 9112, 11.2",
        "TE.TE: one of the two is led to overlook an odd spelling of chunked",
        "400 for each spelling (see `codings::odd_spellings`), and for each pair of codings",
        each(
            [
                "Transfer-Encoding: xchunked\r\n",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
                "Transfer-Encoding: chunked\r\nTransfer-encoding: identity\r\n",
                "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked, cow\r\n",
                "X: X\r\n\tTransfer-Encoding: chunked\r\n",
                "Transfer-Encoding:\x0cchunked\r\n",
                "Transfer-Encoding: chunked\r\n\tx\r\n",
            ],
            |fields| closes(400, attack(fields, "0\r\n\r\n") + HIDDEN),
        ),
    ),
    te_te_with_a_length(
        "RFC 9112, 11.2",
        "the same with a length for the one that overlooks it",
        "400: any coding beside a length",
        each(
            [
                "Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n",
                "Content-Length: 4\r\nTransfer-Encoding: cow, chunked\r\n",
                "Transfer-Encoding : chunked\r\nContent-Length: 4\r\n",
                "Content-Length: 4\r\nTransfer-Encoding\0: chunked\r\n",
                "Content-Length: 4\r\nTransfer-Encoding\r\n : chunked\r\n",
                "Content-Length: 4\r\nX: x\nTransfer-Encoding: chunked\r\n",
                "Content-Length: 4\r\n\rTransfer-Encoding: chunked\r\n",
                "Content-Length: 4\r\n\nTransfer-Encoding: chunked\r\n",
            ],
            |fields| closes(400, attack(fields, "2c\r\n") + HIDDEN),
        ),
    ),
    cl_0(
        "RFC 9112, 6",
        "CL.0: the server overlooks the body of a request that wants none",
        "the body is read on every path and by every method, and is no request",
        {
            let bodied = |line: &str, bytes: usize| {
                format!("{line} HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n{HIDDEN}")
            };
            let bytes = HIDDEN.len();
            vec![
                open(bodied("POST /health", bytes), [answer(405)]),
                open(bodied("POST /nothing", bytes), [answer(404)]),
                open(bodied("GET /", bytes), [answer(200)]),
                open(bodied("HEAD /", bytes), [answer(200).for_head()]),
                open(bodied("OPTIONS *", bytes), [answer(200)]),
                open(bodied("DELETE /metrics", bytes), [answer(405)]),
                open(bodied("GET /metrics/none", bytes), [answer(404)]),
                open(bodied("POST /metrics", bytes), [answer(400)]),
                open(
                    format!(
                        "POST /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                         {bytes:x}\r\n{HIDDEN}\r\n0\r\n\r\n"
                    ),
                    [answer(405)],
                ),
                closes(400, bodied("GET http://", bytes)),
                // Without a length it is a request, for everybody.
                open(
                    format!(
                        "GET /health HTTP/1.1\r\nHost: a\r\nContent_Length: {bytes}\r\n\r\n{}",
                        get("")
                    ),
                    [answer(200), answer(200)],
                ),
            ]
        },
    ),
    lengths_that_one_overlooks(
        "RFC 9112, 6.3",
        "a length that one parser takes and another does not",
        "400, or another field altogether",
        {
            let mut cases = each(
                [
                    "Content-Length: 0\r\nContent-Length: 40\r\n",
                    "Content-Length: 40\r\nContent-Length: 0\r\n",
                    "Content-Length: 0, 40\r\n",
                    "Content-Length : 40\r\n",
                    "Content-Length\t: 40\r\n",
                    "Content-Length: 0\r\n 40\r\n",
                    "X: y\nContent-Length: 40\r\n",
                    "X: y\rContent-Length: 40\r\n",
                    "\0Content-Length: 40\r\n",
                    "Content-Length: 4\x000\r\n",
                    "Content-Length: +40\r\n",
                    "Content-Length: 0x28\r\n",
                    "Content-Length: 40abc\r\n",
                    "Content-Length:\x0b40\r\n",
                ],
                |fields| closes(400, attack(fields, HIDDEN)),
            );
            // Other fields by their names: for everybody there is no body, and a request behind.
            for other in ["Content_Length: 40\r\n", "X-Content-Length: 40\r\n"] {
                cases.push(open(attack(other, &get("")), [answer(400), answer(200)]));
            }
            cases
        },
    ),
    chunks_that_hide("RFC 9112, 7.1", "a chunk that ends in two places", "400", {
        let body = |rest: &str| attack("Transfer-Encoding: chunked\r\n", rest);
        vec![
            // A size that wraps around to 17 in 64 bits, and in 32.
            closes(400, body(&format!("10000000000000011\r\n{METRIC}\r\n0\r\n\r\n{HIDDEN}"))),
            closes(413, body(&format!("100000011\r\n{METRIC}\r\n0\r\n\r\n{HIDDEN}"))),
            // A line feed in an extension, and behind a size (TERM.EXT, EXT.TERM).
            closes(400, body(&format!("11;\n{METRIC}\r\n0\r\n\r\n{HIDDEN}"))),
            closes(400, body(&format!("2\nxx\r\n27\r\n0\r\n\r\n{HIDDEN}"))),
            closes(400, body(&format!("11;a=\"\r\n{METRIC}\r\n0\r\n\r\n{HIDDEN}\""))),
            // Two bytes that a careless parser skips without looking at them (SPILL).
            closes(400, body(&format!("11\r\n{METRIC}XX0\r\n\r\n{HIDDEN}"))),
            closes(400, body(&format!("11\r\n{METRIC}\r\n0\r\nXX{HIDDEN}"))),
            // A trailer section that ends in no empty line.
            closes(400, body(&format!("11\r\n{METRIC}\r\n0\r\nGET / HTTP/1.1\r\n{HIDDEN}"))),
        ]
    }),
    another_host(
        "RFC 9112, 3.2.2",
        "two names for one request: in the target, in Host, in a second Host",
        "one decides nothing here, two Hosts are refused",
        vec![
            stays(200, "GET http://b/health HTTP/1.1\r\nHost: hidden\r\n\r\n"),
            stays(200, get("X-Forwarded-Host: b\r\nForwarded: host=b\r\n")),
            closes(400, get("hOST: b\r\n")),
            closes(400, get("Host : b\r\n")),
            closes(400, "GET /health HTTP/1.1\r\nHost: a\r\n Host: b\r\n\r\n"),
            closes(400, "GET http://a@b/health HTTP/1.1\r\nHost: a\r\n\r\n"),
            closes(400, "GET http://a\\@b/health HTTP/1.1\r\nHost: a\r\n\r\n"),
        ],
    ),
    other_rules_for_a_path(
        "RFC 9110, 7.1",
        "another target in a field than in the request line",
        "only the request line counts",
        vec![
            open(
                "GET /nothing HTTP/1.1\r\nHost: a\r\nX-Original-URL: /health\r\n\
                 X-Rewrite-URL: /health\r\n\r\n",
                [answer(404)],
            ),
            open(
                "POST /health HTTP/1.1\r\nHost: a\r\nX-HTTP-Method-Override: GET\r\n\
                 Content-Length: 0\r\n\r\n",
                [answer(405)],
            ),
        ],
    ),
    split_answers(
        "RFC 9112, 11.1",
        "no byte of a request gets into the head of an answer",
        "fields of answers are made of constants and numbers",
        vec![
            stays(404, "GET /%0d%0aX-Hidden:%201 HTTP/1.1\r\nHost: a\r\n\r\n"),
            open(
                "GET /metrics/%0d%0aSet-Cookie:a HTTP/1.1\r\nHost: a\r\n\r\n",
                [answer(404).without("set-cookie")],
            ),
            open(
                "GET /analyze?device_id=%0d%0aSet-Cookie:a HTTP/1.1\r\nHost: a\r\n\r\n",
                [answer(404).without("set-cookie")],
            ),
        ],
    ),
    leftovers_of_an_error(
        "RFC 9112, 11.2",
        "what follows an error is not taken for a request",
        "never parsed, and the connection closes",
        {
            let heads = [
                (400, "GET /health HTTP/1.1\r\n\r\n"),
                (400, "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"),
                (413, "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n"),
                (417, "GET /health HTTP/1.1\r\nHost: a\r\nExpect: z\r\n\r\n"),
                (501, "PROPPATCH / HTTP/1.1\r\nHost: a\r\n\r\n"),
                (505, "GET / HTTP/4.0\r\nHost: a\r\n\r\n"),
            ];
            let behind = |(status, head)| {
                closed(
                    [get("X: z\r\n"), format!("{head}{HIDDEN}")].concat(),
                    [answer(200), answer(status)],
                )
            };
            each(heads, behind)
        },
    ),
];
