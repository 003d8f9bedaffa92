//! The structured log on stderr, and the one door to `tracing`.
//!
//! The layers above write `log::info!(…)` with the macros from here. Fields carry the numbers, the
//! message names the event; tokens, passwords and URLs with user data are never a field. The data
//! plane logs changes, not requests, because a line is a system call.

mod logfmt;

use std::io;

use tracing::dispatcher::set_global_default;
use tracing::{Dispatch, Level};
use tracing_subscriber::fmt::{MakeWriter, Subscriber};

use crate::config::{LogFormat, LogLevel};
use logfmt::Logfmt;

pub use tracing::{debug, error, info, warn};

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
        }
    }
}

/// Starts the log of the process. Returns false, and changes nothing, if it was started before.
pub fn start(format: LogFormat, level: LogLevel) -> bool {
    set_global_default(subscriber(format, level, io::stderr)).is_ok()
}

fn subscriber<W>(format: LogFormat, level: LogLevel, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = Subscriber::builder()
        .with_max_level(Level::from(level))
        .with_ansi(false)
        // Otherwise a failed write is reported on stderr, which panics if stderr is closed.
        .log_internal_errors(false)
        .with_writer(writer);
    match format {
        LogFormat::Text => Dispatch::new(builder.event_format(Logfmt).finish()),
        LogFormat::Json => Dispatch::new(builder.json().flatten_event(true).finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;
    use percore::sync::Mutex;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the lines that a function logs.
    fn logged(format: LogFormat, level: LogLevel, log_lines: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = subscriber(format, level, move || writer.clone());
        tracing::dispatcher::with_default(&log, log_lines);
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn log_each() {
        error!("a thread failed");
        warn!(count = 3, peer = %"127.0.0.1:1", "events rejected");
        info!(cores = 2, pin = "off", ratio = 0.5, "listening on {}", "here");
        debug!("nothing");
    }

    #[test]
    fn json_lines_carry_fields_beside_the_message() {
        let lines = logged(LogFormat::Json, LogLevel::Info, log_each);
        assert_eq!(lines.len(), 3, "{lines:?}");
        let line = &lines[2];
        for part in [
            r#""level":"INFO""#,
            r#""message":"listening on here""#,
            r#""cores":2"#,
            r#""pin":"off""#,
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(line.starts_with(r#"{"timestamp":""#) && line.ends_with('}'));
    }

    #[test]
    fn text_lines_are_pairs_with_the_message_before_the_fields() {
        let lines = logged(LogFormat::Text, LogLevel::Info, log_each);
        let ends = [
            "level=ERROR msg=\"a thread failed\"",
            "level=WARN msg=\"events rejected\" count=3 peer=127.0.0.1:1",
            "level=INFO msg=\"listening on here\" cores=2 pin=off ratio=0.5",
        ];
        assert_eq!(lines.len(), ends.len(), "{lines:?}");
        for (line, end) in lines.iter().zip(ends) {
            let (time, rest) = line.split_once(' ').unwrap();
            // 2026-11-23T12:00:00.000000Z
            assert!(
                time.starts_with("time=2") && time.len() == 32 && time.ends_with('Z'),
                "{line}"
            );
            assert_eq!(rest, format!("{end} target={}", module_path!()));
        }
    }

    #[test]
    fn less_serious_lines_are_left_out() {
        for (level, lines) in
            [(LogLevel::Error, 1), (LogLevel::Warn, 2), (LogLevel::Info, 3), (LogLevel::Debug, 4)]
        {
            for format in [LogFormat::Text, LogFormat::Json] {
                assert_eq!(logged(format, level, log_each).len(), lines, "{level:?}");
            }
        }
    }

    #[test]
    fn the_log_is_started_once() {
        assert!(start(LogFormat::Json, LogLevel::Error));
        assert!(!start(LogFormat::Text, LogLevel::Debug), "the first one stays");
    }
}
