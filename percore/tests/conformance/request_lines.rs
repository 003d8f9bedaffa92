//! Request lines: their white space, their version, and what may stand before them.

use super::row::{answer, closed, closes, each, get, line, old_get, open, stays};

rows![
    one_space_divides(
        "RFC 9112, 3",
        "method, target and version, divided by single spaces; 400 otherwise (SHOULD)",
        "400; no lenient parsing on white space",
        each(
            [
                "GET  /health HTTP/1.1",
                "GET /health  HTTP/1.1",
                " GET /health HTTP/1.1",
                "GET /health HTTP/1.1 ",
                "GET\t/health HTTP/1.1",
                "GET /health\tHTTP/1.1",
                "GET /health HTTP/1.1\t",
                "GET\x0b/health HTTP/1.1",
                "GET /health x HTTP/1.1",
                "GET /he alth HTTP/1.1",
                "GET  HTTP/1.1",
                "GET HTTP/1.1",
                "GET",
                "/health HTTP/1.1",
                "GET /health HTTP/1.1\0",
                "GET /hea\0lth HTTP/1.1",
                "G\0T /health HTTP/1.1",
                "G(T /health HTTP/1.1",
                "\u{feff}GET /health HTTP/1.1",
            ],
            |wrong| closes(400, line(wrong)),
        ),
    ),
    other_protocols_are_no_requests(
        "RFC 9112, 3",
        "400 for what is no request line (SHOULD)",
        "400 at the first byte that is wrong",
        vec![
            // The start of SOCKS 5, of SSH, and of the proxy protocol. That of a TLS handshake is
            // answered by an alert.
            closes(400, b"\x05\x01\x00"),
            closes(400, b"SSH-2.0-OpenSSH_9.2\r\n"),
            closes(400, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
            closes(400, b"HTTP/1.1 200 OK\r\n\r\n"),
        ],
    ),
    versions_of_one(
        "RFC 9110, 6.2",
        "HTTP/1.0 and HTTP/1.1 are answered with the highest version this server has (SHOULD)",
        "HTTP/1.1 in each answer",
        vec![stays(200, get("")), open(old_get("Connection: keep-alive\r\n"), [answer(200)])],
    ),
    the_version_is_case_sensitive(
        "RFC 9112, 2.3",
        "HTTP-name is case-sensitive, and one digit stands on each side of the dot",
        "400 for what is no version",
        each(
            [
                "http/1.1",
                "Http/1.1",
                "HTTQ/1.1",
                "HTTP/11",
                "HTTP/1.1.1",
                "HTTP/1.10",
                "HTTP/1,1",
                "HTTP/1.",
                "HTTP/1",
                "HTTP/",
                "HTTP/01.1",
                "HTTP/01.01",
                "HTTP/1.01",
                "HTTP/2",
                "HTTP/2.",
                "HTTP/2.0.0",
                "HTTP/2.00",
                "HTTP/20",
                "HTTP/x.0",
                "HTTP/2.x",
                "HTTP 1.1",
                "HTTPS/1.1",
                "FOO",
                "1.1",
            ],
            |version| closes(400, line(&format!("GET /health {version}"))),
        ),
    ),
    other_versions_are_refused(
        "RFC 9110, 15.6.6",
        "505 for a major version that is not supported (MAY)",
        "505 at the end of the request line",
        each(["HTTP/0.9", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9"], |version| {
            closes(505, line(&format!("GET /health {version}")))
        }),
    ),
    higher_minor_versions(
        "RFC 9110, 2.5",
        "a higher minor version is taken like the highest one known (SHOULD)",
        "differs: 505, for there is no such version, and an honest sender of one",
        each(["HTTP/1.2", "HTTP/1.9"], |version| {
            closes(505, line(&format!("GET /health {version}")))
        }),
    ),
    http_2_preface(
        "RFC 9113, 3.4",
        "a client with prior knowledge of HTTP/2 begins with a preface",
        "505 at its first line",
        vec![
            closes(505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            closes(505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
        ],
    ),
    http_0_9(
        "RFC 9112, appendix B",
        "HTTP/0.9 need not be supported",
        "400 for a line without a version",
        vec![closes(400, "GET /health\r\n"), closes(400, "GET /health\r\n\r\n")],
    ),
    empty_lines_before(
        "RFC 9112, 2.2",
        "at least one empty line before a request line is ignored (SHOULD)",
        "any number of them, each CR LF",
        vec![
            open(format!("\r\n{}", get("X: 1\r\n")), [answer(200)]),
            open(format!("\r\n\r\n\r\n{}\r\n", get("X: 2\r\n")), [answer(200)]),
            open(format!("{}\r\n{}", get("X: 3\r\n"), get("")), [answer(200), answer(200)]),
            closes(400, format!("\r\r\n{}", get(""))),
            closes(400, format!("\r{}", get(""))),
            closes(400, format!(" \r\n{}", get(""))),
        ],
    ),
    a_line_feed_alone_ends_no_line(
        "RFC 9112, 2.2",
        "a recipient may take LF alone for a line end (MAY)",
        "400: two parsers that differ in this see different requests",
        vec![
            closes(400, "GET /health HTTP/1.1\nHost: a\n\n"),
            closes(400, "GET /health HTTP/1.1\nHost: a\r\n\r\n"),
            closes(400, format!("\n{}", get(""))),
            closes(400, format!("\r\n\n{}", get(""))),
            closed(format!("{}\n{}", get("X: 4\r\n"), get("")), [answer(200), answer(400)]),
        ],
    ),
    a_carriage_return_alone_ends_no_line(
        "RFC 9112, 2.2",
        "a CR without LF is invalid or becomes a space (MUST)",
        "400",
        vec![
            closes(400, "GET /health HTTP/1.1\rHost: a\r\n\r\n"),
            closes(400, "GET /health\r HTTP/1.1\r\nHost: a\r\n\r\n"),
            closes(400, "GET /health HTTP/1.1\r\r\nHost: a\r\n\r\n"),
        ],
    ),
    long_lines(
        "RFC 9112, 3",
        "request lines of 8,000 bytes at least (RECOMMENDED), 414 for a longer target (MUST)",
        "8 KiB, and 414 as soon as it is longer",
        {
            let of = |bytes: usize| {
                let fixed = "GET / HTTP/1.1".len();
                format!("GET /{} HTTP/1.1", "a".repeat(bytes - fixed))
            };
            vec![
                stays(404, line(&of(8 * 1024))),
                closes(414, line(&of(8 * 1024 + 1))),
                closes(414, format!("GET /{}", "a".repeat(8 * 1024))),
            ]
        },
    ),
];
