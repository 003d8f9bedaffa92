//! Bodies with the fields that frame them, mostly in agreement.

use proptest::prelude::*;

use crate::heads::{line_end, usually};

/// The fields and the bytes of a body.
pub fn body() -> impl Strategy<Value = (String, String)> {
    prop_oneof![
        20 => length_body(),
        20 => chunked_body(),
        1 => (length_body(), chunked_body()).prop_map(|(one, two)| (one.0 + &two.0, two.1)),
        1 => (length_body(), chunked_body()).prop_map(|(one, two)| (two.0 + &one.0, one.1)),
    ]
}

fn length_body() -> impl Strategy<Value = (String, String)> {
    (data(), 0..160_u32).prop_map(|(data, how)| {
        let bytes = data.len();
        let value = match how {
            0 => format!("+{bytes}"),
            1 => format!("-{bytes}"),
            2 => format!("{bytes}, {bytes}"),
            3 => format!("{bytes}\r\nContent-Length: {bytes}"),
            4 => format!("{bytes}\r\ncontent-length: {}", bytes + 1),
            5 => format!("0x{bytes:x}"),
            6 => format!("{bytes}.0"),
            7 => format!("{bytes} {bytes}"),
            8 => format!("\"{bytes}\""),
            9 => format!("{bytes};"),
            10 => (bytes + 1).to_string(),
            11 => bytes.saturating_sub(1).to_string(),
            12 => "18446744073709551615".to_owned(),
            13 => "18446744073709551616".to_owned(),
            14 => format!("1844674407370955161{}", 6 + bytes),
            15 => format!("{bytes}\u{e9}"),
            16 => format!("{bytes},"),
            17 => format!("{bytes}\t"),
            18..24 => format!("00{bytes}"),
            _ => bytes.to_string(),
        };
        (format!("Content-Length: {value}\r\n"), data)
    })
}

fn chunked_body() -> impl Strategy<Value = (String, String)> {
    let coding = usually(
        30,
        &["chunked", "chunked", "CHUNKED", " chunked\t"],
        &[
            "gzip, chunked",
            "chunked, chunked",
            "chunked, gzip",
            "chunked,",
            ",chunked",
            "chunke",
            "chunked;q=1",
            "\"chunked\"",
            "chunked\r\nTransfer-Encoding: chunked",
            "\u{b}chunked",
            "identity, chunked",
            "chunked\r\nTransfer-Encoding: gzip",
            "chunked\0",
            "chun ked",
        ],
    );
    let extension = usually(
        20,
        &["", "", "", ";a", ";a=b", " ; a=\"b;c\"", "\t;a"],
        &[" ", "\t", ";", ";;", ";\u{e9}", ";a\rb", ";a\nb", ";\0", "a", " 1", ":", ",1", "=a"],
    );
    let size =
        (usually(30, &["", "", "0", "00"], &["+", "-", "0x", " ", "\t", "x", "_"]), 0..60_u32);
    let chunk = (data(), size, extension, line_end(), line_end()).prop_map(
        |(data, (before, how), extension, end, data_end)| {
            let bytes = match how {
                0 => data.len() + 1,
                1 => data.len().saturating_sub(1),
                // The last chunk is another one.
                _ if data.is_empty() => return String::new(),
                _ => data.len(),
            };
            let size = match how {
                2 => format!("1000000000000000{bytes:x}"),
                3..10 => format!("{bytes:X}"),
                _ => format!("{bytes:x}"),
            };
            format!("{before}{size}{extension}{end}{data}{data_end}")
        },
    );
    let last =
        usually(20, &["0\r\n", "0\r\n", "000;a\r\n"], &["0\n", "0\r", "", "0 \r\n", "-0\r\n"]);
    let chunks = prop::collection::vec(chunk, 0..4).prop_map(|chunks| chunks.concat());
    (coding, chunks, last, trailers(), line_end()).prop_map(
        |(coding, chunks, last, trailers, end)| {
            (format!("Transfer-Encoding: {coding}\r\n"), format!("{chunks}{last}{trailers}{end}"))
        },
    )
}

fn data() -> impl Strategy<Value = String> {
    usually(
        2,
        &["", "a", "hello", "{\"cpu\":1,\"rps\":2}"],
        &["\r\n", "0\r\n\r\n", "\0", "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", "\u{e9}\r"],
    )
}

fn trailers() -> impl Strategy<Value = String> {
    usually(
        12,
        &["", "", "X: y\r\n", "X:\r\nY: \u{e9}\r\n"],
        &[
            "X\r\n",
            "X : y\r\n",
            " X: y\r\n",
            ": y\r\n",
            "X: y\n",
            "X: \0\r\n",
            "X: a\r\n b\r\n",
            "Content-Length: 5\r\n",
            "Host: b\r\n",
            "X: \u{7f}\r\n",
            "\u{e9}: y\r\n",
            "X(: y\r\n",
            "Transfer-Encoding: chunked\r\n",
            "X: a\rb\r\n",
            "X:\r\r\n",
        ],
    )
}
