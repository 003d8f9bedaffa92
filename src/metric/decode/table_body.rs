//! Bodies of CSV.

use super::Decoder;
use super::body_format::is_utf16;
use crate::metric::batch::Batch;
use crate::metric::json_error::{BYTE_ORDER_MARK, JsonError};
use crate::metric::rejection::BodyError;
use percore::clock::Now;

impl Decoder {
    /// Decodes a whole body of CSV with a header row, as [`Self::decode`] does one of JSON.
    ///
    /// Each row below the header is an item, but for blank ones; a bad row costs that row. (A quote
    /// without its pair costs all rows behind it.) A byte order mark at the start is skipped.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if nothing of the body may be applied: it has no row, is in UTF-16, has a
    /// header from which no event can come, or has more rows than a request may have items.
    pub fn decode_table<'d>(
        &'d mut self,
        body: &'d [u8],
        received: Now,
    ) -> Result<Batch<'d>, BodyError> {
        self.begin_body(body, received);
        if is_utf16(body) {
            return Err(BodyError::Malformed(JsonError::Utf16 { at: 0 }));
        }
        let has_mark = body.starts_with(BYTE_ORDER_MARK);
        let start = if has_mark { BYTE_ORDER_MARK.len() } else { 0 };
        let schema = self.objects.writer.schema;
        let has_header = self.rows.read_header(schema, body, start).map_err(BodyError::Header)?;
        if has_header {
            loop {
                let writer = &mut self.objects.writer;
                if let Some(event) = self.rows.read_usual(writer, body) {
                    self.push_event(event)?;
                } else if let Some(item) = self.rows.read(writer, body) {
                    self.push(item)?;
                } else {
                    break;
                }
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
