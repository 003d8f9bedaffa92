//! Header fields: their names, their values, and how many.

use super::row::{answer, closes, each, get, open, stays};

const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A GET whose head has so many bytes.
fn of_bytes(bytes: usize) -> String {
    let fixed = get("X: \r\n").len();
    get(&format!("X: {}\r\n", "a".repeat(bytes - fixed)))
}

/// A GET with so many fields, Host included.
fn of_fields(count: usize) -> String {
    get(&(1..count).map(|number| format!("X-{number}: a\r\n")).collect::<String>())
}

/// A GET with this byte inside a value.
fn with_byte(byte: u8) -> Vec<u8> {
    [b"GET /health HTTP/1.1\r\nHost: a\r\nX: b", &[byte][..], b"c\r\n\r\n"].concat()
}

rows![
    names_in_any_case(
        "RFC 9110, 5.1",
        "names are case-insensitive",
        "so",
        vec![
            stays(200, "GET /health HTTP/1.1\r\nhOsT: a\r\n\r\n"),
            open("GET /health HTTP/1.1\r\nHOST: a\r\nCONTENT-LENGTH: 2\r\n\r\n{}", [answer(200)]),
        ],
    ),
    names_are_tokens(
        "RFC 9112, 5",
        "a field is a name, a colon and a value; names are tokens",
        "400 for an empty name, for one that is no token, and for a line without a colon",
        {
            let mut cases = each(
                [
                    ": b",
                    "X",
                    "X(: b",
                    "X b: c",
                    "X/Y: b",
                    "\"X\": b",
                    "X\0: b",
                    "X\x01Y: b",
                    "X;: b",
                    "\u{e9}: b",
                    "[X]: b",
                    "X=Y: b",
                    "{X}: b",
                    "@X: b",
                    "\x7f: b",
                ],
                |wrong| closes(400, get(&format!("{wrong}\r\n"))),
            );
            cases.push(stays(200, get("!#$%&'*+-.^_`|~09azAZ: b\r\n")));
            cases
        },
    ),
    white_space_before_the_colon(
        "RFC 9112, 5.1",
        "400 for white space between a name and its colon (MUST)",
        "400",
        each(["X : b", "X\t: b", "X  : b", "Host : a", "X \t: b"], |wrong| {
            closes(400, get(&format!("{wrong}\r\n")))
        }),
    ),
    white_space_around_values(
        "RFC 9112, 5.1",
        "white space around a value is not part of it",
        "spaces and tabs, any number of them",
        vec![
            stays(200, get("X:b\r\n")),
            stays(200, get("X: \t b c \t \r\n")),
            open(get("Connection: \t keep-alive\t \r\n"), [answer(200)]),
        ],
    ),
    empty_values(
        "RFC 9110, 5.5",
        "a value may be empty",
        "taken",
        vec![stays(200, get("X:\r\n")), stays(200, get("X: \r\nY:\t\r\n"))],
    ),
    folded_lines(
        "RFC 9112, 5.2",
        "400 for a folded line, or its fold becomes spaces (MUST)",
        "400",
        each(
            ["X: b\r\n c", "X: b\r\n\tc", "X:\r\n b", "X: b\r\n ", "X: b\r\n \r\nY: c"],
            |wrong| { closes(400, get(&format!("{wrong}\r\n"))) }
        ),
    ),
    white_space_before_the_first_field(
        "RFC 9112, 2.2",
        "lines of white space before the first field make a request invalid, or are dropped (MUST)",
        "400",
        vec![
            closes(400, "GET /health HTTP/1.1\r\n X: b\r\nHost: a\r\n\r\n"),
            closes(400, "GET /health HTTP/1.1\r\n\tHost: a\r\n\r\n"),
            closes(400, "GET /health HTTP/1.1\r\n \r\nHost: a\r\n\r\n"),
        ],
    ),
    control_bytes(
        "RFC 9110, 5.5",
        "CR, LF and NUL in a value are refused or become spaces (MUST); other controls may be",
        "400 for each of them, DEL included; a tab is white space",
        {
            let controls = (0..b' ').filter(|byte| *byte != b'\t').chain([0x7f]);
            let mut cases = each(controls, |byte| closes(400, with_byte(byte)));
            cases.push(stays(200, with_byte(b'\t')));
            cases
        },
    ),
    line_ends(
        "RFC 9112, 2.2",
        "a CR without LF is invalid (MUST); LF alone may be taken for a line end (MAY)",
        "400 for either",
        vec![
            closes(400, "GET /health HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"),
            closes(400, "GET /health HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
            closes(400, "GET /health HTTP/1.1\r\nHost: a\r\n\n"),
            closes(400, "GET /health HTTP/1.1\r\nHost: a\n\r\n"),
            closes(400, "GET /health HTTP/1.1\r\nHost: a\r\n\r\r\n"),
            closes(400, "GET /health HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n"),
            closes(400, "GET /health HTTP/1.1\r\nHost: a\r\r\n\r\n"),
            closes(400, "GET /health HTTP/1.1\r\nHost: a\n\n"),
        ],
    ),
    bytes_outside_ascii(
        "RFC 9110, 5.5",
        "obs-text is opaque (SHOULD)",
        "taken in values that nothing here reads",
        each([0x80, 0xa0, 0xc3, 0xff], |byte| stays(200, with_byte(byte))),
    ),
    quoted_strings(
        "RFC 9110, 5.6.4",
        "quotes enclose what would otherwise divide",
        "no field that is read here has quoted strings; others are opaque",
        vec![stays(200, get("X: \"a, b\"; c=\"\\\"\"\r\n")), stays(200, get("X: \"unclosed\r\n"))],
    ),
    unknown_fields(
        "RFC 9110, 5.1",
        "fields that are not known are ignored (SHOULD)",
        "so, as often as they come",
        vec![
            stays(200, get("X: a\r\nX: b\r\nX: a\r\n")),
            stays(200, get("Forwarded: for=192.0.2.1\r\nVia: 1.0 proxy\r\nCookie: a=b\r\n")),
            stays(200, get("Max-Forwards: 0\r\nFrom: x\r\nUser-Agent: \r\nTE: trailers\r\n")),
        ],
    ),
    number_of_fields(
        "RFC 9110, 5.4",
        "4xx for more fields than are wanted (MUST)",
        "100 are taken; 431 for more",
        vec![stays(200, of_fields(100)), closes(431, of_fields(101))],
    ),
    size_of_a_head(
        "RFC 9110, 5.4",
        "4xx for a larger field or head than is wanted (MUST)",
        "16 KiB are taken; 431 as soon as there is more",
        vec![
            stays(200, of_bytes(HEAD_BYTES_MAX)),
            closes(431, of_bytes(HEAD_BYTES_MAX + 1)),
            closes(431, &of_bytes(HEAD_BYTES_MAX + 1)[..HEAD_BYTES_MAX]),
            closes(431, format!("GET /health HTTP/1.1\r\nHost: a\r\n{}", "X".repeat(16 * 1024))),
        ],
    ),
];
