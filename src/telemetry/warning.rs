//! Warnings that any event or connection may cause, each logged at most once a minute.
//!
//! The thread that meets the cause counts it with [`Warnings::add`]; if that returns a count, it
//! writes the line with the details at hand. Otherwise it may leave them with
//! [`Warnings::keep_context`]: [`Warnings::log_due`] and [`Warnings::log_all`] write the lines of
//! floods that have stopped.

use std::sync::atomic::{AtomicBool, Ordering};

use super::log;
use super::log_limiter::LogLimiter;
use percore::clock::Now;
use percore::sync::Mutex;

percore::named_enum! {
    /// A state of warning that many may cause, with the message of its log line as its name.
    pub enum Warning {
        /// Events were rejected.
        EventsRejected = "events rejected",
        /// Events had no device id or no timestamp, and unknown members that may be misspelt ones.
        MembersIgnored = "events without a device id or a timestamp have members that are ignored: \
            misspelt, or names for --device-name, --timestamp-name or --device-tag?",
        /// Requests with metrics were refused as a whole.
        BodiesRefused = "requests with metrics refused",
        /// Requests that only read had not the token that they need.
        Unauthorized = "requests refused for want of the token that they need",
        /// Events came from devices past `--max-devices`.
        DevicesRefused = "events of more devices than --max-devices are not judged",
        /// Connections came past `--max-connections`.
        ConnectionLimit =
            "connections past --max-connections: idle ones close for them, or they are refused",
        /// A peer had as many connections as it may have.
        PeerLimit = "connections past --peer-connections of one address are closed; a proxy is \
            named by --trust-proxy",
        /// A trusted proxy sent a header that cannot be understood.
        ProxyHeader = "a proxy named by --trust-proxy has sent a malformed header of the PROXY \
            protocol, or one of more than 4 KiB",
        /// The kernel failed to accept connections.
        AcceptFailed = "connections could not be accepted",
        /// TLS handshakes failed.
        HandshakeFailed = "TLS handshakes failed",
        /// Connections wait because descriptors or memory are exhausted.
        AcceptExhausted = "connections wait: out of file descriptors or memory (ulimit -n)",
    }
}

/// The details of one event, kept for a line that another thread writes later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of that name in the log line")]
pub struct WarningContext {
    pub peer: Option<String>,
    pub device_id: Option<String>,
    pub reason: Option<&'static str>,
    pub status: Option<u16>,
    pub missing: Option<String>,
    pub ignored: Option<String>,
    pub detail: Option<String>,
}

/// The state of one kind: its rate limit, and the context of its first unreported event.
#[derive(Debug, Default)]
struct WarningState {
    limiter: LogLimiter,
    has_context: AtomicBool,
    context: Mutex<Option<WarningContext>>,
}

impl WarningState {
    /// Takes the context. The flag spares the lock, as there hardly ever is one.
    fn take_context(&self) -> Option<WarningContext> {
        let has_context = self.has_context.swap(false, Ordering::Relaxed);
        has_context.then(|| self.context.lock().take()).flatten()
    }
}

/// The states of all kinds.
#[derive(Debug, Default)]
pub struct Warnings([WarningState; Warning::ALL.len()]);

impl Warnings {
    /// Counts `times` events of a kind. Returns the number to report if a line is due; see
    /// [`LogLimiter::add`].
    #[inline]
    pub fn add(&self, warning: Warning, times: u64, now: Now) -> Option<u64> {
        let state = self.0.get(warning.index())?;
        let due = state.limiter.add(times, now)?;
        // The caller writes the line with the context at hand.
        state.take_context();
        Some(due)
    }

    /// Keeps the context of an event that is not reported now, unless one is kept already.
    pub fn keep_context(&self, warning: Warning, context: impl FnOnce() -> WarningContext) {
        let Some(state) = self.0.get(warning.index()) else {
            return;
        };
        if !state.has_context.swap(true, Ordering::Relaxed) {
            *state.context.lock() = Some(context());
        }
    }

    /// Writes the lines that are due for events that no line has reported; to be called every
    /// second.
    pub fn log_due(&self, now: Now) {
        self.log(|limiter| limiter.take_if_due(now));
    }

    /// Writes a line for each kind with unreported events, due or not; to be called at the end.
    pub fn log_all(&self) {
        self.log(LogLimiter::take);
    }

    fn log(&self, take: impl Fn(&LogLimiter) -> Option<u64>) {
        for (warning, state) in Warning::ALL.into_iter().zip(&self.0) {
            let Some(count) = take(&state.limiter) else {
                continue;
            };
            let context = state.take_context().unwrap_or_default();
            log::warn!(
                count,
                peer = context.peer,
                device_id = context.device_id,
                reason = context.reason,
                status = context.status,
                missing = context.missing,
                ignored = context.ignored,
                detail = context.detail,
                "{}",
                warning.name()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_case_since_the_last_line_is_kept_for_the_next() {
        let (warnings, warning) = (Warnings::default(), Warning::EventsRejected);
        let context = |name: &str| WarningContext {
            device_id: Some(name.to_owned()),
            ..WarningContext::default()
        };
        let at = |seconds: u64| Now { mono_ns: seconds * 1_000_000_000, ..Now::default() };
        assert_eq!(warnings.add(warning, 1, at(0)), Some(1));
        for name in ["d1", "d2"] {
            assert_eq!(warnings.add(warning, 1, at(1)), None);
            warnings.keep_context(warning, || context(name));
        }
        assert_eq!(warnings.0[warning.index()].take_context(), Some(context("d1")));
        // A line with a context of its own leaves none behind.
        warnings.keep_context(warning, || context("d3"));
        assert_eq!(warnings.add(warning, 1, at(61)), Some(3));
        assert_eq!(warnings.0[warning.index()].take_context(), None);
    }

    #[test]
    fn kinds_are_told_apart() {
        let warnings = Warnings::default();
        let now = Now::default();
        for warning in Warning::ALL {
            assert_eq!(warnings.add(warning, 3, now), Some(3), "{warning:?}");
            assert_eq!(warnings.add(warning, 1, now), None, "{warning:?}");
        }
        let mut messages = Warning::NAMES;
        messages.sort_unstable();
        assert!(messages.windows(2).all(|pair| pair[0] != pair[1]), "{messages:?}");
    }
}
