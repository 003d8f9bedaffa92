//! The `Date` field, formatted once a second (RFC 9110, section 6.6.1).

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;

use crate::clock::Now;

/// `Date: Mon, 23 Nov 2026 08:02:37 GMT` with its line end, for the second of the last call.
#[derive(Clone, Debug)]
pub struct DateLine {
    second: i64,
    line: String,
}

impl DateLine {
    /// Returns the whole line for the time `now`.
    pub fn at(&mut self, now: Now) -> &[u8] {
        let second = now.wall_us.div_euclid(1_000_000).max(0);
        if second != self.second {
            let moment = UNIX_EPOCH + Duration::from_secs(second.unsigned_abs());
            self.line.clear();
            // In the memory of the line before; writing to a string cannot fail.
            let _ = write!(self.line, "Date: {}\r\n", HttpDate::from(moment));
            self.second = second;
        }
        self.line.as_bytes()
    }
}

impl Default for DateLine {
    /// Returns a line that is formatted at its first use.
    fn default() -> Self {
        Self { second: -1, line: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_changes_with_the_second() {
        let mut line = DateLine::default();
        let mut at = |wall_ms: i64| line.at(Now { mono_ns: 0, wall_us: wall_ms * 1000 }).to_vec();
        assert_eq!(at(784_111_777_000), b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        assert_eq!(at(784_111_777_999), b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        assert_eq!(at(784_111_778_000), b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n");
        assert_eq!(at(-5), b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
    }
}
