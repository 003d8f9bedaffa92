//! Waiting: polls for a condition until a deadline, instead of sleeping for a fixed time.

use std::thread;
use std::time::{Duration, Instant};

/// The limit for anything that ought to happen soon.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The limit for an answer; a later one has waited for something. Far more than any takes, as the
/// machine that runs the tests is shared.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// Polls until `found` returns a value, and panics after [`TIMEOUT`].
pub fn wait_until<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    wait_until_within(TIMEOUT, what, found)
}

/// Polls like [`wait_until`] with a limit of its own, for what takes its time even where all is
/// well.
pub fn wait_until_within<T>(
    limit: Duration,
    what: &str,
    mut found: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        thread::park_timeout(Duration::from_millis(2));
    }
}
