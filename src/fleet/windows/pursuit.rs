//! A pursuit: the way of a device's window to this replica, from the first event without it.

use std::collections::BTreeSet;

use super::super::directory::Incarnation;
use super::claim::Claim;
use super::envelope::Envelope;

/// The point that a pursuit has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A claim is to be sent.
    ToClaim,
    /// It was sent.
    Claiming,
    /// The window is to come from the replica of the claim before.
    Following(Claim),
    /// All are asked, as nobody knows who had it last.
    Asking {
        /// The number of the question; `None` before it was asked.
        round: Option<u64>,
        /// Those whose answers are awaited.
        awaited: BTreeSet<Incarnation>,
        /// The claims under which others wait.
        open: Vec<Claim>,
    },
    /// All have answered, and the copies are being read.
    Choosing {
        /// As above.
        open: Vec<Claim>,
    },
}

/// See the head of this file.
#[derive(Clone, Debug)]
pub(super) struct Pursuit {
    pub(super) stage: Stage,
    /// Our claim. It stays the same however often it is sent, as its fate may be unknown, and a
    /// copy may have been made out to it.
    pub(super) ticket: u64,
    /// The claims that follow ours: one, unless Redis lost some, or others were told to.
    pub(super) behind: Vec<Claim>,
    /// The copies that were given to us while others have not answered yet.
    pub(super) gifts: Vec<(Incarnation, Envelope)>,
    /// The copy, by its replica and events, that was best when all were asked last, though the one
    /// that should have its window lives.
    pub(super) odd: Option<(Incarnation, u64)>,
    /// The lapses of our lease before it began, or before all were asked.
    pub(super) lapses: u32,
    pub(super) began_ns: u64,
    /// The time at which this stage began.
    pub(super) stage_ns: u64,
    /// The time at which it is to go on by itself.
    pub(super) due_ns: u64,
}

impl Pursuit {
    pub(super) const fn new(ticket: u64, lapses: u32, now_ns: u64) -> Self {
        Self {
            stage: Stage::ToClaim,
            ticket,
            behind: Vec::new(),
            gifts: Vec::new(),
            odd: None,
            lapses,
            began_ns: now_ns,
            stage_ns: now_ns,
            due_ns: u64::MAX,
        }
    }

    /// Returns true if something was given to us that is all there is.
    pub(super) fn has_whole_gift(&self) -> bool {
        self.gifts.iter().any(|(_, envelope)| !envelope.is_partial)
    }

    /// Returns true if this claim is ours, and was sent.
    pub(super) fn has_claimed(&self, ticket: u64) -> bool {
        self.ticket == ticket && self.stage != Stage::ToClaim
    }
}
