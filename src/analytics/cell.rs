//! A cell: how a device stands to the other instances that share its window.
//!
//! A device *waits* until its window has come from wherever it was, and is *held* from then on. A
//! held device is *confirmed*, or *in doubt*: it was confirmed in an earlier tenure, and another
//! instance may have it as well. A *tenure* is a time in which nothing was lost, neither the
//! connection to Redis nor the trust of the others. So one number tells all devices of an instance
//! that they are in doubt.
//!
//! Where windows are not shared, the tenure is 0 and so is every mark.

use super::brought_anomalies::BroughtNumber;

/// The mark of a device: the tenure in which it was confirmed or claimed, and two bits. An event of
/// a device whose mark is that of its shard is like any other; so this is all that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u32);

/// The bit of a device that has had events since it was saved.
const UNSAVED: u32 = 1;

/// The bit of a device that is not confirmed in the tenure of its mark, and was put on the list of
/// those that are wanted in it.
const UNSURE: u32 = 2;

/// The place of the tenure.
const TENURE_SHIFT: u32 = 2;

impl Mark {
    /// The mark of everything where windows are not shared, and of a new device.
    pub(super) const NONE: Self = Self(0);

    /// Returns the mark of a device that is confirmed in a tenure, and unsaved.
    pub(super) const fn usual(tenure: u32) -> Self {
        Self(tenure << TENURE_SHIFT | UNSAVED)
    }

    /// Returns the tenure.
    pub(super) const fn tenure(self) -> u32 {
        self.0 >> TENURE_SHIFT
    }
}

/// The cell of one device, in its record.
#[derive(Clone, Copy, Debug)]
pub(super) struct CellRecord {
    pub(super) mark: Mark,
    /// The claim by which it is held, as bytes, which need no padding.
    ticket: [u8; 8],
    /// The number of the newest anomaly that came with its window, see
    /// [`super::brought_anomalies`].
    pub(super) brought: BroughtNumber,
    flags: u8,
}

/// The flag of a device that waits.
const WAITING: u8 = 1;

/// The flag of a device that is on the list of those that are wanted.
const LISTED: u8 = 2;

/// The flag of a device in doubt that was in a tenure which ended with a lapse.
const LAPSED: u8 = 4;

impl CellRecord {
    /// The cell of a device where windows are not shared.
    pub(super) const NEW: Self =
        Self { mark: Mark::NONE, ticket: [0; 8], brought: [0; 3], flags: 0 };

    /// Returns the cell of a new device where windows are shared: it waits.
    pub(super) const fn waiting(brought: BroughtNumber) -> Self {
        Self { brought, flags: WAITING, ..Self::NEW }
    }

    /// Returns true if the device waits for its window.
    pub(super) const fn waits(self) -> bool {
        self.flags & WAITING != 0
    }

    /// Returns true if the device has had events since it was saved.
    pub(super) const fn is_unsaved(self) -> bool {
        self.mark.0 & UNSAVED != 0
    }

    /// Notes whether the device has had events since it was saved.
    pub(super) const fn set_unsaved(&mut self, is_unsaved: bool) {
        let others = self.mark.0 & !UNSAVED;
        self.mark = Mark(others | if is_unsaved { UNSAVED } else { 0 });
    }

    /// Returns the claim by which the device is held; 0 if there is none.
    pub(super) const fn ticket(self) -> u64 {
        u64::from_ne_bytes(self.ticket)
    }

    /// Returns the standing of a held device in a tenure, after the last lapse began another one.
    pub(super) const fn standing(self, tenure: u32, lapse: u32) -> Standing {
        if self.mark.tenure() == tenure && self.mark.0 & UNSURE == 0 {
            Standing::Confirmed
        } else if self.flags & LAPSED != 0 || self.mark.tenure() < lapse {
            Standing::Lapsed
        } else {
            Standing::Reconnected
        }
    }

    /// Notes that the device, which is not confirmed, is wanted in this tenure. Returns true if it
    /// has to be put on the list.
    pub(super) fn want(&mut self, tenure: u32, lapse: u32) -> bool {
        if self.mark.tenure() == tenure {
            return false;
        }
        self.set(LAPSED, self.standing(tenure, lapse) == Standing::Lapsed);
        self.mark = Mark(tenure << TENURE_SHIFT | UNSURE | self.mark.0 & UNSAVED);
        let is_new = self.flags & LISTED == 0;
        self.set(LISTED, true);
        is_new
    }

    /// Returns true if a device that was put on the list of those that are wanted still is, and
    /// takes it off.
    pub(super) const fn take_wanted(&mut self) -> bool {
        let is_wanted = self.flags & LISTED != 0;
        self.set(LISTED, false);
        is_wanted
    }

    /// Confirms a held device in a tenure by a ticket; without a tenure it is in doubt.
    pub(super) const fn confirm(&mut self, ticket: u64, tenure: Option<u32>) {
        self.ticket = ticket.to_ne_bytes();
        self.set(LISTED, false);
        self.set(LAPSED, tenure.is_none());
        // In doubt it is in none, so that its next event is one in a tenure that is new to it.
        let tenure = match tenure {
            Some(tenure) => tenure,
            None => 0,
        };
        self.mark = Mark(tenure << TENURE_SHIFT | self.mark.0 & UNSAVED);
    }

    /// Lets a device wait in this tenure, while its window is put in place. It is not wanted for
    /// that.
    pub(super) const fn suspend(&mut self, tenure: u32) {
        self.set(WAITING, true);
        self.mark = Mark(tenure << TENURE_SHIFT | UNSURE);
    }

    /// Lets the events of a device that waits be like any others, as those of this mark are, until
    /// it is suspended or settled under the same hold.
    pub(super) const fn resume(&mut self, usual: Mark) {
        self.set(WAITING, false);
        self.mark = usual;
    }

    /// Makes a device a held one: confirmed in a tenure by a ticket, or in doubt.
    pub(super) const fn settle(&mut self, ticket: u64, tenure: Option<u32>) {
        *self = Self { brought: self.brought, ..Self::NEW };
        self.confirm(ticket, tenure);
    }

    const fn set(&mut self, flag: u8, is_set: bool) {
        self.flags = if is_set { self.flags | flag } else { self.flags & !flag };
    }
}

/// The standing of a device that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The device is here and nowhere else.
    Confirmed,
    /// It is in doubt, though the others have counted on this instance ever since it was confirmed.
    Reconnected,
    /// It is in doubt, and the others may have given it to another instance meanwhile.
    Lapsed,
}

/// The cell of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// It is unknown here.
    Absent,
    /// Its events wait for its window.
    Waiting,
    /// It is here.
    Held {
        /// The claim by which it is held; 0 if there is none.
        ticket: u64,
        /// The certainty of that.
        standing: Standing,
    },
}
