//! The structured log on stderr, and the one door to `tracing`.
//!
//! Rows above write `log::info!(…)` with the macros from here. Fields carry the numbers, the
//! message says what happened; tokens, passwords and URLs with user data are never a field. The
//! data plane logs what changes, not what flows: a line is a system call.

mod logfmt;

use std::io;

use tracing::dispatcher::set_global_default;
use tracing::{Dispatch, Level};
use tracing_subscriber::fmt::{MakeWriter, Subscriber};

use logfmt::Logfmt;

pub use tracing::{debug, error, info, warn};

/// Which lines are written: those of this level and the more serious ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Least {
    /// A thread failed.
    Error,
    /// Somebody should look.
    Warn,
    /// What the server does.
    #[default]
    Info,
    /// Also each request with something wrong in it.
    Debug,
}

impl From<Least> for Level {
    fn from(least: Least) -> Self {
        match least {
            Least::Error => Self::ERROR,
            Least::Warn => Self::WARN,
            Least::Info => Self::INFO,
            Least::Debug => Self::DEBUG,
        }
    }
}

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people: `key=value` pairs on a line.
    #[default]
    Text,
    /// For machines: one JSON object a line, the fields beside `message`.
    Json,
}

/// Starts the log for the whole process. False if it was started before; that one stays.
pub fn start(format: Format, least: Least) -> bool {
    set_global_default(subscriber(format, least, io::stderr)).is_ok()
}

fn subscriber<W>(format: Format, least: Least, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = Subscriber::builder()
        .with_max_level(Level::from(least))
        .with_ansi(false)
        // It would report a failed write on stderr itself, and panic when that is what is closed.
        .log_internal_errors(false)
        .with_writer(writer);
    match format {
        Format::Text => Dispatch::new(builder.event_format(Logfmt).finish()),
        Format::Json => Dispatch::new(builder.json().flatten_event(true).finish()),
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

    /// The lines of what `tell` logs.
    fn logged(format: Format, least: Least, tell: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = subscriber(format, least, move || writer.clone());
        tracing::dispatcher::with_default(&log, tell);
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn tell_each() {
        error!("a thread failed");
        warn!(count = 3, peer = %"127.0.0.1:1", "events rejected");
        info!(cores = 2, pin = "off", ratio = 0.5, "listening on {}", "here");
        debug!("nothing");
    }

    #[test]
    fn json_lines_carry_fields_beside_the_message() {
        let lines = logged(Format::Json, Least::Info, tell_each);
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
        let lines = logged(Format::Text, Least::Info, tell_each);
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
        for (least, lines) in
            [(Least::Error, 1), (Least::Warn, 2), (Least::Info, 3), (Least::Debug, 4)]
        {
            for format in [Format::Text, Format::Json] {
                assert_eq!(logged(format, least, tell_each).len(), lines, "{least:?}");
            }
        }
    }

    #[test]
    fn the_log_is_started_once() {
        assert!(start(Format::Json, Least::Error));
        assert!(!start(Format::Text, Least::Debug), "the first one stays");
    }
}
