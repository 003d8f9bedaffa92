//! Escaping of text from peers for the log.
//!
//! Log lines are read in terminals and by programs: no byte of a peer may move the cursor, start a
//! new line, reverse the direction of the text that follows, or fill a disk.

use std::fmt::{self, Write};

use crate::limits::ESCAPED_BYTES_MAX;

/// Bytes from a peer, displayed as at most [`ESCAPED_BYTES_MAX`] bytes of text, with `…` where more
/// was cut off. Characters that cannot be printed are escaped as in Rust, bytes that are not UTF-8
/// as `\xff`; a backslash is doubled, so that the text is unambiguous.
#[derive(Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes_left = ESCAPED_BYTES_MAX;
        let mut write = |piece: fmt::Arguments<'_>, bytes: usize| -> Result<bool, fmt::Error> {
            let fits = bytes <= bytes_left;
            bytes_left = bytes_left.saturating_sub(bytes);
            if fits {
                out.write_fmt(piece)?;
            } else {
                out.write_char('…')?;
            }
            Ok(fits)
        };
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                let fits = if is_plain(char) {
                    write(format_args!("{char}"), char.len_utf8())?
                } else {
                    let escaped = char.escape_default();
                    write(format_args!("{escaped}"), escaped.len())?
                };
                if !fits {
                    return Ok(());
                }
            }
            for byte in chunk.invalid() {
                if !write(format_args!("\\x{byte:02x}"), "\\xff".len())? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{self}\"")
    }
}

/// Returns true if a character needs no escape, as letters of any script, quotes and spaces. The
/// rest is what `Debug` of a text escapes, except quotes: unprintable and combining characters.
fn is_plain(char: char) -> bool {
    matches!(char, '"' | '\'') || (char != '\\' && char.escape_debug().len() == 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn readable_text_stays_and_the_rest_is_escaped() {
        for (sent, shown) in [
            ("sensor-7".as_bytes(), "sensor-7"),
            ("Füllstand 3 \"oben\"".as_bytes(), "Füllstand 3 \"oben\""),
            ("温度".as_bytes(), "温度"),
            (b"", ""),
            (b"a\nlevel=ERROR\r\t\0", "a\\nlevel=ERROR\\r\\t\\u{0}"),
            (b"\x1b[2Jgone", "\\u{1b}[2Jgone"),
            (b"c:\\new", "c:\\\\new"),
            (b"half \xc3\x28 \xff", "half \\xc3( \\xff"),
            // Next line, line separator, and what turns the direction around.
            ("\u{85}\u{2028}\u{202e}".as_bytes(), "\\u{85}\\u{2028}\\u{202e}"),
        ] {
            assert_eq!(Escaped(sent).to_string(), shown);
        }
    }

    #[test]
    fn long_text_is_cut_where_it_says_so() {
        let whole = "x".repeat(ESCAPED_BYTES_MAX);
        assert_eq!(Escaped(whole.as_bytes()).to_string(), whole);
        let longer = "x".repeat(ESCAPED_BYTES_MAX + 1);
        assert_eq!(Escaped(longer.as_bytes()).to_string(), format!("{whole}…"));
        let escapes = "\n".repeat(ESCAPED_BYTES_MAX);
        assert_eq!(
            Escaped(escapes.as_bytes()).to_string(),
            format!("{}…", "\\n".repeat(ESCAPED_BYTES_MAX / 2))
        );
    }

    proptest! {
        #[test]
        fn whatever_was_sent_is_one_short_printable_line(
            sent in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let shown = Escaped(&sent).to_string();
            prop_assert!(shown.len() <= ESCAPED_BYTES_MAX + '…'.len_utf8());
            prop_assert!(!shown.chars().any(char::is_control), "{:?}", shown);
        }
    }
}
