//! Request lines and fields, in their usual and in odd spellings.

use proptest::prelude::*;

/// One of the `usual`, and once in `of` times one of the `odd`.
pub fn usually(
    of: u32,
    usual: &'static [&'static str],
    odd: &'static [&'static str],
) -> impl Strategy<Value = String> {
    let text = prop_oneof![
        of - 1 => prop::sample::select(usual),
        1 => prop::sample::select(odd),
    ];
    text.prop_map(str::to_owned)
}

pub fn line_end() -> impl Strategy<Value = String> {
    usually(60, &["\r\n"], &["\n", "\r", "\r\r\n", "\n\r", " \r\n", "\t\r\n", "\r\n ", ""])
}

/// The request line, and the fields that have nothing to do with a body.
pub fn head(has_body: bool) -> impl Strategy<Value = (String, String)> {
    let before = usually(30, &["", "", "", "\r\n"], &["\n", "\r\n\r\n", "\r", " ", "\0", "\r\n\n"]);
    let space = || usually(60, &[" "], &["  ", "\t", "", "\u{b}", " \t"]);
    let line =
        (before, method(has_body), space(), target(), space(), version(), line_end(), host())
            .prop_map(|(before, method, a, target, b, version, end, host)| {
                let target = in_own_form(&method, target);
                before + &method + &a + &target + &b + &version + &end + &host
            });
    let field = (field(), line_end()).prop_map(|(field, end)| field + &end);
    (line, prop::collection::vec(field, 0..3).prop_map(|fields| fields.concat()))
}

/// Most methods have no body, and some are refused without one.
fn method(has_body: bool) -> impl Strategy<Value = String> {
    let usual: &[&str] = match has_body {
        true => &["POST", "POST", "PUT", "PATCH", "GET", "DELETE", "CONNECT"],
        false => &["GET", "GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "CONNECT"],
    };
    let odd =
        &["get", "BREW", "GE T", "G(T", "", "CONNECTS", "PRI", "GET\t", "\u{e9}", "GET\0", "POST"];
    usually(40, usual, odd)
}

/// Some methods have a form of target to themselves (RFC 9112, section 3.2).
fn in_own_form(method: &str, target: String) -> String {
    match (method, target.as_str()) {
        ("CONNECT", "/metrics" | "/metrics/d1:17" | "/") => "a:80".to_owned(),
        ("OPTIONS", "/") => "*".to_owned(),
        _ => target,
    }
}

/// Targets that some server takes.
const ODD_TARGETS: &[&str] = &[
    "",
    "*",
    "a",
    "//",
    "/#",
    "/a#b",
    "/\"",
    "/<b>",
    "/`",
    "/{a}",
    "/a|b",
    "/[",
    "/\\",
    "/^",
    "/\u{e9}",
    "/%",
    "/%zz",
    "/?",
    "/?\"",
    "/?<",
    "/?`",
    "/?{}",
    "/?[]",
    "/?^",
    "/?\\",
    "/?#",
    "/\0",
    "/\u{7f}",
    "/a b",
    "/\t",
    "http:///",
    "http://",
    "http://a:b/",
    "http://a:1:2/",
    "http://:80/",
    "http://[::1/",
    "http://[/",
    "http://a%62/",
    "http://u@a/",
    "http://a\\b/",
    "ftp://a/",
    "http:/a",
    "http:a",
    "https://a?#",
    "a:80",
    "a:",
    ":80",
    "a:80/",
    "u@a:80",
    "[::1]:80",
    "http://a|b/",
    "http://a,b;c=d/",
    "http://a/<",
    "http://a?\"",
    "http://[]/",
    "http://a]/",
    "http://[a]b/",
    "HtTp://a/",
    "http://a*b/",
    "*?a",
    "/*",
    "**",
];

fn target() -> impl Strategy<Value = String> {
    usually(
        20,
        &[
            "/",
            "/metrics",
            "/metrics/d1:17",
            "/a?b=c&d",
            "/a%20b?%3f",
            "http://a/b",
            "https://a:1?b",
        ],
        ODD_TARGETS,
    )
}

fn version() -> impl Strategy<Value = String> {
    usually(
        30,
        &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"],
        &["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "http/1.1", "HTTP/1.10", "HTTP/1.", "HTTP/1,1", ""],
    )
}

/// A field that has nothing to do with a body.
fn field() -> impl Strategy<Value = String> {
    usually(
        12,
        &[
            "Accept: */*",
            "X-Empty:",
            "x:y",
            "Connection: keep-alive",
            "Connection: close",
            "Expect: 100-continue",
            "User-Agent:  a (b) \t",
            "!#$%&'*+-.^_`|~09: tchar",
        ],
        &[
            "Host: a",
            "HOST: b",
            "X : y",
            "X\t: y",
            " X: y",
            "\tX: y",
            ": y",
            "X",
            "X y: z",
            "",
            "X(: y",
            "X: \0",
            "X: \u{1}",
            "X: \u{7f}",
            "X: \u{e9}",
            "X\u{e9}: y",
            "X: a\rb",
            "X: a\nb",
            "X: a\r\n b",
            "X: a\r\n\tb",
            "Connection: foo, CLOSE",
            "Connection:,close,,",
            "Connection: close\r\nConnection: keep-alive",
            "Connection: keep-alive, close",
            "Connection: keep-alive\r\nConnection: close",
            "Connection: close\u{e9}",
            "Connection: close, \u{e9}",
            "Connection: keep-alive, \u{e9}",
            "Connection: \"close\"",
            "Connection: upgrade\r\nUpgrade: websocket",
            "Upgrade: h2c",
            "Expect: 200-ok",
            "Expect: 100-continue, 100-continue",
            "Trailer: X",
            "TE: trailers",
            "Keep-Alive: 5",
            "Content-Length: 5",
            "Content-Length : 5",
            "Content_Length: 5",
            "Content-Length\0: 5",
            "Transfer-Encoding : chunked",
            "Transfer_Encoding: chunked",
            "Transfer-Encoding: ",
            "Transfer-Encoding: identity",
            "Transfer-Encoding:\r\n chunked",
            "Content-Length:",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: xchunked",
            "Content-Length: 0",
        ],
    )
}

fn host() -> impl Strategy<Value = String> {
    usually(
        20,
        &["Host: a\r\n", "host:a.b:80 \r\n", "HOST: [::1]:8080\r\n", "Host:\r\n"],
        &[
            "",
            "Host: a b\r\n",
            "Host: a/b\r\n",
            "Host: u@a\r\n",
            "Host: a\r\nHost: a\r\n",
            "Host: a,b\r\n",
            "Host: a:b\r\n",
            "Host: [::1\r\n",
            "Host : a\r\n",
            "Host a\r\n",
            "Host: \u{e9}\r\n",
            "Host: a%62\r\n",
            "Host: ::1\r\n",
            "Host: a:80:80\r\n",
        ],
    )
}
