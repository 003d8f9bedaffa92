//! Methods: which are known, and which a path takes.

use super::row::{
    ACCEPTED, Case, HEALTHY, METRIC, answer, closed, closes, each, get, line, open, post_with,
    stays,
};

const READ: &str = "GET, HEAD, OPTIONS";
const WRITE: &str = "POST, OPTIONS";

/// A request without content that says so, for methods that would have to say how long it is.
fn empty(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
}

fn not_allowed(method: &str, target: &str, allow: &'static str) -> Case {
    let answer = answer(405).with("allow", allow);
    let answer = if method == "HEAD" { answer.for_head() } else { answer };
    open(empty(method, target), [answer])
}

rows![
    get_and_head_are_supported(
        "RFC 9110, 9.1",
        "GET and HEAD are supported (MUST)",
        "wherever there is something to read",
        ["/", "/health", "/ready"]
            .into_iter()
            .flat_map(|path| {
                let get = stays(200, line(&format!("GET {path} HTTP/1.1")));
                [get, stays(200, line(&format!("HEAD {path} HTTP/1.1"))).of_head()]
            })
            .collect(),
    ),
    head_has_no_content(
        "RFC 9110, 9.3.2",
        "no content in the answer to HEAD (MUST NOT), whatever it is",
        "the length stands, the content does not follow",
        vec![
            open(
                "HEAD /health HTTP/1.1\r\nHost: b\r\n\r\n",
                [answer(200).for_head().with("content-length", "16")],
            ),
            open("HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n", [answer(404).for_head()]),
            open(
                "HEAD /metrics/none HTTP/1.1\r\nHost: a\r\n\r\n",
                [answer(404).for_head().with("content-type", "application/problem+json")],
            ),
            open(
                format!("{}{}", line("HEAD / HTTP/1.1"), get("X: head\r\n")),
                [answer(200).for_head(), answer(200).body(HEALTHY)],
            ),
            closed("HEAD /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", [answer(400).for_head()]),
            closed("HEAD /health HTTP/3.0\r\nHost: a\r\n\r\n", [answer(505).for_head()]),
            closed("HEAD / HTTP/1.0\r\n\r\n", [answer(200).for_head()]),
        ],
    ),
    post_is_taken_where_metrics_are(
        "RFC 9110, 9.3.3",
        "POST is processed by the target's own semantics",
        "202: accepted, and queued for the store",
        vec![open(post_with("", METRIC.as_bytes()), [answer(202).body(ACCEPTED)])],
    ),
    methods_are_case_sensitive(
        "RFC 9110, 9.1",
        "a method is case-sensitive",
        "`get` is an unknown method: 501",
        each(["get", "Get", "gET", "head", "post", "options"], |method| {
            closes(501, line(&format!("{method} /health HTTP/1.1")))
        }),
    ),
    unknown_methods(
        "RFC 9110, 9.1",
        "501 for a method that is not recognised (SHOULD)",
        "501; the connection closes, for nobody knows what follows",
        each(["BREW", "M-SEARCH", "PROPFIND", "GETX", "X", "!#$%&'*+-.^_`|~09"], |method| {
            closes(501, line(&format!("{method} /health HTTP/1.1")))
        }),
    ),
    long_methods(
        "RFC 9112, 3",
        "501 for a method longer than any that is known (SHOULD)",
        "501, also before its end has come",
        vec![
            closes(501, line(&format!("{} / HTTP/1.1", "A".repeat(100)))),
            closes(501, line(&format!("{} / HTTP/1.1", "A".repeat(8 * 1024)))),
            closes(501, "A".repeat(8 * 1024 + 1)),
        ],
    ),
    known_methods_that_a_path_does_not_take(
        "RFC 9110, 15.5.6",
        "405 for a known method that the target does not take (SHOULD), with Allow (MUST)",
        "405; the connection carries on",
        {
            let write = ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE"];
            let read = ["POST", "PUT", "DELETE", "PATCH", "TRACE"];
            let mut cases = each(write, |method| not_allowed(method, "/metrics", WRITE));
            for path in ["/", "/health", "/ready", "/analyze", "/metrics/prometheus", "/metrics/1"]
            {
                cases.extend(each(read, |method| not_allowed(method, path, READ)));
            }
            cases
        },
    ),
    any_known_method_on_no_path_of_ours(
        "RFC 9110, 15.5.5",
        "404 where nothing is served",
        "404 before the method is looked at",
        each(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"], |method| {
            open(empty(method, "/nothing"), [answer(404).without("allow")])
        }),
    ),
    trace_reflects_nothing(
        "RFC 9110, 9.3.8",
        "TRACE may reflect the request; sensitive fields are to be left out",
        "405, and not a byte of the request comes back",
        vec![open(
            "TRACE /health HTTP/1.1\r\nHost: a\r\nCookie: secret\r\nMax-Forwards: 0\r\n\r\n",
            [answer(405).with("allow", READ)],
        )],
    ),
    options_of_a_path(
        "RFC 9110, 9.3.7",
        "OPTIONS tells what may be asked, with Content-Length: 0 where there is no content (MUST)",
        "200 with Allow and no content",
        {
            let nothing = |allow| answer(200).with("allow", allow).with("content-length", "0");
            vec![
                open(line("OPTIONS /metrics HTTP/1.1"), [nothing(WRITE)]),
                open(line("OPTIONS /metrics?x HTTP/1.1"), [nothing(WRITE)]),
                open(line("OPTIONS /health HTTP/1.1"), [nothing(READ)]),
                open(line("OPTIONS / HTTP/1.1"), [nothing(READ)]),
                open(line("OPTIONS /metrics/1 HTTP/1.1"), [nothing(READ)]),
            ]
        },
    ),
    options_of_the_server(
        "RFC 9112, 3.2.4",
        "`OPTIONS *` asks about the server as a whole",
        "200 with every method",
        vec![
            open(
                line("OPTIONS * HTTP/1.1"),
                [answer(200).with("allow", "GET, HEAD, POST, OPTIONS").body("")],
            ),
            open(
                "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nContent-Length: 2\r\n\r\n{}",
                [answer(200).with("content-length", "0")],
            ),
        ],
    ),
    connect_opens_no_tunnel(
        "RFC 9110, 9.3.6",
        "an origin server need not implement CONNECT",
        "501, and the connection closes: what follows may be meant for a tunnel",
        vec![
            closes(501, line("CONNECT other:443 HTTP/1.1")),
            closes(501, line("CONNECT [::1]:443 HTTP/1.1")),
            closes(501, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
            closes(501, "CONNECT a:80 HTTP/1.0\r\n\r\n"),
        ],
    ),
    connect_needs_a_port(
        "RFC 9110, 9.3.6",
        "an empty or invalid port is refused (MUST), typically with 400",
        "400, as for a target in any other form",
        each(
            ["other", "other:", "other:x", "other:65536", ":443", "/health", "http://a:80/", "*"],
            |target| closes(400, line(&format!("CONNECT {target} HTTP/1.1")))
        ),
    ),
];
