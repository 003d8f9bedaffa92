//! The chunked transfer coding (RFC 9112, section 7.1), decoded in place.
//!
//! A chunk's data moves down over the sizes and line ends before it, so that a body never needs
//! more room than it arrived in. The decoder keeps a few bytes of state between calls and looks
//! at each byte once, however small the pieces are in which a body comes.

use super::request_error::RequestError;
use super::uri::is_tchar;
use crate::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// The decoder of one body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chunked {
    state: State,
    /// The value of the size so far while one is read, and the rest of it while data is read.
    size: u64,
    /// Bytes of the current size line, or of all trailers.
    line_bytes: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    #[default]
    SizeStart,
    Size,
    /// White space that only a semicolon may follow.
    SizeSpace,
    Extension(Extension),
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    /// At the start of a trailer line, or of the empty line that ends the body.
    TrailerStart,
    /// In a trailer's name, before its colon.
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    EndLineFeed,
    Done,
}

/// The state within an extension: `BWS ";" BWS name [ BWS "=" BWS value ]` (RFC 9112, section
/// 7.1.1). Extensions are ignored, but not their grammar: a quote that is left open ends with the
/// line for one parser and with the next quote for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    /// After the semicolon.
    Start,
    Name,
    /// White space that only an equals sign or a semicolon may follow.
    NameSpace,
    /// After the equals sign.
    ValueStart,
    Value,
    Quoted,
    /// After a backslash between quotes.
    Escaped,
    /// After the closing quote.
    Unquoted,
}

impl Extension {
    /// Returns the state after one more byte, as long as it belongs to an extension.
    fn step(self, byte: u8) -> Option<State> {
        let next = match (self, byte) {
            (Self::Name | Self::Value | Self::Unquoted, b'\r') => return Some(State::SizeLineFeed),
            (Self::Value | Self::Unquoted, b' ' | b'\t') => return Some(State::SizeSpace),
            (Self::Name | Self::NameSpace | Self::Value | Self::Unquoted, b';') => Self::Start,
            (Self::Start, b' ' | b'\t') => Self::Start,
            (Self::Start | Self::Name, _) if is_tchar(byte) => Self::Name,
            (Self::Name | Self::NameSpace, b' ' | b'\t') => Self::NameSpace,
            (Self::Name | Self::NameSpace, b'=') => Self::ValueStart,
            (Self::ValueStart, b' ' | b'\t') => Self::ValueStart,
            (Self::ValueStart, b'"') => Self::Quoted,
            (Self::ValueStart | Self::Value, _) if is_tchar(byte) => Self::Value,
            (Self::Quoted, b'"') => Self::Unquoted,
            (Self::Quoted, b'\\') => Self::Escaped,
            (Self::Quoted | Self::Escaped, b'\t' | b' '..=b'~' | 0x80..) => Self::Quoted,
            _ => return None,
        };
        Some(State::Extension(next))
    }
}

/// The progress of [`Chunked::decode`], as offsets into its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// End of the decoded bytes.
    pub decoded: usize,
    /// End of the bytes that were looked at.
    pub consumed: usize,
    /// True if the body is complete.
    pub done: bool,
}

impl Chunked {
    /// Decodes `buffer`, of which `..decoded` is the output of earlier calls and the rest is new.
    ///
    /// Afterwards `..progress.decoded` is the body so far; the bytes between that and
    /// `progress.consumed` are no longer needed. Unless the body is done, everything is consumed.
    ///
    /// # Errors
    ///
    /// A malformed chunk, and more than `body_bytes_max` of data or `TRAILER_BYTES_MAX` of
    /// trailers.
    pub fn decode(
        &mut self,
        buffer: &mut [u8],
        decoded: usize,
        body_bytes_max: usize,
    ) -> Result<Progress, RequestError> {
        let mut progress = Progress { decoded, consumed: decoded, done: false };
        while self.state != State::Done {
            if self.state == State::Data {
                self.move_data(buffer, &mut progress);
            }
            let Some(&byte) = buffer.get(progress.consumed) else {
                return Ok(progress);
            };
            progress.consumed += 1;
            self.step(byte)?;
            let body_bytes = u64::try_from(progress.decoded).unwrap_or(u64::MAX);
            let announced = if self.state == State::Data { self.size } else { 0 };
            if body_bytes.saturating_add(announced) > body_bytes_max as u64 {
                return Err(RequestError::BodyTooLarge);
            }
        }
        progress.done = true;
        Ok(progress)
    }

    fn move_data(&mut self, buffer: &mut [u8], progress: &mut Progress) {
        let available = buffer.len() - progress.consumed;
        let bytes = usize::try_from(self.size).unwrap_or(usize::MAX).min(available);
        let end = progress.consumed + bytes;
        buffer.copy_within(progress.consumed..end, progress.decoded);
        progress.consumed = end;
        progress.decoded += bytes;
        self.size -= bytes as u64;
        if self.size == 0 {
            self.state = State::DataReturn;
        }
    }

    /// Takes one byte that is not data.
    fn step(&mut self, byte: u8) -> Result<(), RequestError> {
        let ends_line = matches!(self.state, State::SizeLineFeed | State::DataLineFeed);
        self.state = match (self.state, byte) {
            (State::SizeStart | State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digit(byte)?;
                State::Size
            }
            (State::Size, b'\r') => State::SizeLineFeed,
            (State::Size | State::SizeSpace, b';') => State::Extension(Extension::Start),
            (State::Size | State::SizeSpace, b' ' | b'\t') => State::SizeSpace,
            (State::Extension(extension), _) => extension.step(byte).ok_or(RequestError::Chunk)?,
            (State::SizeLineFeed, b'\n') => self.after_size(),
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::SizeStart,
            (State::TrailerStart, b'\r') => State::EndLineFeed,
            (State::TrailerStart | State::TrailerName, _) if is_tchar(byte) => State::TrailerName,
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => State::TrailerValue,
            (State::TrailerValue, b'\r') => State::TrailerLineFeed,
            (State::TrailerLineFeed, b'\n') => State::TrailerStart,
            (State::EndLineFeed, b'\n') => State::Done,
            _ => return Err(RequestError::Chunk),
        };
        if ends_line {
            self.line_bytes = 0;
            return Ok(());
        }
        self.count_line_byte()
    }

    fn digit(&mut self, byte: u8) -> Result<(), RequestError> {
        let digit = char::from(byte).to_digit(16).ok_or(RequestError::Chunk)?;
        // An overflow would make a short chunk of a long one: a smuggled request.
        let size = self.size.checked_mul(16).ok_or(RequestError::Chunk)?;
        self.size = size | u64::from(digit);
        Ok(())
    }

    const fn after_size(&self) -> State {
        if self.size == 0 { State::TrailerStart } else { State::Data }
    }

    fn count_line_byte(&mut self) -> Result<(), RequestError> {
        self.line_bytes = self.line_bytes.saturating_add(1);
        let line_bytes = usize::from(self.line_bytes);
        match self.state {
            State::Size | State::SizeSpace | State::Extension(_)
                if line_bytes > CHUNK_LINE_BYTES_MAX =>
            {
                Err(RequestError::Chunk)
            }
            State::TrailerName | State::TrailerValue if line_bytes > TRAILER_BYTES_MAX => {
                Err(RequestError::TrailersTooLarge)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1000;

    fn decode(input: &[u8]) -> Result<Option<(Vec<u8>, usize)>, RequestError> {
        let mut buffer = input.to_vec();
        let progress = Chunked::default().decode(&mut buffer, 0, MAX)?;
        Ok(progress.done.then(|| (buffer[..progress.decoded].to_vec(), progress.consumed)))
    }

    type BodyAndRest = (Vec<u8>, Vec<u8>);

    /// Feeds `pieces` one after the other, keeping only what the decoder needs.
    fn decode_pieces(pieces: &[&[u8]]) -> Result<Option<BodyAndRest>, RequestError> {
        let mut decoder = Chunked::default();
        let mut buffer = Vec::new();
        let mut decoded = 0;
        for (index, piece) in pieces.iter().enumerate() {
            buffer.extend_from_slice(piece);
            let progress = decoder.decode(&mut buffer, decoded, MAX)?;
            decoded = progress.decoded;
            if progress.done {
                let mut rest = buffer.split_off(progress.consumed);
                rest.extend(pieces[index + 1..].concat());
                buffer.truncate(decoded);
                return Ok(Some((buffer, rest)));
            }
            buffer.truncate(decoded);
        }
        Ok(None)
    }

    const BODY: &[u8] = b"4\r\nWiki\r\n006;a=\"b\"\r\npedia \r\nB \t;x\r\nin chunks..\r\n0\r\n\
          T: v\r\nU:\r\n\r\nGET";
    const DECODED: &[u8] = b"Wikipedia in chunks..";

    #[test]
    fn the_body_ends_where_its_last_line_does() {
        assert_eq!(decode(BODY), Ok(Some((DECODED.to_vec(), BODY.len() - 3))));
        for end in 0..BODY.len() - 3 {
            assert_eq!(decode(&BODY[..end]), Ok(None), "at byte {end}");
        }
    }

    #[test]
    fn any_split_decodes_alike() {
        let whole = Ok(Some((DECODED.to_vec(), b"GET".to_vec())));
        for first in 0..=BODY.len() {
            for second in first..=BODY.len() {
                let pieces = [&BODY[..first], &BODY[first..second], &BODY[second..]];
                assert_eq!(decode_pieces(&pieces), whole, "{first} {second}");
            }
        }
        let bytes: Vec<&[u8]> = BODY.chunks(1).collect();
        assert_eq!(decode_pieces(&bytes), whole);
    }

    #[test]
    fn extensions_are_read_and_ignored() {
        for extension in [
            ";a",
            ";a=b",
            " ; a = b ; c",
            "\t;a;b=\"\"",
            ";a=\"b;c\\\"\\\\\u{e9}\" ;d",
            ";a;b",
            ";a \t;b",
        ] {
            let body = format!("1{extension}\r\nx\r\n0{extension}\r\n\r\n");
            assert_eq!(decode(body.as_bytes()), Ok(Some((b"x".to_vec(), body.len()))), "{body}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for wrong in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\na\r\n",
            b" 1\r\n",
            b"1\na\r\n",
            b"1 2\r\n",
            b"1;a\nb\r\n",
            b"1;\0\r\n",
            b"1 \r\n",
            b"1;\r\n",
            b"1;;a\r\n",
            b"1;=a\r\n",
            b"1;a=\r\n",
            b"1;a \r\n",
            b"1;a=b \r\n",
            b"1;a b\r\n",
            b"1;a=b=c\r\n",
            b"1;a=\"b\r\n\"\r\n",
            b"1;a=\"b\\\"\r\n",
            b"1;a=\"b\"c\r\n",
            b"1;\xff\r\n",
            b"1\r\nab",
            b"1\r\na\n",
            b"1\r\na\rb",
            b"1\r\r\n",
            b"0\r\n\n",
            b"0\r\n T: v\r\n",
            b"0\r\nT : v\r\n",
            b"0\r\nT\r\n",
            b"0\r\nT: v\n\r\n",
            b"0\r\n\rX",
            b"10000000000000000\r\n",
        ] {
            assert_eq!(
                decode(wrong),
                Err(RequestError::Chunk),
                "{:?}",
                String::from_utf8_lossy(wrong)
            );
        }
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let data = |bytes: usize| format!("{bytes:x}\r\n{}\r\n0\r\n\r\n", "a".repeat(bytes));
        assert!(decode(data(MAX).as_bytes()).unwrap().is_some());
        assert_eq!(decode(data(MAX + 1).as_bytes()), Err(RequestError::BodyTooLarge));
        // Refused by its size line, before any of it has arrived.
        assert_eq!(decode(b"fffffffffffffff\r\n"), Err(RequestError::BodyTooLarge));
        let two = format!("1\r\na\r\n{}", data(MAX));
        assert_eq!(decode(two.as_bytes()), Err(RequestError::BodyTooLarge));

        let line = |bytes: usize| format!("0;{}\r\n\r\n", "a".repeat(bytes - 2));
        assert!(decode(line(CHUNK_LINE_BYTES_MAX).as_bytes()).unwrap().is_some());
        assert_eq!(decode(line(CHUNK_LINE_BYTES_MAX + 1).as_bytes()), Err(RequestError::Chunk));

        let trailers = |bytes: usize| format!("0\r\n{}\r\n\r\n", "a:b".repeat(bytes / 3));
        assert!(decode(trailers(TRAILER_BYTES_MAX - 3).as_bytes()).unwrap().is_some());
        let long = trailers(TRAILER_BYTES_MAX + 3);
        assert_eq!(decode(long.as_bytes()), Err(RequestError::TrailersTooLarge));
    }
}
