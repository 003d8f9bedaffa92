//! What a server says of itself: a page, and the counts on the one for Prometheus.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A page that takes longer does not come.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What became of accepted events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Confirmed by Redis, or replaced before they went there by a later value of their key.
    pub kept: u64,
    /// Not confirmed.
    pub dropped: u64,
    /// Without an outcome yet.
    pub pending: u64,
}

impl Stored {
    /// Asks the server.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn of(address: SocketAddr) -> Result<Self, String> {
        Ok(Self::in_counts(&exposition(address)?))
    }

    fn in_counts(exposition: &str) -> Self {
        let sum = |name| sum(exposition, name);
        Self {
            kept: sum("corepulse_store_stored_total") + sum("corepulse_store_coalesced_total"),
            dropped: sum("corepulse_store_dropped_total"),
            pending: sum("corepulse_store_pending"),
        }
    }

    /// What came since `before`. What is pending is a level, not a count: the later one.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            kept: self.kept.saturating_sub(before.kept),
            dropped: self.dropped.saturating_sub(before.dropped),
            pending: self.pending,
        }
    }
}

/// The body of the page at `path`.
///
/// # Errors
///
/// When it does not come, or not with 200.
pub fn page(address: SocketAddr, path: &str) -> Result<String, String> {
    let body = fetch(address, path, ANSWER_MAX)?;
    String::from_utf8(body).map_err(|e| format!("{path}: {e}"))
}

/// The same of a page that is not text, or takes longer to begin.
///
/// # Errors
///
/// When it does not come, or not with 200.
pub fn fetch(address: SocketAddr, path: &str, patience: Duration) -> Result<Vec<u8>, String> {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(patience))?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let mut answer = ask().map_err(|e| format!("{path}: {e}"))?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    match end {
        Some(end) if answer.starts_with(b"HTTP/1.1 200 ") => Ok(answer.split_off(end + 4)),
        _ => Err(format!("{path}: {}", String::from_utf8_lossy(&answer))),
    }
}

/// All counts, as Prometheus reads them.
///
/// # Errors
///
/// When they do not come.
pub fn exposition(address: SocketAddr) -> Result<String, String> {
    page(address, "/metrics/prometheus")
}

/// The sum of the metric of this name over its labels; 0 if there is none.
#[must_use]
pub fn sum(exposition: &str, name: &str) -> u64 {
    let values = exposition.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let is_whole = rest.starts_with('{') || rest.starts_with(' ');
        rest.rsplit_once(' ').filter(|_| is_whole)?.1.parse::<u64>().ok()
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_over_their_labels() {
        let text = "# TYPE corepulse_store_dropped_total counter\n\
            corepulse_store_dropped_total{reason=\"overflow\"} 3\n\
            corepulse_store_dropped_total{reason=\"expired\"} 4\n\
            corepulse_store_stored_total 50\n\
            corepulse_store_coalesced_total 6\n\
            corepulse_store_pending 2\n\
            corepulse_store_pending_bytes 4096\n\
            corepulse_store_stored_total_more 9\n";
        assert_eq!(sum(text, "corepulse_store_dropped_total"), 7);
        assert_eq!(sum(text, "corepulse_store_stored_total"), 50);
        assert_eq!(sum(text, "corepulse_store_evicted_total"), 0);
        assert_eq!(Stored::in_counts(text), Stored { kept: 56, dropped: 7, pending: 2 });
    }
}
