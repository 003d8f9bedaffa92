//! The events without a verdict, counted by why.

use std::fmt;
use std::ops::AddAssign;

/// The reason for which an event has no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unjudged {
    /// Its device is new, and there are too many devices already.
    Refused,
    /// It waits for the window of its device, which is on its way from another instance.
    Pending,
}

/// The events without a verdict among those that were applied, fewer than 2³² of each kind. Every
/// event pays for what is added up here, so both counts are in one number.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied(u64);

/// The place of the events that wait.
const PENDING_SHIFT: u32 = 32;

impl Applied {
    /// Returns these counts.
    pub const fn of(refused: u32, pending: u32) -> Self {
        Self(refused as u64 | (pending as u64) << PENDING_SHIFT)
    }

    /// Returns true if all events have verdicts.
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Returns the number of events whose device got no window, because there are too many devices.
    #[inline(always)]
    pub const fn refused(self) -> u64 {
        self.0 & u32::MAX as u64
    }

    /// Returns the number of events that wait for the window of their device.
    #[inline(always)]
    pub const fn pending(self) -> u64 {
        self.0 >> PENDING_SHIFT
    }

    /// Adds an event.
    pub(super) const fn add(&mut self, reason: Unjudged) {
        self.0 += match reason {
            Unjudged::Refused => 1,
            Unjudged::Pending => 1 << PENDING_SHIFT,
        };
    }
}

impl AddAssign for Applied {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl fmt::Debug for Applied {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} refused, {} pending", self.refused(), self.pending())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_for_itself() {
        let mut applied = Applied::default();
        assert!(applied.is_none());
        for at in 0..10 {
            applied.add(if at < 7 { Unjudged::Pending } else { Unjudged::Refused });
        }
        assert_eq!(applied, Applied::of(3, 7));
        applied += Applied::of(10_000, 20_000);
        assert_eq!((applied.refused(), applied.pending()), (10_003, 20_007));
        assert_eq!(format!("{applied:?}"), "10003 refused, 20007 pending");
        assert!(!applied.is_none());
    }
}
