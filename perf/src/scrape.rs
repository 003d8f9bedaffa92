//! What a running server says of itself when it is asked.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer that takes longer does not come.
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
    /// It does not answer.
    pub fn of(address: SocketAddr) -> Result<Self, String> {
        let exposition = get(address, "/metrics/prometheus")
            .map_err(|e| format!("asking for its counts: {e}"))?;
        Ok(counts(&exposition))
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

/// What it answers to a GET of `path`, head and body.
///
/// # Errors
///
/// There is no connection, or no answer.
pub fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.write_all(
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().map_err(|e| e.to_string())
}

fn counts(exposition: &str) -> Stored {
    let sum = |name: &str| -> u64 {
        let values = exposition.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let is_whole = rest.starts_with('{') || rest.starts_with(' ');
            rest.rsplit_once(' ').filter(|_| is_whole)?.1.parse::<u64>().ok()
        });
        values.sum()
    };
    Stored {
        kept: sum("corepulse_store_stored_total") + sum("corepulse_store_coalesced_total"),
        dropped: sum("corepulse_store_dropped_total"),
        pending: sum("corepulse_store_pending"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_over_their_reasons() {
        let text = "# TYPE corepulse_store_dropped_total counter\n\
            corepulse_store_dropped_total{reason=\"overflow\"} 3\n\
            corepulse_store_dropped_total{reason=\"expired\"} 4\n\
            corepulse_store_stored_total 50\n\
            corepulse_store_coalesced_total 6\n\
            corepulse_store_pending 2\n\
            corepulse_store_pending_bytes 4096\n\
            corepulse_store_stored_total_more 9\n";
        assert_eq!(counts(text), Stored { kept: 56, dropped: 7, pending: 2 });
    }
}
