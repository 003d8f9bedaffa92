//! Chunks and trailers: what delimits a body from within.

use super::row::{ACCEPTED, METRIC, answer, chunked, closed, closes, each, open, stays};

/// The metric in a chunk of this size line, and the last chunk.
fn sized(line: &str) -> String {
    chunked(&format!("{line}\r\n{METRIC}\r\n0\r\n\r\n"))
}

/// The metric with these trailers, each with its line end.
fn trailed(trailers: &str) -> String {
    chunked(&format!("11\r\n{METRIC}\r\n0\r\n{trailers}\r\n"))
}

rows![
    sizes(
        "RFC 9112, 7.1",
        "a size in hexadecimal digits, as many bytes, and a size of zero at the end",
        "in either case, with leading zeros",
        vec![
            open(sized("11"), [answer(202).body(ACCEPTED)]),
            stays(202, sized("0011")),
            stays(
                202,
                chunked(&format!("A\r\n{}\r\n7\r\n{}\r\n0\r\n\r\n", &METRIC[..10], &METRIC[10..]))
            ),
            stays(
                202,
                chunked(&format!(
                    "b\r\n{}\r\n6\r\n{}\r\n000\r\n\r\n",
                    &METRIC[..11],
                    &METRIC[11..]
                ))
            ),
            stays(400, chunked("0\r\n\r\n")),
            stays(400, chunked("1\r\n{\r\n0\r\n\r\n")),
        ],
    ),
    data_is_opaque(
        "RFC 9112, 7.1",
        "the data of a chunk is its size long, whatever it holds",
        "line ends and requests within it are data",
        vec![
            stays(400, chunked("a\r\n\r\n0\r\n\r\n0\r\n\r\n0\r\n\r\n")),
            stays(
                400,
                chunked("29\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: abcd\r\n\r\n\r\n0\r\n\r\n")
            ),
        ],
    ),
    sizes_that_are_none(
        "RFC 9112, 7.1",
        "`1*HEXDIG`",
        "400 for signs, prefixes, white space, other digits, and nothing",
        each(
            [
                "", " 11", "\t11", "+11", "-11", "-0", "0x11", "0X11", "x11", "11h", "11L", "g",
                "1_1", "1 1", "11 ", "11\t", "1.1", "\"11\"", "\u{661}", "11\0", "\x0b11",
                "11\x0b", "#11", "$11", "11,11",
            ],
            |line| closes(400, sized(line)),
        ),
    ),
    overflow(
        "RFC 9112, 7.1",
        "large sizes are to be expected, and must not overflow (MUST)",
        "400 past 64 bits, 413 for what is merely too large",
        vec![
            closes(400, sized("10000000000000011")),
            closes(400, sized("f0000000000000011")),
            closes(400, sized("100000000000000000000000000000011")),
            closes(413, sized("ffffffffffffffff")),
            closes(413, sized("7fffffffffffffff")),
            closes(413, sized("100000011")),
            closes(413, sized("80000011")),
            closes(413, sized("100001")),
            closes(413, chunked("2\r\n{}\r\nfffff\r\n")),
        ],
    ),
    line_ends(
        "RFC 9112, 7.1",
        "CR LF behind each size and behind each chunk's data",
        "400 for LF alone, CR alone, anything between, and data longer than its size",
        each(
            [
                "11\n{\"cpu\":1,\"rps\":2}\r\n0\r\n\r\n",
                "11\r{\"cpu\":1,\"rps\":2}\r\n0\r\n\r\n",
                "11\r\r\n{\"cpu\":1,\"rps\":2}\r\n0\r\n\r\n",
                "11\r\n{\"cpu\":1,\"rps\":2}\n0\r\n\r\n",
                "11\r\n{\"cpu\":1,\"rps\":2}\r0\r\n\r\n",
                "11\r\n{\"cpu\":1,\"rps\":2}0\r\n\r\n",
                "11\r\n{\"cpu\":1,\"rps\":2} \r\n0\r\n\r\n",
                "10\r\n{\"cpu\":1,\"rps\":2}\r\n0\r\n\r\n",
                "12\r\n{\"cpu\":1,\"rps\":2}\r\n0\r\n\r\n",
                "11\r\n{\"cpu\":1,\"rps\":2}\r\n\r\n0\r\n\r\n",
                "11\r\n{\"cpu\":1,\"rps\":2}\r\n0\n\r\n",
                "11\r\n{\"cpu\":1,\"rps\":2}\r\n0\r\n\n",
                "11\r\n{\"cpu\":1,\"rps\":2}\r\n0\r\n\rX",
                "\r\n11\r\n{\"cpu\":1,\"rps\":2}\r\n0\r\n\r\n",
                "\n11\r\n{\"cpu\":1,\"rps\":2}\r\n0\r\n\r\n",
            ],
            |body| closes(400, chunked(body)),
        ),
    ),
    extensions(
        "RFC 9112, 7.1.1",
        "extensions that are not known are ignored (MUST)",
        "tokens and quoted strings, white space around `;` and `=` included",
        each(
            [
                "11;a",
                "11;a=b",
                "11 ;\ta = b ; c",
                "11;a=\"\"",
                "11;a=\"b;c\\\"\"",
                "11;a;b;c=d",
                "0011;a=\"\t\\\\ \u{e9}\"",
            ],
            |line| stays(202, sized(line)),
        ),
    ),
    malformed_extensions(
        "RFC 9112, 7.1.1",
        "`*( BWS \";\" BWS name [ BWS \"=\" BWS value ] )`",
        "400 for anything else: an open quote ends elsewhere for each parser",
        each(
            [
                "11;",
                "11;;a",
                "11; ",
                "11;=b",
                "11;a=",
                "11;a b",
                "11;a=b c",
                "11;a=b=c",
                "11;a ",
                "11;a=b ",
                "11;\"a\"",
                "11;a=\"b",
                "11;a=\"b\\\"",
                "11;a=\"b\"c",
                "11;a=\"b\rc\"",
                "11;a=\"b\nc\"",
                "11;a\n",
                "11;\n",
                "11;a\r;",
                "11;\0",
                "11;a=\x01",
                "11;a=\"\x7f\"",
                "11;\u{e9}",
                "11 a",
                "11 =a",
                "11;a=b,c",
            ],
            |line| closes(400, sized(line)),
        ),
    ),
    long_size_lines(
        "RFC 9112, 7.1.1",
        "the length of extensions is to be limited",
        "64 bytes a line, and 400 as soon as it is longer",
        vec![
            stays(202, sized(&format!("{}11", "0".repeat(62)))),
            stays(202, sized(&format!("11;{}", "a".repeat(61)))),
            closes(400, sized(&format!("{}11", "0".repeat(63)))),
            closes(400, sized(&format!("11;{}", "a".repeat(62)))),
            closes(400, chunked(&"0".repeat(65))),
            closes(400, chunked(&format!("2\r\n{{}}\r\n{}", "0".repeat(65)))),
        ],
    ),
    trailers(
        "RFC 9110, 6.5.1",
        "trailers are merged only by who knows what they mean (MUST NOT otherwise)",
        "read and dropped, those included that would frame, route or authorise",
        each(
            [
                "X: a\r\n",
                "X:\r\nY:\t b \t\r\n",
                "X: \u{e9}\r\n",
                "Content-Length: 5\r\n",
                "Transfer-Encoding: gzip\r\n",
                "Host: b\r\nHost: c\r\n",
                "Connection: close\r\n",
                "Content-Encoding: gzip\r\nContent-Type: image/png\r\nExpect: x\r\n",
            ],
            |trailers| stays(202, trailed(trailers)),
        ),
    ),
    malformed_trailers(
        "RFC 9112, 7.1.2",
        "trailers are field lines",
        "400 for what no header field may be",
        each(
            [
                "X : a\r\n",
                ": a\r\n",
                "X\r\n",
                " X: a\r\n",
                "X: a\r\n b\r\n",
                "X: a\n",
                "X: a\rY: b\r\n",
                "X: a\0\r\n",
                "X: \x7f\r\n",
                "X(: a\r\n",
                "GET /health HTTP/1.1\r\n",
            ],
            |trailers| closes(400, trailed(trailers)),
        ),
    ),
    long_trailers(
        "RFC 9110, 5.4",
        "4xx for more fields than are wanted (MUST)",
        "4 KiB are taken; 431 as soon as there is more",
        vec![
            stays(202, trailed(&format!("X: {}\r\n", "a".repeat(4 * 1024 - "X: \r\n".len())))),
            closes(431, chunked(&format!("0\r\nX: {}", "a".repeat(4 * 1024)))),
        ],
    ),
    leftovers(
        "RFC 9112, 7.1",
        "what follows the last chunk is the next request",
        "to the byte; never after a fault",
        vec![
            open(sized("11;x") + &chunked("0\r\n\r\n"), [answer(202), answer(400)]),
            closed(sized("11;y") + &chunked("x\r\n"), [answer(202), answer(400)]),
        ],
    ),
];
