//! Connections: how long they last, and what is pipelined on them.

use super::row::{
    HEALTHY, METRIC, answer, closed, closes, each, get, line, old_get, open, post, stays, target,
};

rows![
    http_1_1_persists(
        "RFC 9112, 9.3",
        "HTTP/1.1 persists unless `close` is said",
        "and nothing is said of it",
        vec![
            open(get("Connection: keep-alive\r\n"), [answer(200).without("connection")]),
            open(get("Keep-Alive: timeout=1, max=1\r\n"), [answer(200).without("keep-alive")]),
            open(get("Proxy-Connection: close\r\n"), [answer(200).without("connection")]),
            open(get("Connection:\r\n"), [answer(200).without("connection")]),
        ],
    ),
    close_is_obeyed(
        "RFC 9112, 9.6",
        "after `close` no further request is taken (MUST), and the last answer says so (SHOULD)",
        "in any case and any place of the list",
        each(
            [
                "Connection: close",
                "Connection: Close",
                "connection:CLOSE",
                "Connection: foo, Close",
                "Connection: ,close,",
                "Connection: keep-alive, close",
                "Connection: keep-alive\r\nConnection: close",
                "Connection: upgrade\t,\tclose\r\nUpgrade: x",
            ],
            |fields| closed(
                get(&format!("{fields}\r\n")),
                [answer(200).with("connection", "close")]
            ),
        ),
    ),
    other_options(
        "RFC 9110, 7.6.1",
        "options that are not known are ignored; the fields they name are for this hop",
        "ignored, also where they name fields that frame",
        vec![
            stays(200, get("Connection: closed, x-close, \"close\"\r\n")),
            stays(200, get("Connection: host, content-length\r\nContent-Length: 2\r\n") + "{}"),
            stays(
                202,
                post(&format!("Connection: content-length\r\nContent-Length: 17\r\n\r\n{METRIC}")),
            ),
        ],
    ),
    http_1_0_closes(
        "RFC 9112, 9.3",
        "HTTP/1.0 closes unless `keep-alive` is said, and `close` stands above that",
        "so",
        each(
            [
                "",
                "Connection: close\r\n",
                "Connection: x\r\n",
                "Connection: keep-alive, close\r\n",
                "Keep-Alive: 300\r\n",
            ],
            |fields| closed(old_get(fields), [answer(200).with("connection", "close")]),
        ),
    ),
    http_1_0_persists_where_it_is_said(
        "RFC 9112, appendix C.2.2",
        "a server may keep HTTP/1.0 alive, and says so",
        "`Connection: keep-alive`",
        each(["keep-alive", "Keep-Alive", "x ,KEEP-ALIVE"], |option| {
            let fields = format!("Connection: {option}\r\n");
            open(old_get(&fields), [answer(200).with("connection", "keep-alive")])
        }),
    ),
    pipelined(
        "RFC 9112, 9.3.2",
        "pipelined requests are answered in their order (MUST)",
        "also where one is answered later, or with an error that leaves the framing whole",
        vec![
            open(
                [
                    get("X: first\r\n"),
                    target("/metrics/none"),
                    post("Content-Length: 1\r\n\r\n{"),
                    target("/nothing"),
                    line("PUT /metrics HTTP/1.1\r\nContent-Length: 0"),
                    post(&format!("Content-Length: 17\r\n\r\n{METRIC}")),
                    target("/health"),
                ]
                .concat(),
                [200, 404, 400, 404, 405, 202, 200].map(answer),
            ),
            open(target("/metrics/none").repeat(5), [404; 5].map(answer)),
        ],
    ),
    nothing_behind_the_last_answer(
        "RFC 9112, 9.6",
        "requests behind one that closes are not processed (MUST NOT)",
        "never parsed",
        vec![
            closed(
                target("/health") + &get("Connection: close\r\n") + &target("/health"),
                [answer(200), answer(200)],
            ),
            closed(target("/") + &old_get("") + &target("/health"), [answer(200), answer(200)]),
            closes(200, get("Connection: close\r\n") + "\0\0\0"),
        ],
    ),
    nothing_behind_a_refusal(
        "RFC 9112, 11.2",
        "what follows a request that cannot be delimited is no request",
        "never parsed; the answers before it are sent",
        vec![
            closed(
                [target("/health"), get("X : y\r\n"), target("/health")].concat(),
                [answer(200).body(HEALTHY), answer(400)],
            ),
            closed(
                [target("/metrics/none"), line("BREW / HTTP/1.1"), target("/health")].concat(),
                [answer(404), answer(501)],
            ),
            closed(
                [
                    post(&format!("Content-Length: 17\r\n\r\n{METRIC}")),
                    post("Content-Length: 1x\r\n\r\n"),
                    target("/health"),
                ]
                .concat(),
                [answer(202), answer(400)],
            ),
        ],
    ),
    upgrades_are_ignored(
        "RFC 9110, 7.8",
        "Upgrade may be ignored (MAY)",
        "answered by HTTP/1.1, as if it were not there",
        vec![
            open(
                get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                     HTTP2-Settings: AAMAAABk\r\n",),
                [answer(200).without("upgrade")],
            ),
            open(
                get("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",),
                [answer(200).without("sec-websocket-accept")],
            ),
            stays(
                202,
                post(&format!(
                    "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\nContent-Length: 17\r\n\r\n{METRIC}"
                )),
            ),
        ],
    ),
];
