//! What may go wrong with every event or connection, and is told once a minute.
//!
//! Whoever meets trouble notes it here and, if that is answered with a count, writes the line with
//! what he knows of this one case. [`Troubles::tell_overdue`] is for a thread that comes by every
//! second or so: what a flood has left untold is told by it, with the first [`Case`] that was kept.

use std::sync::atomic::{AtomicBool, Ordering};

use super::log;
use super::notice::Notice;
use crate::clock::Now;
use crate::sync::Mutex;

/// A kind of trouble that many may cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Events that were refused.
    EventsRejected,
    /// Events without a name or a time, and with members that mean nothing.
    MembersIgnored,
    /// Requests to take metrics that were refused as a whole.
    BodiesRefused,
    /// Events of devices past `--max-devices`.
    DevicesRefused,
    /// Connections past `--max-connections`.
    ConnectionLimit,
    /// Connections that the kernel did not hand over.
    AcceptFailed,
    /// Connections that wait for want of descriptors or memory.
    AcceptExhausted,
}

impl Trouble {
    /// All of them, in the order of [`Self::index`].
    pub const ALL: [Self; 7] = [
        Self::EventsRejected,
        Self::MembersIgnored,
        Self::BodiesRefused,
        Self::DevicesRefused,
        Self::ConnectionLimit,
        Self::AcceptFailed,
        Self::AcceptExhausted,
    ];

    const fn index(self) -> usize {
        self as usize
    }

    /// What the lines say.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::EventsRejected => "events rejected",
            Self::MembersIgnored => {
                "events without device_id or timestamp have members that are ignored: misspelt?"
            }
            Self::BodiesRefused => "requests with metrics refused",
            Self::DevicesRefused => "events of more devices than --max-devices are not judged",
            Self::ConnectionLimit => {
                "connections past --max-connections: idle ones close for them, or they are refused"
            }
            Self::AcceptFailed => "connections could not be accepted",
            Self::AcceptExhausted => {
                "connections wait: out of file descriptors or memory (ulimit -n)"
            }
        }
    }
}

/// What is known of one case, for a line that somebody else writes later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the one of the line that has its name")]
pub struct Case {
    pub peer: Option<String>,
    pub device_id: Option<String>,
    pub reason: Option<&'static str>,
    pub status: Option<u16>,
    pub missing: Option<&'static str>,
    pub ignored: Option<String>,
    pub detail: Option<String>,
}

/// A notice of one kind, and a case that no line has told of.
#[derive(Debug, Default)]
struct Kind {
    notice: Notice,
    has_case: AtomicBool,
    case: Mutex<Option<Case>>,
}

impl Kind {
    fn take_case(&self) -> Option<Case> {
        // Hardly ever is there one: the lock is for when there is.
        let has_case = self.has_case.swap(false, Ordering::Relaxed);
        has_case.then(|| self.case.lock().take()).flatten()
    }
}

/// A notice of each kind.
#[derive(Debug, Default)]
pub struct Troubles([Kind; Trouble::ALL.len()]);

impl Troubles {
    /// Notes it; see [`Notice::note`].
    #[inline]
    pub fn note(&self, trouble: Trouble, times: u64, now: Now) -> Option<u64> {
        let kind = self.0.get(trouble.index())?;
        let due = kind.notice.note(times, now)?;
        // The line has a case of its own.
        kind.take_case();
        Some(due)
    }

    /// Keeps the case of trouble whose line is not due, if none has been kept since the last one.
    pub fn keep(&self, trouble: Trouble, case: impl FnOnce() -> Case) {
        let Some(kind) = self.0.get(trouble.index()) else {
            return;
        };
        if !kind.has_case.swap(true, Ordering::Relaxed) {
            *kind.case.lock() = Some(case());
        }
    }

    /// Writes the lines that are due and whose case is over.
    pub fn tell_overdue(&self, now: Now) {
        self.tell(|notice| notice.overdue(now));
    }

    /// Writes the lines that would be due later, at the end.
    pub fn tell_last(&self) {
        self.tell(Notice::last);
    }

    fn tell(&self, untold: impl Fn(&Notice) -> Option<u64>) {
        for (trouble, kind) in Trouble::ALL.into_iter().zip(&self.0) {
            let Some(count) = untold(&kind.notice) else {
                continue;
            };
            let case = kind.take_case().unwrap_or_default();
            log::warn!(
                count,
                peer = case.peer,
                device_id = case.device_id,
                reason = case.reason,
                status = case.status,
                missing = case.missing,
                ignored = case.ignored,
                detail = case.detail,
                "{}",
                trouble.message()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_case_since_the_last_line_is_kept_for_the_next() {
        let (troubles, trouble) = (Troubles::default(), Trouble::EventsRejected);
        let case = |name: &str| Case { device_id: Some(name.to_owned()), ..Case::default() };
        let at = |seconds: u64| Now { mono_ns: seconds * 1_000_000_000, ..Now::default() };
        assert_eq!(troubles.note(trouble, 1, at(0)), Some(1));
        for name in ["d1", "d2"] {
            assert_eq!(troubles.note(trouble, 1, at(1)), None);
            troubles.keep(trouble, || case(name));
        }
        assert_eq!(troubles.0[trouble.index()].take_case(), Some(case("d1")));
        // Told with a case of its own, a line leaves none behind.
        troubles.keep(trouble, || case("d3"));
        assert_eq!(troubles.note(trouble, 1, at(61)), Some(3));
        assert_eq!(troubles.0[trouble.index()].take_case(), None);
    }

    #[test]
    fn kinds_stand_in_the_order_of_their_index_and_are_told_apart() {
        let troubles = Troubles::default();
        let now = Now::default();
        for (index, trouble) in Trouble::ALL.into_iter().enumerate() {
            assert_eq!(trouble.index(), index, "{trouble:?}");
            assert_eq!(troubles.note(trouble, 3, now), Some(3), "{trouble:?}");
            assert_eq!(troubles.note(trouble, 1, now), None, "{trouble:?}");
        }
        let mut messages = Trouble::ALL.map(Trouble::message);
        messages.sort_unstable();
        assert!(messages.windows(2).all(|pair| pair[0] != pair[1]), "{messages:?}");
    }
}
