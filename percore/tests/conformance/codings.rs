//! `Transfer-Encoding`: chunked, once, last, and alone.

use super::row::{ACCEPTED, METRIC, answer, closed, closes, each, get, open, post, stays};

/// The metric in one chunk, under these fields.
fn under(fields: &str) -> String {
    post(&format!("{fields}\r\n11\r\n{METRIC}\r\n0\r\n\r\n"))
}

fn coding(value: &str) -> String {
    under(&format!("Transfer-Encoding:{value}\r\n"))
}

rows![
    chunked(
        "RFC 9112, 7.1",
        "chunked is parsed (MUST); names of codings are case-insensitive",
        "by any method",
        vec![
            open(coding(" chunked"), [answer(202).body(ACCEPTED)]),
            stays(202, coding("CHUNKED")),
            stays(202, coding(" \tChunked\t ")),
            stays(202, under("tRANSFER-eNCODING: chunked\r\n")),
            stays(200, get("Transfer-Encoding: chunked\r\n") + "2\r\n{}\r\n0\r\n\r\n"),
            open(get("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", [answer(200)]),
        ],
    ),
    not_last(
        "RFC 9112, 6.3",
        "400 and close where chunked is not the last coding (MUST)",
        "400, also for codings that are not known",
        each(
            [
                " chunked, gzip",
                " chunked, identity",
                " gzip",
                " identity",
                " xchunked",
                " chunked x",
                " compress, deflate",
                " chunke",
                " chunked, chunked, gzip",
            ],
            |value| closes(400, coding(value)),
        ),
    ),
    not_known(
        "RFC 9112, 6.1",
        "501 for a coding that is not understood (SHOULD)",
        "501 for any before chunked",
        each([" gzip, chunked", " identity,chunked", " xchunked , chunked", "br,gzip,chunked"], {
            |value| closes(501, coding(value))
        }),
    ),
    chunked_twice(
        "RFC 9112, 7.1",
        "chunked is not applied twice (MUST NOT)",
        "400, in one field or in two",
        vec![
            closes(400, coding(" chunked, chunked")),
            closes(400, coding(" chunked,CHUNKED")),
            closes(400, under("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
        ],
    ),
    several_fields(
        "RFC 9110, 5.3",
        "several fields are one list",
        "judged as one",
        vec![
            closes(501, under("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n")),
            closes(400, under("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n")),
            closes(400, under("Transfer-Encoding: chunked\r\nX: a\r\ntransfer-encoding: x\r\n")),
            closes(400, under("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n")),
        ],
    ),
    beside_a_length(
        "RFC 9112, 6.1",
        "beside Content-Length a server may refuse (MAY), and closes after its answer (MUST)",
        "400, in whichever order they stand and whatever the length",
        vec![
            closes(400, under("Content-Length: 27\r\nTransfer-Encoding: chunked\r\n")),
            closes(400, under("Transfer-Encoding: chunked\r\nContent-Length: 27\r\n")),
            closes(400, under("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n")),
            closes(400, under("Transfer-Encoding: gzip, chunked\r\nContent-Length: 5\r\n")),
            closes(400, under("Transfer-Encoding: identity\r\nContent-Length: 17\r\n")),
            closes(400, get("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n") + "0\r\n\r\n"),
        ],
    ),
    in_http_1_0(
        "RFC 9112, 6.1",
        "in HTTP/1.0 it makes the framing faulty, and the connection closes (MUST)",
        "400",
        vec![
            closes(400, "POST /metrics HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            closes(
                400,
                "POST /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\
                 Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            ),
            closes(400, "GET /health HTTP/1.0\r\nTransfer-Encoding: identity\r\n\r\n"),
        ],
    ),
    odd_spellings(
        "RFC 9112, 11.2",
        "what only some parsers take for chunked smuggles requests",
        "400 for each, or it is another field and the length is missing",
        {
            let mut cases = each(
                [
                    " \"chunked\"",
                    " 'chunked",
                    " chunked;",
                    " chunked;q=1",
                    " chunked\x0b",
                    "\x0bchunked",
                    " \u{212a}chunked",
                    " chun\tked",
                    " chunked\0",
                    "\r\n chunked",
                    " chunked\r\n , identity",
                    " x\r\n chunked",
                    " \u{a0}chunked",
                    " (chunked)",
                    " gzip;q=1, chunked",
                    " chunked/1",
                ],
                |value| closes(400, coding(value)),
            );
            cases.push(closes(400, under("Transfer-Encoding : chunked\r\n")));
            cases.push(closes(400, under("Transfer-Encoding\t: chunked\r\n")));
            cases.push(closes(400, under(" Transfer-Encoding: chunked\r\n")));
            cases.push(closes(400, under("X: y\nTransfer-Encoding: chunked\r\n")));
            cases.push(closes(400, under("X: y\rTransfer-Encoding: chunked\r\n")));
            // Other fields by their names: there is no body, and no request in what follows.
            for other in [
                "Transfer_Encoding: chunked\r\n",
                "TransferEncoding: chunked\r\n",
                "TE: chunked\r\n",
            ] {
                cases.push(closed(under(other), [answer(400), answer(400)]));
            }
            cases
        },
    ),
    empty_list_elements(
        "RFC 9110, 5.6.1.2",
        "empty elements of a list are ignored (MUST)",
        "differs: 400, for parsers differ in what is left of such a list, and it is framing",
        each(["", " ", " ,", " chunked,", " ,chunked", " chunked,,chunked"], |value| {
            closes(400, coding(value))
        }),
    ),
];
