//! One connection: posts the bodies that come to it in their order, each after the answer to the
//! one before.
//!
//! What may pass is waited for: a server that is away, or that asks for patience. Anything else
//! would be the same the next time, and ends the run.

use std::cell::Cell;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::report::{Report, plain};
use super::table::Source;
use crate::api::json;
use crate::http_client::{Answer, ClientError, HttpClient};

/// The time for which a server may be away, or ask for patience, before the run ends.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The first pause before a body is sent again; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause that the server did not ask for.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The longest time in which a signal goes unnoticed.
pub(super) const GLANCE: Duration = Duration::from_millis(50);

/// The body of one request: rows of one file behind its header row.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// The number of the file.
    pub(super) file: usize,
    /// The lines that its rows begin in.
    pub(super) lines: Vec<u64>,
    /// When it is to be sent; at once unless a rate is given.
    pub(super) due: Option<Instant>,
}

/// The time for which answers are waited for once a signal has come.
const GRACE: Duration = Duration::from_secs(2);

/// The least time between two texts on what a connection waits for.
const SILENCE: Duration = Duration::from_secs(10);

/// A connection.
pub(super) struct Connection<'a> {
    pub(super) client: HttpClient,
    /// The files that bodies come from.
    pub(super) sources: &'a [Source],
    /// True once a signal has asked to stop.
    pub(super) stop: &'a AtomicBool,
    /// Is told what is waited for.
    pub(super) say: &'a (dyn Fn(&str) + Sync),
    /// When it was told.
    pub(super) said: Option<Instant>,
}

/// A request without a good answer.
enum Trouble {
    /// It may pass.
    Passing { text: String, pause: Option<Duration>, may_have_arrived: bool },
    /// It would be the same the next time.
    Lasting(String),
}

/// The JSON of an error, as far as it is reported.
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

impl Connection<'_> {
    /// Posts what comes until there is no more, a signal comes, or trouble lasts.
    pub(super) fn run(mut self, bodies: &Receiver<Body>) -> Report {
        let mut report = Report::default();
        for body in bodies {
            if self.stop.load(Ordering::Relaxed) {
                report.is_interrupted = true;
            } else if let Err(fault) = self.post(&body, &mut report) {
                report.fault = Some(fault);
                break;
            }
        }
        report
    }

    /// Posts one body, again and again if need be.
    fn post(&mut self, body: &Body, report: &mut Report) -> Result<(), String> {
        let begun = Instant::now();
        let due = body.due.unwrap_or(begun);
        let mut pause = PAUSE_MIN;
        loop {
            let (text, asked, may_have_arrived) = match self.attempt(body, report) {
                Ok(()) => {
                    let nanoseconds = u64::try_from(due.elapsed().as_nanos());
                    report.latency.record(nanoseconds.unwrap_or(u64::MAX), 1);
                    return Ok(());
                }
                Err(Trouble::Lasting(text)) => return Err(text),
                Err(Trouble::Passing { text, pause, may_have_arrived }) => {
                    (text, pause, may_have_arrived)
                }
            };
            let wait = asked.unwrap_or(pause).max(PAUSE_MIN);
            pause = PAUSE_MAX.min(pause * 2);
            let events = if may_have_arrived { body.lines.len() as u64 } else { 0 };
            if wait > PATIENCE.saturating_sub(begun.elapsed()) {
                report.unanswered += events;
                return Err(match asked {
                    Some(asked) => format!("{text}; it asks to wait for {} s", asked.as_secs()),
                    None => format!("{text}; given up after {} s", begun.elapsed().as_secs()),
                });
            }
            if self.said.is_none_or(|said| said.elapsed() > SILENCE) {
                (self.say)(&format!("{text}; trying again for {} s", PATIENCE.as_secs()));
                self.said = Some(Instant::now());
            }
            if !sleep_until(Instant::now() + wait, self.stop) {
                report.unanswered += events;
                report.is_interrupted = true;
                return Ok(());
            }
            report.repeated += events;
        }
    }

    /// Adds what may be the cause of a 400, and how to mend it.
    fn with_names(&self, file: usize, text: &str) -> String {
        let Some(Source { path, names }) = self.sources.get(file) else {
            return text.to_owned();
        };
        format!(
            "{path}: {text}; the header row has {} (--column MEMBER=HEADER names a column)",
            plain(names)
        )
    }

    fn attempt(&mut self, body: &Body, report: &mut Report) -> Result<(), Trouble> {
        let noticed = Cell::new(None);
        let is_over = || {
            let is_stopping = self.stop.load(Ordering::Relaxed);
            let since = noticed.get().filter(|_| is_stopping).unwrap_or_else(Instant::now);
            noticed.set(Some(since));
            is_stopping && since.elapsed() > GRACE
        };
        let answer = self.client.post("/metrics", "text/csv", &body.bytes, &is_over);
        let (answer, address) = answer.map_err(|error| match error {
            // Another kind of server, which would be the same the next time.
            ClientError::NoAnswer(_, ref cause) if cause.kind() == ErrorKind::InvalidData => {
                Trouble::Lasting(error.to_string())
            }
            _ => Trouble::Passing {
                may_have_arrived: matches!(error, ClientError::NoAnswer(..)),
                text: error.to_string(),
                pause: None,
            },
        })?;
        if matches!(answer.status, 202 | 400)
            && report.add_answer(body.file, &body.lines, &answer.body)
        {
            return Ok(());
        }
        let text = format!("{address} answers {}", in_words(&answer));
        match answer.status {
            // RFC 9110, sections 15.5.9 and 15.6, and RFC 6585, section 4.
            408 | 429 | 500..=599 => Err(Trouble::Passing {
                text,
                pause: answer.retry_after.map(Duration::from_secs),
                // A proxy may not know what the server has done.
                may_have_arrived: !matches!(answer.status, 408 | 429 | 503),
            }),
            400 => Err(Trouble::Lasting(self.with_names(body.file, &text))),
            _ => Err(Trouble::Lasting(text)),
        }
    }
}

/// Returns the status and what the server says, in its own words.
fn in_words(answer: &Answer) -> String {
    let Answer { status, body, .. } = answer;
    let text = match json::read::<Problem>(body) {
        Some(problem) => problem.detail,
        None => String::from_utf8_lossy(body).chars().take(160).collect(),
    };
    let hint = match status {
        401 => " (--ingest-token)",
        200..=299 => ", which is no answer of corepulse",
        300..=399 => ", which leads elsewhere; give --to that address",
        404 => ", so it is no corepulse, or not under this path",
        413 => " (a smaller --batch)",
        _ => "",
    };
    let text = plain(text.trim());
    let blank = if text.is_empty() { "" } else { " " };
    format!("{status}{blank}{text}{hint}")
}

/// Waits until a moment. Returns false if a signal came before.
pub(super) fn sleep_until(moment: Instant, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let rest = moment.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return true;
        }
        thread::sleep(rest.min(GLANCE));
    }
}
