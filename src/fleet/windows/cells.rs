//! Cells: what the protocol needs of the devices of its instance.
//!
//! The analytics have them. Cores apply events to them at any time, so what is told of a cell holds
//! until the next call; only the protocol exports, adopts and confirms.

use super::note::DeviceId;
use crate::analytics::shared_windows::Cell;
use percore::clock::Now;

/// A copy of a device's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    /// The events that the device had sent.
    pub(super) events: u64,
    /// The state.
    pub(super) body: Vec<u8>,
}

/// A copy that is to be saved.
pub(super) struct Save<'a> {
    pub(super) id: &'a [u8],
    /// The events that the device had sent.
    pub(super) events: u64,
    /// Appends the state.
    pub(super) body: &'a mut dyn FnMut(&mut Vec<u8>),
    /// True if no other replica has the window.
    pub(super) is_confirmed: bool,
}

/// A copy of another replica, or an older one of this one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base<'a> {
    pub(super) body: &'a [u8],
    /// True if that one was not asked, and may have gone on from it.
    pub(super) is_copy: bool,
}

/// See the head of this file.
pub(super) trait Cells {
    /// Returns true while the others are sure to count on this replica.
    fn is_sure(&self, now_ns: u64) -> bool;

    /// Returns the times that this was not so after it had been.
    fn lapses(&self, now_ns: u64) -> u32;

    /// Puts all that is held in doubt: what Redis had of it may be lost.
    fn doubt(&mut self);

    /// Returns the state of a device's cell.
    fn cell(&self, id: &[u8], now: Now) -> Cell;

    /// Appends the devices that are to be claimed.
    fn take_wanted(&mut self, out: &mut Vec<DeviceId>);

    /// Begins a round of saves: takes what has unsaved events now.
    fn begin_saves(&mut self, now: Now);

    /// Returns true if something of the round is left.
    fn has_saves(&self) -> bool;

    /// Returns true if there are unsaved events, in the round or not.
    fn has_unsaved(&self) -> bool;

    /// Gives copies of up to `max` of the devices of the round to `take`. They count as saved from
    /// then on.
    fn next_saves(&mut self, max: usize, now: Now, take: &mut dyn FnMut(Save<'_>));

    /// Counts all held devices as unsaved.
    fn unsave_all(&mut self);

    /// Copies a held device, which counts as saved from then on.
    fn copy(&mut self, id: &[u8], now: Now) -> Option<Copy>;

    /// Takes a held device out.
    fn export(&mut self, id: &[u8], now: Now) -> Option<Copy>;

    /// Lets a device have its window, or a new one if it waits, and judges its events; joins the
    /// window to that of a held one. Returns false if the body cannot be read: then nothing is
    /// done. Without a ticket it is held in doubt.
    fn adopt(&mut self, id: &[u8], base: Option<Base<'_>>, ticket: Option<u64>, now: Now) -> bool;

    /// Confirms a held device under a claim.
    fn confirm(&mut self, id: &[u8], ticket: u64, now: Now);

    /// Lets a device that waits begin a window of its own, which is a branch, as there may be one
    /// elsewhere. Without a ticket it is held in doubt.
    fn begin_alone(&mut self, id: &[u8], ticket: Option<u64>, now: Now);
}
