//! `Host`: there, once, and a host.

use super::row::{closes, each, old_get, stays};

fn with(value: &str) -> String {
    format!("GET /health HTTP/1.1\r\nHost:{value}\r\n\r\n")
}

rows![
    required(
        "RFC 9112, 3.2",
        "400 for an HTTP/1.1 request without Host (MUST)",
        "400",
        vec![
            closes(400, "GET /health HTTP/1.1\r\n\r\n"),
            closes(400, "OPTIONS * HTTP/1.1\r\nX-Host: a\r\n\r\n"),
        ],
    ),
    not_in_http_1_0(
        "RFC 9112, 3.2",
        "HTTP/1.0 needs no Host",
        "it may be there, but only one and a valid one",
        vec![
            stays(200, old_get("Connection: keep-alive, x\r\n")),
            stays(200, old_get("Host: a\r\nConnection: keep-alive\r\n")),
            closes(400, old_get("Host: a\r\nHost: a\r\n")),
            closes(400, old_get("Host: a b\r\nConnection: keep-alive\r\n")),
        ],
    ),
    once(
        "RFC 9112, 3.2",
        "400 for more than one Host (MUST)",
        "400, however alike they are",
        vec![
            closes(400, "GET /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
            closes(400, "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
            closes(400, "GET /health HTTP/1.1\r\nHost:\r\nhost:\r\n\r\n"),
            closes(400, "GET /health HTTP/1.1\r\nHost: a\r\nX: b\r\nHOST: a\r\n\r\n"),
            closes(400, "GET /health HTTP/1.1\r\nHost: a, b:c, d\r\n\r\n"),
        ],
    ),
    valid(
        "RFC 9110, 7.2",
        "a host and an optional port",
        "names, addresses, any port up to 65535, which may be empty",
        each(
            [
                " a.example",
                "a:8080",
                " a:",
                " 127.0.0.1:80",
                " [::1]",
                " [2001:db8::1]:8080",
                " a_b~c",
                " a:00080",
                "\ta \t",
                " xn--bcher-kva.example",
            ],
            |value| stays(200, with(value)),
        ),
    ),
    empty(
        "RFC 9110, 7.2",
        "an empty Host is sent for a target without authority (MUST)",
        "taken",
        vec![stays(200, with("")), stays(200, with(" \t "))],
    ),
    invalid(
        "RFC 9112, 3.2",
        "400 for an invalid Host (MUST)",
        "400 for what is no `uri-host [ \":\" port ]`, a port without a host and escapes included",
        each(
            [
                " a b",
                " a/b",
                " a?b",
                " a#b",
                " a\\b",
                " user@a",
                " http://a",
                " :80",
                " :",
                " a:b",
                " a:80:80",
                " a:-1",
                " a:65536",
                " a:80 80",
                " [::1",
                " ::1",
                " [::1]x",
                " [::1]:x",
                " [a]",
                " []",
                " [fe80::1%25eth0]",
                " a%2Db",
                " a%zz",
                " a%",
                " \"a\"",
                " <a>",
                " \u{e9}",
                " a|b",
            ],
            |value| closes(400, with(value)),
        ),
    ),
];
