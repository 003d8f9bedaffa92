//! Admission control: counts the connections of all cores against their limit, and keeps some
//! places beyond it.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::RESERVED_CONNECTIONS;

/// The counts of all connections, and their limit.
#[derive(Debug)]
pub struct AdmissionControl {
    regular: AtomicUsize,
    reserved: AtomicUsize,
    rejected: AtomicUsize,
    limit: usize,
}

/// The way in which a new connection is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Within the limit.
    Regular,
    /// Over the limit: it gets one answer, and only probes get what they ask for.
    Reserved,
    /// Over the limit, and every reserved place is taken: it gets a 503 without being asked.
    Rejected,
    /// Over the limit, and too many are being rejected already: it is closed.
    Dropped,
}

impl AdmissionControl {
    /// Returns the control of a server without connections, which admits at most `limit`.
    pub const fn new(limit: usize) -> Self {
        Self {
            regular: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
            rejected: AtomicUsize::new(0),
            limit,
        }
    }

    /// Returns the limit.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Returns true if a new connection would be over the limit.
    pub fn is_full(&self) -> bool {
        self.regular.load(Ordering::Relaxed) >= self.limit
    }

    /// Counts a new connection, and returns how it is admitted.
    pub fn admit(&self) -> Admission {
        if increment_below(&self.regular, self.limit) {
            Admission::Regular
        } else if increment_below(&self.reserved, RESERVED_CONNECTIONS) {
            Admission::Reserved
        } else if increment_below(&self.rejected, RESERVED_CONNECTIONS) {
            Admission::Rejected
        } else {
            Admission::Dropped
        }
    }

    /// Returns true if a new connection would not even get a reserved place.
    pub(super) fn is_reserve_full(&self) -> bool {
        self.is_full() && self.reserved.load(Ordering::Relaxed) >= RESERVED_CONNECTIONS
    }

    /// Gives a core a reserved place although the other cores have taken all of them.
    pub(super) fn reserve_for_core(&self) -> Admission {
        self.reserved.fetch_add(1, Ordering::Relaxed);
        Admission::Reserved
    }

    /// Moves a connection from the reserved places to the rejected, and returns true if there is
    /// room for one more of those.
    pub(super) fn demote(&self) -> bool {
        let enters = increment_below(&self.rejected, RESERVED_CONNECTIONS);
        if enters {
            self.leave(Admission::Reserved);
        }
        enters
    }

    /// Counts the end of a connection.
    pub fn leave(&self, admission: Admission) {
        match admission {
            Admission::Regular => self.regular.fetch_sub(1, Ordering::Relaxed),
            Admission::Reserved => self.reserved.fetch_sub(1, Ordering::Relaxed),
            Admission::Rejected => self.rejected.fetch_sub(1, Ordering::Relaxed),
            Admission::Dropped => 0,
        };
    }
}

fn increment_below(count: &AtomicUsize, limit: usize) -> bool {
    let below = |count| if count < limit { Some(count + 1) } else { None };
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_one_for_all_and_some_places_are_reserved() {
        let admission_control = AdmissionControl::new(2);
        assert_eq!([admission_control.admit(), admission_control.admit()], [Admission::Regular; 2]);
        assert!(admission_control.is_full());
        for _ in 0..RESERVED_CONNECTIONS {
            assert_eq!(admission_control.admit(), Admission::Reserved);
        }
        for _ in 0..RESERVED_CONNECTIONS {
            assert_eq!(admission_control.admit(), Admission::Rejected);
        }
        assert_eq!(admission_control.admit(), Admission::Dropped);
        admission_control.leave(Admission::Dropped);
        assert_eq!(admission_control.admit(), Admission::Dropped);
        admission_control.leave(Admission::Reserved);
        assert_eq!(admission_control.admit(), Admission::Reserved);
        admission_control.leave(Admission::Rejected);
        assert!(admission_control.is_full());
        admission_control.leave(Admission::Regular);
        assert!(!admission_control.is_full());
        assert_eq!(admission_control.admit(), Admission::Regular);
    }
}
