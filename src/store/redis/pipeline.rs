//! What is on its way: blocks in flight, and the outcome of each of their commands.
//!
//! Pure: no socket, no clock, no counter. A command is final at its first final reply, and a cursor
//! in each block keeps what is final from being sent or counted again. Replies come in the order of
//! the commands; after an error that is to be retried whatever was sent behind it is sent again as
//! well. What is sent again never overwrites a newer value of its key: if there is one in flight,
//! the older is given up.

use std::collections::{HashSet, VecDeque};

use super::failure::Treatment;
use super::link::Reply;
use crate::limits::STORE_BLOCKS_IN_FLIGHT;
use crate::store::block::Block;
use crate::store::encoding::encode_set;

const SECOND_NS: u64 = 1_000_000_000;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Pipeline {
    blocks: VecDeque<Flying>,
    ttl_ns: u64,
    /// Whether a reply asked for a retry: those behind it are only waited for.
    rejected: bool,
    /// Records without a final reply.
    pending: u64,
    outcome: Outcome,
}

/// A block in flight.
#[derive(Debug)]
struct Flying {
    block: Block,
    /// The entry of the first record without a final reply.
    cursor: usize,
    /// Commands on the wire whose replies have not come.
    awaited: u64,
    is_sent: bool,
    sent_ns: u64,
    /// The bytes to send where the block's own will not do.
    again: Vec<u8>,
}

/// Final outcomes, in events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) stored: u64,
    pub(super) coalesced: u64,
    pub(super) refused: u64,
    pub(super) expired: u64,
}

/// What a reply asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: go on.
    GoOn,
    /// Nothing more is on the wire; wait, and send again what is not final.
    Pause,
    /// Another connection.
    Reconnect,
}

impl Pipeline {
    pub(super) const fn new(ttl_ns: u64) -> Self {
        let outcome = Outcome { stored: 0, coalesced: 0, refused: 0, expired: 0 };
        Self { blocks: VecDeque::new(), ttl_ns, rejected: false, pending: 0, outcome }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.blocks.len() >= STORE_BLOCKS_IN_FLIGHT
    }

    /// Takes a settled block in, behind the others.
    pub(super) fn push(&mut self, block: Block) {
        self.pending += block.live();
        self.blocks.push_back(Flying {
            block,
            cursor: 0,
            awaited: 0,
            is_sent: false,
            sent_ns: 0,
            again: Vec::new(),
        });
    }

    /// The bytes of the next block that has not been sent, which from now on counts as sent.
    /// Records that have expired are given up first.
    pub(super) fn next_unsent(&mut self, now_ns: u64) -> Option<&[u8]> {
        let ttl_ns = self.ttl_ns;
        let unsent = self.blocks.iter_mut().filter(|flying| !flying.is_sent);
        for flying in unsent {
            flying.is_sent = true;
            flying.sent_ns = now_ns;
            let expired = flying.prepare(ttl_ns, now_ns);
            self.outcome.expired += expired;
            self.pending -= expired;
            if flying.awaited > 0 {
                return Some(flying.bytes());
            }
        }
        None
    }

    /// Takes the next reply.
    pub(super) fn take(&mut self, reply: &Reply) -> Next {
        let Some(flying) = self.blocks.iter_mut().find(|flying| flying.awaited > 0) else {
            // A reply to nothing: the connection is out of step.
            return Next::Reconnect;
        };
        flying.awaited -= 1;
        if !self.rejected {
            let treatment = match reply {
                Reply::Ok => None,
                Reply::Error(fault) => Some(fault.kind.treatment()),
            };
            match treatment {
                None => {
                    flying.finish_one();
                    self.outcome.stored += 1;
                    self.pending -= 1;
                }
                Some(Treatment::Drop) => {
                    flying.finish_one();
                    self.outcome.refused += 1;
                    self.pending -= 1;
                }
                Some(Treatment::Retry) => self.rejected = true,
                Some(Treatment::Reconnect) => return Next::Reconnect,
            }
        }
        if self.rejected && !self.awaits() {
            self.rewind();
            return Next::Pause;
        }
        Next::GoOn
    }

    /// Whether a reply has asked for a retry, so that none of those behind it counts.
    pub(super) const fn is_rejected(&self) -> bool {
        self.rejected
    }

    /// Whether replies are on their way.
    pub(super) fn awaits(&self) -> bool {
        self.blocks.iter().any(|flying| flying.awaited > 0)
    }

    /// Whether the first block waits for replies.
    pub(super) fn first_awaits(&self) -> bool {
        self.rejected && self.awaits() || self.blocks.front().is_some_and(|f| f.awaited > 0)
    }

    /// Forgets what is on the wire: all that is not final is to be sent again. Of several records
    /// of one key only the newest is: it may have been written already, and must stay.
    pub(super) fn rewind(&mut self) {
        self.rejected = false;
        let mut newer: HashSet<&[u8]> = HashSet::new();
        let mut replaced = Vec::new();
        for (place, flying) in self.blocks.iter().enumerate().rev() {
            // Inside one block each key has one record.
            for (entry, record) in flying.block.records_from(flying.cursor) {
                if !newer.insert(record.key) {
                    replaced.push((place, entry));
                }
            }
        }
        drop(newer);
        for (place, entry) in replaced {
            if let Some(flying) = self.blocks.get_mut(place) {
                flying.block.give_up(entry);
                self.outcome.coalesced += 1;
                self.pending -= 1;
            }
        }
        for flying in &mut self.blocks {
            flying.is_sent = false;
            flying.awaited = 0;
        }
    }

    /// The first block, if all of its records are final, and when it was sent.
    pub(super) fn pop_done(&mut self) -> Option<(Block, u64)> {
        let first = self.blocks.front()?;
        if !first.is_sent || first.awaited > 0 || first.block.next_live(first.cursor).is_some() {
            return None;
        }
        self.blocks.pop_front().map(|flying| (flying.block, flying.sent_ns))
    }

    /// What became final since the last call.
    pub(super) fn take_outcome(&mut self) -> Outcome {
        std::mem::take(&mut self.outcome)
    }

    /// Records that have no final reply.
    pub(super) const fn pending(&self) -> u64 {
        self.pending
    }

    /// Gives everything up: the blocks, and how many of their records have no outcome.
    pub(super) fn abandon(&mut self) -> (u64, impl Iterator<Item = Block>) {
        let blocks = self.blocks.drain(..).map(|flying| flying.block);
        (std::mem::take(&mut self.pending), blocks)
    }
}

impl Flying {
    /// Makes the bytes of all records that are not final, and says how many have expired.
    fn prepare(&mut self, ttl_ns: u64, now_ns: u64) -> u64 {
        let mut expired = 0;
        let is_fresh = self.block.age_ns(now_ns) < SECOND_NS;
        if !is_fresh && let Some(until_ns) = now_ns.checked_sub(ttl_ns) {
            expired = self.block.expire(self.cursor, until_ns);
        }
        self.again.clear();
        if is_fresh && self.cursor == 0 && self.block.encoded().is_some() {
            self.awaited = self.block.live();
            return expired;
        }
        self.awaited = 0;
        for (_, record) in self.block.records_from(self.cursor) {
            let left_ns = record.entered_ns.saturating_add(ttl_ns).saturating_sub(now_ns);
            let ttl_s = u32::try_from(left_ns.div_ceil(SECOND_NS)).unwrap_or(u32::MAX).max(1);
            encode_set(record.key, record.value, ttl_s, &mut self.again);
            self.awaited += 1;
        }
        expired
    }

    fn bytes(&self) -> &[u8] {
        if self.again.is_empty() { self.block.encoded().unwrap_or_default() } else { &self.again }
    }

    /// Moves the cursor past the first record that is not final.
    fn finish_one(&mut self) {
        if let Some(entry) = self.block.next_live(self.cursor) {
            self.cursor = entry + 1;
        }
    }
}
