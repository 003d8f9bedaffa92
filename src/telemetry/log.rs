//! The structured log on stderr, and the one door to `tracing`.
//!
//! Rows above write `log::info!(…)` with the macros from here. Fields carry the numbers, the
//! message says what happened; tokens, passwords and URLs with user data are never a field. The
//! data plane logs what changes, not what flows: a line is a system call.

use std::io;

use tracing::Level;
use tracing::subscriber::set_global_default;
use tracing_subscriber::fmt::{MakeWriter, Subscriber};

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
    /// For people: time, level, where, message, `field=value`.
    #[default]
    Text,
    /// For machines: one JSON object a line, the fields beside `message`.
    Json,
}

/// Starts the log for the whole process. False if it was started before; that one stays.
pub fn start(format: Format, least: Least) -> bool {
    start_with(format, least, io::stderr)
}

fn start_with<W>(format: Format, least: Least, writer: W) -> bool
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
        Format::Text => set_global_default(builder.finish()).is_ok(),
        Format::Json => set_global_default(builder.json().flatten_event(true).finish()).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;
    use crate::sync::Mutex;

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

    #[test]
    fn json_lines_carry_fields_beside_the_message_and_start_once() {
        let lines = Lines::default();
        let writer = lines.clone();
        assert!(start_with(Format::Json, Least::Info, move || writer.clone()));
        assert!(!start(Format::Text, Least::Debug), "the first one stays");
        info!(cores = 2, pin = "off", "listening");
        debug!("not at this level");
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("listening")).collect();
        assert_eq!(lines.len(), 1, "{text}");
        for part in
            [r#""level":"INFO""#, r#""message":"listening""#, r#""cores":2"#, r#""pin":"off""#]
        {
            assert!(lines[0].contains(part), "{part} in {text}");
        }
        assert!(lines[0].starts_with(r#"{"timestamp":""#) && lines[0].ends_with('}'));
        assert!(!text.contains("not at this level"));
    }
}
