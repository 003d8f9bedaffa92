//! Text that a stranger wrote, on its way into a log.
//!
//! A line of the log is read in terminals and by programs: no byte of a peer may move the cursor,
//! begin a line of its own, turn the direction of what follows around, or fill a disk.

use std::fmt::{self, Write};

use crate::limits::FOREIGN_BYTES_MAX;

/// Foreign bytes, shown as text of at most [`FOREIGN_BYTES_MAX`] bytes, with `…` where some were
/// left out. What is no printable character is escaped as Rust writes it, a byte that is not UTF-8
/// as `\xff`; a backslash is doubled, so that what is shown has one meaning.
#[derive(Clone, Copy)]
pub struct Foreign<'a>(pub &'a [u8]);

impl fmt::Display for Foreign<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = FOREIGN_BYTES_MAX;
        let mut show = |piece: fmt::Arguments<'_>, bytes: usize| -> Result<bool, fmt::Error> {
            let fits = bytes <= left;
            left = left.saturating_sub(bytes);
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
                    show(format_args!("{char}"), char.len_utf8())?
                } else {
                    let escaped = char.escape_default();
                    show(format_args!("{escaped}"), escaped.len())?
                };
                if !fits {
                    return Ok(());
                }
            }
            for byte in chunk.invalid() {
                if !show(format_args!("\\x{byte:02x}"), "\\xff".len())? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Foreign<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{self}\"")
    }
}

/// Whether a character stands for itself: letters of any script, quotes and blanks do. `Debug` of
/// a text escapes what is not printable, quotes, and marks that join the character before them.
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
            assert_eq!(Foreign(sent).to_string(), shown);
        }
    }

    #[test]
    fn long_text_is_cut_where_it_says_so() {
        let whole = "x".repeat(FOREIGN_BYTES_MAX);
        assert_eq!(Foreign(whole.as_bytes()).to_string(), whole);
        let longer = "x".repeat(FOREIGN_BYTES_MAX + 1);
        assert_eq!(Foreign(longer.as_bytes()).to_string(), format!("{whole}…"));
        let escapes = "\n".repeat(FOREIGN_BYTES_MAX);
        assert_eq!(
            Foreign(escapes.as_bytes()).to_string(),
            format!("{}…", "\\n".repeat(FOREIGN_BYTES_MAX / 2))
        );
    }

    proptest! {
        #[test]
        fn whatever_was_sent_is_one_short_printable_line(
            sent in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let shown = Foreign(&sent).to_string();
            prop_assert!(shown.len() <= FOREIGN_BYTES_MAX + '…'.len_utf8());
            prop_assert!(!shown.chars().any(char::is_control), "{:?}", shown);
        }
    }
}
