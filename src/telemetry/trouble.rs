//! What may go wrong with every event or connection, and is told once a minute.
//!
//! Whoever meets trouble notes it here and, if that is answered with a count, writes the line with
//! what he knows of this one case. [`Troubles::tell_overdue`] is for a thread that comes by every
//! second or so: what a flood has left untold is told by it, without a case.

use super::log;
use super::notice::Notice;
use crate::clock::Now;

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

/// A notice of each kind.
#[derive(Debug, Default)]
pub struct Troubles([Notice; Trouble::ALL.len()]);

impl Troubles {
    /// Notes it; see [`Notice::note`].
    #[inline]
    pub fn note(&self, trouble: Trouble, times: u64, now: Now) -> Option<u64> {
        self.0.get(trouble.index()).and_then(|notice| notice.note(times, now))
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
        for (trouble, notice) in Trouble::ALL.into_iter().zip(&self.0) {
            if let Some(count) = untold(notice) {
                log::warn!(count, "{}", trouble.message());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
