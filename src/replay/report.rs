//! The report of a run: what became of the events, and how long the answers took.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::table::Source;
use crate::api::json;
use crate::telemetry::latency::Durations;

/// The rows that are named in a report; the counts beside them are complete.
const NAMED_ROWS_MAX: usize = 10;

/// The counts of one connection, or of several once merged.
#[derive(Debug, Default)]
pub struct Report {
    /// Requests whose answers account for their events.
    pub(super) requests: u64,
    /// Events of these requests.
    pub(super) sent: u64,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) anomalies: u64,
    /// Rows that were not sent, as their shape is wrong.
    pub(super) wrong_rows: u64,
    /// Events of requests that were sent again because no answer had come.
    pub(super) repeated: u64,
    /// Events of requests that were given up without an answer.
    pub(super) unanswered: u64,
    pub(super) latency: Durations,
    /// The first rows that were rejected or wrong: their file by its number, their line and the
    /// reason.
    pub(super) named: Vec<(usize, u64, String)>,
    /// The reason for which a run ended early.
    pub(super) fault: Option<String>,
    /// True if a signal ended the run.
    pub(super) is_interrupted: bool,
}

/// The answer to a request with events, as far as it is reported: 202, or 400 if all of them were
/// rejected.
#[derive(Debug, Deserialize)]
struct Counts {
    #[serde(default)]
    accepted: u64,
    #[serde(default)]
    rejected: u64,
    #[serde(default)]
    anomalies: u64,
    #[serde(default)]
    errors: Vec<RejectedRow>,
}

#[derive(Debug, Deserialize)]
struct RejectedRow {
    index: usize,
    detail: String,
}

impl Report {
    /// Adds an answer to the rows of a file which begin in these lines. Returns false if it does
    /// not account for each of them.
    pub(super) fn add_answer(&mut self, file: usize, lines: &[u64], body: &[u8]) -> bool {
        let is_whole = |counts: &Counts| {
            counts.accepted.checked_add(counts.rejected) == Some(lines.len() as u64)
        };
        let Some(answer) = json::read(body).filter(is_whole) else {
            return false;
        };
        self.requests += 1;
        self.sent += lines.len() as u64;
        self.accepted += answer.accepted;
        self.rejected += answer.rejected;
        self.anomalies += answer.anomalies;
        for RejectedRow { index, detail } in answer.errors {
            self.name(file, lines.get(index).copied().unwrap_or(0), detail);
        }
        true
    }

    /// Counts a row that is not sent.
    pub(super) fn add_wrong(&mut self, file: usize, line: u64, reason: String) {
        self.wrong_rows += 1;
        self.name(file, line, reason);
    }

    fn name(&mut self, file: usize, line: u64, reason: String) {
        if self.named.len() < NAMED_ROWS_MAX {
            self.named.push((file, line, reason));
        }
    }

    /// Adds the counts of another connection.
    pub(super) fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.anomalies += other.anomalies;
        self.wrong_rows += other.wrong_rows;
        self.repeated += other.repeated;
        self.unanswered += other.unanswered;
        self.latency.merge(&other.latency);
        self.named.extend(other.named);
        self.named.sort_unstable();
        self.named.truncate(NAMED_ROWS_MAX);
        self.fault = self.fault.take().or(other.fault);
        self.is_interrupted |= other.is_interrupted;
    }

    /// Returns true if every row was sent and every event was accepted.
    pub fn is_clean(&self) -> bool {
        let is_whole = self.fault.is_none() && !self.is_interrupted && self.wrong_rows == 0;
        is_whole && self.accepted == self.sent
    }

    /// Returns true if a signal ended the run.
    pub const fn is_interrupted(&self) -> bool {
        self.is_interrupted
    }

    /// Returns the reason for which a run ended early, if it did without a signal.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Returns the lines that are printed at the end of a run over these files; nothing if there
    /// is no more to say than the fault.
    pub(super) fn summary(&self, sources: &[Source], elapsed: Duration) -> String {
        let mut text = String::new();
        if self.fault.is_some() && self.requests + self.wrong_rows + self.unanswered == 0 {
            return text;
        }
        // Writing into memory cannot fail.
        let _ = self.write(&mut text, sources, elapsed);
        text
    }

    fn write(&self, out: &mut String, sources: &[Source], elapsed: Duration) -> fmt::Result {
        use fmt::Write as _;
        let Self { requests, sent, accepted, rejected, anomalies, .. } = self;
        let seconds = elapsed.as_secs_f64();
        writeln!(out, "sent       {sent} events in {requests} requests, {seconds:.2} s")?;
        writeln!(out, "accepted   {accepted}")?;
        writeln!(out, "rejected   {rejected}")?;
        writeln!(out, "anomalies  {anomalies}")?;
        let rate = *sent as f64 / seconds.max(1e-9);
        writeln!(out, "rate       {rate:.0} events/s")?;
        let of = self.latency.summary();
        if of.count > 0 {
            let [p50, p99, max] = [of.p50_ns, of.p99_ns, of.max_ns].map(Duration::from_nanos);
            writeln!(out, "latency    p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}")?;
        }
        if self.wrong_rows > 0 {
            let rows = self.wrong_rows;
            writeln!(out, "not sent   {rows}, with too many or too few cells")?;
        }
        if self.repeated > 0 {
            let events = self.repeated;
            writeln!(out, "sent again {events}, as no answer came: they may be there twice")?;
        }
        if self.unanswered > 0 {
            writeln!(out, "no answer  {}: they may be there, or not", self.unanswered)?;
        }
        for (file, line, reason) in &self.named {
            let file = sources.get(*file).map_or("", |source| &source.path);
            writeln!(out, "{file}:{line}: {}", plain(reason))?;
        }
        let rest = (self.rejected + self.wrong_rows).saturating_sub(self.named.len() as u64);
        if rest > 0 && !self.named.is_empty() {
            writeln!(out, "and {rest} rows more")?;
        }
        if self.is_interrupted {
            writeln!(out, "interrupted: the rest was not sent")?;
        }
        Ok(())
    }
}

/// Returns a text without what is a command to a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(paths: &[&str]) -> Vec<Source> {
        let source = |path: &&str| Source { path: (*path).to_owned(), names: String::new() };
        paths.iter().map(source).collect()
    }

    fn answered(lines: &[u64], body: &str) -> Report {
        let mut report = Report::default();
        assert!(report.add_answer(1, lines, body.as_bytes()), "{body}");
        report.latency.record(250_000, 1);
        report
    }

    #[test]
    fn only_a_run_in_which_everything_was_accepted_is_clean() {
        assert!(answered(&[2, 3], r#"{"accepted":2,"anomalies":1}"#).is_clean());
        let rejected = r#"{"accepted":1,"anomalies":0,"rejected":1,"errors":[]}"#;
        assert!(!answered(&[2, 3], rejected).is_clean());
        let with = |change: fn(&mut Report)| {
            let mut report = answered(&[2], r#"{"accepted":1,"anomalies":0}"#);
            change(&mut report);
            report.is_clean()
        };
        assert!(!with(|report| report.fault = Some("gone".to_owned())));
        assert!(!with(|report| report.is_interrupted = true));
        assert!(!with(|report| report.add_wrong(0, 1, String::new())));
        assert!(with(|report| report.repeated = 1));
    }

    #[test]
    fn what_is_no_answer_of_ours_is_not_counted() {
        let few = r#"{"accepted":2}"#;
        let many = r#"{"accepted":18446744073709551615,"rejected":2}"#;
        for body in ["", "<html>", "{}", "[2]", r#"{"accepted":-1}"#, few, many] {
            let mut report = Report::default();
            assert!(!report.add_answer(0, &[2], body.as_bytes()), "{body}");
            assert_eq!(report.requests, 0);
        }
    }

    #[test]
    fn connections_are_summed_and_rows_are_named_by_file_and_line() {
        let rejected = r#"{"accepted":1,"anomalies":0,"rejected":2,"errors":[
            {"index":0,"detail":"cpu: missing"},{"index":2,"detail":"\u001b[2Jrps: hot"}]}"#;
        let mut all = answered(&[7, 8, 11], rejected);
        all.merge(answered(&[2, 3], r#"{"accepted":2,"anomalies":1}"#));
        all.add_wrong(0, 5, "3 cells".to_owned());
        all.merge(Report { rejected: 8, is_interrupted: true, ..Report::default() });
        let files = sources(&["a.csv", "b.csv"]);
        let expected = "\
sent       5 events in 2 requests, 5.00 s
accepted   3
rejected   10
anomalies  1
rate       1 events/s
latency    p50 250.9µs, p99 250.9µs, max 250.9µs
not sent   1, with too many or too few cells
a.csv:5: 3 cells
b.csv:7: cpu: missing
b.csv:11: [2Jrps: hot
and 8 rows more
interrupted: the rest was not sent
";
        assert_eq!(all.summary(&files, Duration::from_secs(5)), expected);
    }

    #[test]
    fn no_more_than_ten_rows_are_named() {
        let mut report = Report::default();
        for line in 2..14 {
            report.add_wrong(0, line, "wrong".to_owned());
        }
        let text = report.summary(&sources(&["a"]), Duration::from_secs(1));
        assert!(text.contains("\na:11: wrong\nand 2 rows more\n"), "{text}");
    }
}
