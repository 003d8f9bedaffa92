//! Targets in their four forms, and what they may be made of.

use super::row::{HEALTHY, answer, closes, each, line, open, stays, target};

rows![
    origin_form(
        "RFC 9112, 3.2.1",
        "a path and an optional query",
        "the path is routed, a query that nobody asked for is ignored",
        vec![
            stays(200, target("/health")),
            stays(200, target("/health?")),
            stays(200, target("/health?a=b&c?d/e")),
            stays(404, target("/analyze?device_id=none")),
            stays(404, target("/analyze?device_id=no%6Ee")),
        ],
    ),
    paths_are_exact(
        "RFC 9110, 4.2.3",
        "a path may be normalised before it is compared (MAY)",
        "never: a proxy's rule for a path must mean the same here",
        each(
            [
                "/%68ealth",
                "/health/",
                "//health",
                "//a:80",
                "/./health",
                "/x/../health",
                "/HEALTH",
                "/health;v=1",
                "/health%3Fa",
                "/health%00",
                "/health%2F",
                "/metrics/",
                "/metrics/a/b",
                "/metrics/metric%3A1",
                "/metrics/%00",
                "/metrics/%FF",
            ],
            |path| stays(404, target(path)),
        ),
    ),
    absolute_form(
        "RFC 9112, 3.2.2",
        "absolute-form is accepted from anybody (MUST)",
        "taken for its path",
        vec![
            open(target("http://a/health"), [answer(200).body(HEALTHY)]),
            stays(200, target("http://a:80/health?x=y")),
            stays(200, target("HTTP://[::1]:8080/health")),
            stays(200, target("http://a")),
            stays(400, target("http://a?x")),
            stays(404, target("http://a/nothing")),
            open(
                line("OPTIONS http://a HTTP/1.1"),
                [answer(200).with("allow", "GET, HEAD, OPTIONS")]
            ),
        ],
    ),
    absolute_form_above_host(
        "RFC 9112, 3.2.2",
        "an authority in the target stands above Host, which is ignored (MUST)",
        "so, and the same is served under every name; but a Host there has to be, and a valid one",
        vec![
            stays(200, target("http://other/health")),
            stays(200, "GET http://other:81/health HTTP/1.1\r\nHost: a:80\r\n\r\n"),
            stays(200, "GET http://other/health HTTP/1.1\r\nHost:\r\n\r\n"),
            closes(400, "GET http://other/health HTTP/1.1\r\n\r\n"),
            closes(400, "GET http://other/health HTTP/1.1\r\nHost: a b\r\n\r\n"),
            closes(400, "GET http://other/health HTTP/1.1\r\nHost: a\r\nHost: other\r\n\r\n"),
        ],
    ),
    https_over_what_is_not_secured(
        "RFC 9110, 7.4",
        "an https target is refused on a connection that is not secured (MUST)",
        "421",
        vec![closes(421, target("https://a/health")), closes(421, target("HTTPS://a:443"))],
    ),
    other_schemes(
        "RFC 9110, 4.2",
        "targets of this server are http",
        "400 for another scheme, and for what is no URI",
        each(
            ["ftp://a/health", "ws://a/health", "http:/a", "http:a", "a/health", "health"],
            |wrong| closes(400, target(wrong)),
        ),
    ),
    absolute_form_without_a_host(
        "RFC 9110, 4.2.1",
        "an http URI with an empty host is invalid (MUST reject)",
        "400",
        each(["http:///health", "http://", "http://:80/health", "http://?x"], |wrong| {
            closes(400, target(wrong))
        }),
    ),
    user_information(
        "RFC 9110, 4.2.4",
        "user information from an untrusted source is an error (SHOULD)",
        "400",
        each(["http://user@a/health", "http://user:pass@a/health", "http://@a/health"], |wrong| {
            closes(400, target(wrong))
        }),
    ),
    authority_form(
        "RFC 9112, 3.2.3",
        "only CONNECT has authority-form",
        "400 with any other method",
        vec![
            closes(400, target("a:80")),
            closes(400, line("POST a:80 HTTP/1.1")),
            closes(400, line("OPTIONS a:80 HTTP/1.1")),
        ],
    ),
    asterisk_form(
        "RFC 9112, 3.2.4",
        "only OPTIONS has asterisk-form",
        "400 with any other method",
        vec![
            closes(400, target("*")),
            closes(400, line("HEAD * HTTP/1.1")).of_head(),
            closes(400, line("TRACE * HTTP/1.1")),
            closes(400, line("OPTIONS *x HTTP/1.1")),
            closes(400, line("OPTIONS ** HTTP/1.1")),
        ],
    ),
    fragments(
        "RFC 9112, 3.2",
        "a fragment is not part of a target",
        "400",
        vec![closes(400, target("/health#part")), closes(400, target("http://a/health?x#part"))],
    ),
    bytes_that_no_uri_has(
        "RFC 9112, 3.2",
        "400 for an invalid target (SHOULD); it is not to be guessed at",
        "400 for each byte that RFC 3986 does not allow",
        {
            let bytes = b"\"<>\\^`{|}[]\x7f\x01\xff\xc3";
            let mut cases = each(bytes, |byte| {
                closes(
                    400,
                    [b"GET /health", &[*byte][..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat(),
                )
            });
            cases.extend(each(bytes, |byte| {
                closes(400, [b"GET /?", &[*byte][..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat())
            }));
            cases.push(closes(400, target("/h\u{e9}alth")));
            cases.push(closes(400, target("/..\\health")));
            cases
        },
    ),
    percent_encodings(
        "RFC 3986, 2.1",
        "two hexadecimal digits follow each percent sign",
        "400 otherwise, in paths and in queries",
        each(
            [
                "/metrics/%",
                "/metrics/%4",
                "/metrics/%zz",
                "/metrics/%+1",
                "/metrics/%u0041",
                "/metrics/a%%41",
                "/analyze?device_id=%",
                "/analyze?device_id=%4x",
                "http://a/%g0",
                "http://a%zz/",
            ],
            |wrong| closes(400, target(wrong)),
        ),
    ),
];
