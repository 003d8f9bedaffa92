//! Received bytes whose replies are not taken yet.
//!
//! Nearly every reply to the writer is `+OK`, so runs of them are counted here, eight at a time.
//! All else is for a parser, which gets it line by line: each reply ends with a line, so that the
//! parser keeps no byte of the next one, and that may be counted here again.

use std::io::{self, Read};

use memchr::memchr;

const OK: [u8; 5] = *b"+OK\r\n";
const EIGHT_OK: [u8; 40] = *b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n";

/// Bytes received at once, at most: 1,638 replies of `+OK`, more than are awaited at a time.
const BUFFER_BYTES: usize = 8 * 1024;

/// Bytes kept of the beginning of a reply: the longest line with a length fits.
const HEAD_BYTES: usize = 32;

/// See the head of this file.
pub(super) struct ReplyBuffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// The beginning of the reply that the parser has got.
    head: Vec<u8>,
}

/// A reader for a parser: the rest of a buffer, and then what comes over a stream.
pub(super) struct Lines<'a, S> {
    buffer: &'a mut ReplyBuffer,
    stream: &'a mut S,
}

impl ReplyBuffer {
    pub(super) fn new() -> Self {
        let bytes = vec![0; BUFFER_BYTES].into_boxed_slice();
        Self { bytes, start: 0, end: 0, head: Vec::with_capacity(HEAD_BYTES) }
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Takes as many replies of `+OK` as there are one after the other, but at most `most`. Returns
    /// their number.
    pub(super) fn take_oks(&mut self, most: usize) -> usize {
        let rest = self.rest();
        let rest = rest.get(..most.saturating_mul(OK.len())).unwrap_or(rest);
        let (eights, _) = rest.as_chunks();
        let count = 8 * eights.iter().take_while(|eight| **eight == EIGHT_OK).count();
        let (ones, _) = rest.get(count * OK.len()..).unwrap_or_default().as_chunks();
        let count = count + ones.iter().take_while(|one| **one == OK).count();
        self.start += count * OK.len();
        count
    }

    /// Returns true if what is left may become `+OK` when more of it has come.
    pub(super) fn may_become_ok(&self) -> bool {
        OK.starts_with(self.rest())
    }

    /// Receives more bytes, behind those that are left.
    pub(super) fn fill(&mut self, stream: &mut impl Read) -> io::Result<()> {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        self.end += stream.read(self.bytes.get_mut(self.end..).unwrap_or_default())?;
        Ok(())
    }

    /// Returns a reader of the next reply, and of those before it that the parser's caller skips.
    pub(super) fn lines<'a, S: Read>(&'a mut self, stream: &'a mut S) -> Lines<'a, S> {
        self.head.clear();
        Lines { buffer: self, stream }
    }

    /// Returns the beginning of the last reply for which there was a reader.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }
}

impl<S: Read> Read for Lines<'_, S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Self { buffer, stream } = self;
        if buffer.rest().is_empty() {
            buffer.fill(stream)?;
        }
        let rest = buffer.bytes.get(buffer.start..buffer.end).unwrap_or_default();
        let line = memchr(b'\n', rest).map_or(rest.len(), |end| end + 1).min(out.len());
        let (Some(line), Some(place)) = (rest.get(..line), out.get_mut(..line)) else {
            return Ok(0);
        };
        place.copy_from_slice(line);
        buffer.start += line.len();
        let room = HEAD_BYTES.saturating_sub(buffer.head.len());
        buffer.head.extend(line.iter().take(room));
        Ok(line.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::{Parser, Value};

    /// Replies as they are received, in pieces.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let (piece, rest) = self.0.split_at(self.1.min(self.0.len()).min(out.len()));
            out[..piece.len()].copy_from_slice(piece);
            self.0 = rest;
            Ok(piece.len())
        }
    }

    /// Counts what is `+OK`, and parses what is not, as a connection does.
    fn take_all(mut stream: Pieces<'_>, most: usize) -> Vec<String> {
        let (mut buffer, mut parser, mut found) = (ReplyBuffer::new(), Parser::new(), Vec::new());
        while !(stream.0.is_empty() && buffer.rest().is_empty()) {
            let oks = buffer.take_oks(most);
            assert!(oks <= most);
            found.extend((0..oks).map(|_| format!("{:?}", Value::Okay)));
            if oks == 0 && buffer.may_become_ok() {
                buffer.fill(&mut stream).unwrap();
            } else if oks == 0 {
                let value = parser.parse_value(buffer.lines(&mut stream)).unwrap();
                found.push(format!("{value:?}"));
            }
        }
        found
    }

    #[test]
    fn replies_are_the_same_as_the_parser_finds_them_however_they_are_cut() {
        let others = ["-OOM no\r\n", "$9\r\n+OK\r\n\n+OK\r\n", "*2\r\n+OK\r\n:1\r\n", "+OKAY\r\n"];
        let others = others.into_iter().chain([
            ">2\r\n+invalidate\r\n+OK\r\n",
            "-OK\r\n",
            "+O\r\n",
            "+PONG\r\n",
        ]);
        for (number, other) in others.enumerate() {
            for oks in [0, 1, 7, 8, 9, 17, 40] {
                let some = "+OK\r\n".repeat(oks);
                let text = format!("{some}{other}{some}{other}{other}{some}");
                let mut parser = Parser::new();
                let mut input = text.as_bytes();
                let mut expected = Vec::new();
                while expected.len() < 3 * oks + 3 {
                    let value = parser.parse_value(&mut input).unwrap();
                    assert!(oks > 0 || value != Value::Okay);
                    expected.push(format!("{value:?}"));
                }
                for piece in [1, 2, 3, 5, 8, 39, 40, 41, 1000] {
                    for most in [1, 5, 8, 1000] {
                        let found = take_all(Pieces(text.as_bytes(), piece), most);
                        assert_eq!(found, expected, "{number}, {oks}, {piece}, {most}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_full_buffer_of_replies_is_counted_and_a_cut_one_waits_for_its_rest() {
        let text = "+OK\r\n".repeat(2 * BUFFER_BYTES / OK.len());
        let mut stream = Pieces(text.as_bytes(), usize::MAX);
        let mut buffer = ReplyBuffer::new();
        buffer.fill(&mut stream).unwrap();
        assert_eq!(buffer.take_oks(usize::MAX), BUFFER_BYTES / OK.len());
        assert!(buffer.may_become_ok());
        buffer.fill(&mut stream).unwrap();
        assert_eq!(buffer.take_oks(3), 3);
        assert!(!buffer.may_become_ok());
    }

    #[test]
    fn the_beginning_of_a_reply_is_kept() {
        let text = format!("+OK\r\n$70000\r\n{}", "x".repeat(100));
        let mut stream = Pieces(text.as_bytes(), usize::MAX);
        let mut buffer = ReplyBuffer::new();
        buffer.fill(&mut stream).unwrap();
        assert_eq!(buffer.take_oks(1), 1);
        Parser::new().parse_value(buffer.lines(&mut stream)).unwrap_err();
        assert_eq!(buffer.head(), format!("$70000\r\n{}", "x".repeat(24)).as_bytes());
    }
}
