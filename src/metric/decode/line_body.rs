//! Bodies of line protocol.

use super::Decoder;
use super::body_format::is_utf16;
use crate::metric::batch::Batch;
use crate::metric::json_error::JsonError;
use crate::metric::line_protocol::precision::Precision;
use crate::metric::line_protocol::{lines_start, next_line};
use crate::metric::rejection::BodyError;
use percore::clock::Now;

impl Decoder {
    /// Decodes a whole body of line protocol, as [`Self::decode`] does one of JSON.
    ///
    /// Each line is an item, but for blank ones and comments; a bad line costs that line. (A quote
    /// without its pair costs all lines behind it.) A byte order mark at the start is skipped.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if nothing of the body may be applied: it has no line, is in UTF-16, or has
    /// more lines than a request may have items.
    // Within its caller the loop over lines runs out of registers: 20 instructions a line.
    #[inline(never)]
    pub fn decode_lines<'d>(
        &'d mut self,
        body: &'d [u8],
        precision: Precision,
        received: Now,
    ) -> Result<Batch<'d>, BodyError> {
        self.begin_body(body, received);
        if is_utf16(body) {
            return Err(BodyError::Malformed(JsonError::Utf16 { at: 0 }));
        }
        let mut at = lines_start(body);
        while let Some(start) = next_line(body, at) {
            let writer = &mut self.objects.writer;
            if let Some((spans, end)) = self.lines.read_usual(writer, body, start, precision) {
                self.push_event(spans)?;
                at = end;
            } else {
                let (item, end) = self.lines.read_any(writer, body, start, precision);
                self.push(item)?;
                at = end;
            }
        }
        if self.items.len() == 0 {
            return Err(BodyError::Empty);
        }
        Ok(self.batch(body))
    }
}

#[cfg(test)]
mod tests;
