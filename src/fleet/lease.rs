//! The lease: how long a member may be sure that the others count on it, by its own clock.

use std::mem;

use crate::limits::{FLEET_DOUBT_MS, FLEET_SETTLE_MS};

const DOUBT_NS: u64 = FLEET_DOUBT_MS * 1_000_000;
const SETTLE_NS: u64 = FLEET_SETTLE_MS * 1_000_000;

/// The lease of a member.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// The time at which the last census was sent that wrote the own entry.
    confirmed_ns: Option<u64>,
    /// The time at which the last census was sent that read the directory.
    read_ns: Option<u64>,
    /// True since the lease was noticed to be in doubt.
    is_in_doubt: bool,
    /// The time from which the directory is believed to have all live members.
    settled_ns: Option<u64>,
}

impl Lease {
    /// Returns true while it is sure to last.
    pub(super) fn is_sure(&self, now_ns: u64) -> bool {
        self.confirmed_ns.is_some_and(|at_ns| now_ns.saturating_sub(at_ns) < DOUBT_NS)
    }

    /// Returns true while what was read of the directory is new enough to write by it. To read it
    /// renews no lease: Redis may let a member read that it does not let write.
    pub(super) fn has_read(&self, now_ns: u64) -> bool {
        self.read_ns.is_some_and(|at_ns| now_ns.saturating_sub(at_ns) < DOUBT_NS)
    }

    /// Notes a census that was sent at this time and only read.
    pub(super) const fn note_read(&mut self, sent_ns: u64) {
        self.read_ns = Some(sent_ns);
    }

    /// Returns true if it is sure, and the directory has been read for long enough to have all who
    /// live.
    pub(super) fn is_settled(&self, now_ns: u64) -> bool {
        self.is_sure(now_ns) && self.settled_ns.is_some_and(|settled_ns| now_ns >= settled_ns)
    }

    /// Notes a census that was sent at this time and wrote. After the first one, after a while
    /// without one, and after one that found an emptied directory or perhaps another server, the
    /// others may not have written yet.
    pub(super) fn confirm(&mut self, sent_ns: u64, now_ns: u64, may_lack_others: bool) {
        if may_lack_others || !self.is_sure(now_ns) {
            self.settled_ns = Some(now_ns.saturating_add(SETTLE_NS));
        }
        self.confirmed_ns = Some(sent_ns);
        self.read_ns = Some(sent_ns);
    }

    /// Returns true once when the lease comes into doubt.
    pub(super) fn has_lapsed(&mut self, now_ns: u64) -> bool {
        let is_in_doubt = self.confirmed_ns.is_some() && !self.is_sure(now_ns);
        let was_in_doubt = mem::replace(&mut self.is_in_doubt, is_in_doubt);
        is_in_doubt && !was_in_doubt
    }

    /// Returns the time at which it comes into doubt.
    pub(super) fn ends_ns(&self) -> Option<u64> {
        self.confirmed_ns.filter(|_| !self.is_in_doubt).map(|at_ns| at_ns.saturating_add(DOUBT_NS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_the_sending_of_its_confirmation() {
        let mut lease = Lease::default();
        assert!(!lease.is_sure(0) && !lease.has_lapsed(0) && !lease.has_read(0));
        lease.note_read(5);
        assert!(lease.has_read(DOUBT_NS + 4) && !lease.has_read(DOUBT_NS + 5) && !lease.is_sure(6));
        lease.confirm(10, 900, false);
        assert!(lease.is_sure(DOUBT_NS + 9) && !lease.is_sure(DOUBT_NS + 10));
        assert_eq!(lease.ends_ns(), Some(DOUBT_NS + 10));
        assert!(!lease.has_lapsed(DOUBT_NS + 9));
        assert!(lease.has_lapsed(DOUBT_NS + 10) && !lease.has_lapsed(DOUBT_NS + 11));
        assert_eq!(lease.ends_ns(), None);
        lease.confirm(DOUBT_NS + 20, DOUBT_NS + 30, false);
        assert!(!lease.has_lapsed(DOUBT_NS + 40) && lease.has_lapsed(3 * DOUBT_NS));
    }

    #[test]
    fn the_others_are_waited_for_at_first_and_after_a_loss() {
        let mut lease = Lease::default();
        lease.confirm(0, 0, false);
        lease.confirm(SETTLE_NS, SETTLE_NS, false);
        assert!(!lease.is_settled(SETTLE_NS - 1) && lease.is_settled(SETTLE_NS));
        lease.confirm(SETTLE_NS, SETTLE_NS, true);
        assert!(!lease.is_settled(2 * SETTLE_NS - 1));
        lease.confirm(2 * SETTLE_NS, 2 * SETTLE_NS, false);
        assert!(lease.is_settled(2 * SETTLE_NS));
        let later_ns = 2 * SETTLE_NS + DOUBT_NS;
        lease.confirm(later_ns, later_ns, false);
        assert!(lease.is_sure(later_ns) && !lease.is_settled(later_ns + SETTLE_NS - 1));
    }
}
