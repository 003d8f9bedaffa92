//! What a server says of itself: a page, and the counts on the one for Prometheus.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A page that takes longer does not come.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The body of the page at `path`.
///
/// # Errors
///
/// When it does not come, or not with 200.
pub fn page(address: SocketAddr, path: &str) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let answer = ask().map_err(|e| format!("{path}: {e}"))?;
    let whole = answer.split_once("\r\n\r\n").filter(|(head, _)| head.contains(" 200 "));
    whole.map(|(_, body)| body.to_owned()).ok_or_else(|| format!("{path}: {answer}"))
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
            corepulse_store_stored_total_more 9\n";
        assert_eq!(sum(text, "corepulse_store_dropped_total"), 7);
        assert_eq!(sum(text, "corepulse_store_stored_total"), 50);
        assert_eq!(sum(text, "corepulse_store_evicted_total"), 0);
    }
}
