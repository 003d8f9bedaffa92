//! The pipeline: blocks in flight, and the outcome of each of their commands.
//!
//! Pure: no socket, no clock, no counter. A command has its outcome at its first final reply, and a
//! cursor in each block keeps it from being sent or counted again. Replies come in the order of the
//! commands; after an error that asks for a retry all commands behind it are sent again as well. A
//! command that is sent again never overwrites a newer value of its key: if one is in flight, the
//! older record is discarded.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use super::error::RetryPolicy;
use super::link::Reply;
use crate::limits::STORE_BLOCKS_IN_FLIGHT;
use crate::store::block::Block;
use crate::store::encoding::encode_set;
use crate::store::place::{Place, Resolution};

const SECOND_NS: u64 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct Pipeline {
    blocks: VecDeque<InFlight>,
    ttl_ns: u64,
    /// True after a reply that asks for a retry: the outcome of those behind it does not count.
    must_resend: bool,
    /// Records without an outcome.
    pending: u64,
    outcome: Outcome,
    /// News of records that requests may wait for, since they were taken last.
    resolutions: Vec<Resolution>,
}

/// A block whose commands do not all have an outcome.
#[derive(Debug)]
struct InFlight {
    block: Block,
    /// The entry of the first record without an outcome.
    cursor: usize,
    /// Commands that were sent and whose replies have not come.
    awaited: u64,
    is_sent: bool,
    sent_ns: u64,
    /// The bytes to send instead of the block's own, if those cannot be sent as they are.
    reencoded: Vec<u8>,
}

/// Counts of outcomes, in events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) stored: u64,
    pub(super) coalesced: u64,
    pub(super) refused: u64,
    pub(super) expired: u64,
}

/// The next step after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterReply {
    /// Take the next reply.
    Continue,
    /// All replies have come; wait, and send again what has no outcome.
    Pause,
    /// Open a new connection.
    Reconnect,
}

impl Pipeline {
    pub(super) const fn new(ttl_ns: u64) -> Self {
        let outcome = Outcome { stored: 0, coalesced: 0, refused: 0, expired: 0 };
        Self {
            blocks: VecDeque::new(),
            ttl_ns,
            must_resend: false,
            pending: 0,
            outcome,
            resolutions: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.blocks.len() >= STORE_BLOCKS_IN_FLIGHT
    }

    /// Adds a block, whose coalesced events have been counted, behind the others.
    pub(super) fn push(&mut self, block: Block) {
        self.pending += block.live();
        self.blocks.push_back(InFlight {
            block,
            cursor: 0,
            awaited: 0,
            is_sent: false,
            sent_ns: 0,
            reencoded: Vec::new(),
        });
    }

    /// Returns the bytes of the next block that was not sent, and marks it as sent. Expired records
    /// are discarded first.
    pub(super) fn next_unsent(&mut self, now_ns: u64) -> Option<&[u8]> {
        let ttl_ns = self.ttl_ns;
        let unsent = self.blocks.iter_mut().filter(|in_flight| !in_flight.is_sent);
        for in_flight in unsent {
            in_flight.is_sent = true;
            in_flight.sent_ns = now_ns;
            let expired = in_flight.prepare_send(ttl_ns, now_ns);
            if expired > 0 && in_flight.block.is_awaited() {
                // Other records that are dead have no mark any more.
                let id = in_flight.block.id();
                let dead = in_flight.block.dead_from(in_flight.cursor);
                self.resolutions.extend(dead.map(|at| Resolution::Dropped(id, at..at + 1)));
            }
            self.outcome.expired += expired;
            self.pending -= expired;
            if in_flight.awaited > 0 {
                return Some(in_flight.bytes());
            }
        }
        None
    }

    /// Handles the next replies.
    pub(super) fn handle_reply(&mut self, reply: &Reply) -> AfterReply {
        let is_expected = match reply {
            Reply::Ok { count } => self.handle_oks(*count as u64),
            Reply::Error(error) => match error.kind.retry_policy() {
                RetryPolicy::Reconnect if !self.must_resend => return AfterReply::Reconnect,
                policy => self.handle_error(policy),
            },
        };
        if !is_expected {
            // No command waits for a reply: replies and commands do not match.
            return AfterReply::Reconnect;
        }
        if self.must_resend && !self.awaits_replies() {
            self.rewind();
            return AfterReply::Pause;
        }
        AfterReply::Continue
    }

    /// Handles so many replies of `+OK`. Returns false if fewer are awaited.
    fn handle_oks(&mut self, mut count: u64) -> bool {
        for in_flight in &mut self.blocks {
            let here = count.min(in_flight.awaited);
            in_flight.awaited -= here;
            count -= here;
            if !self.must_resend {
                let entries = in_flight.complete_records(here);
                if !entries.is_empty() && in_flight.block.is_awaited() {
                    self.resolutions.push(Resolution::Stored(in_flight.block.id(), entries));
                }
                self.outcome.stored += here;
                self.pending -= here;
            }
            if count == 0 {
                return true;
            }
        }
        false
    }

    /// Handles an error reply. Returns false if none is awaited.
    fn handle_error(&mut self, policy: RetryPolicy) -> bool {
        let Some(in_flight) = self.blocks.iter_mut().find(|in_flight| in_flight.awaited > 0) else {
            return false;
        };
        in_flight.awaited -= 1;
        if self.must_resend {
            return true;
        }
        if policy == RetryPolicy::Drop {
            let entries = in_flight.complete_records(1);
            if in_flight.block.is_awaited() {
                self.resolutions.push(Resolution::Dropped(in_flight.block.id(), entries));
            }
            self.outcome.refused += 1;
            self.pending -= 1;
        } else {
            self.must_resend = true;
        }
        true
    }

    /// Returns true if a reply has asked for a retry, so that the replies behind it do not count.
    pub(super) const fn must_resend(&self) -> bool {
        self.must_resend
    }

    /// Returns true if replies have not come.
    pub(super) fn awaits_replies(&self) -> bool {
        self.blocks.iter().any(|in_flight| in_flight.awaited > 0)
    }

    /// Returns the number of replies that have not come.
    pub(super) fn awaited(&self) -> u64 {
        self.blocks.iter().map(|in_flight| in_flight.awaited).sum()
    }

    /// Returns true if replies to the first block have not come.
    pub(super) fn first_awaits_replies(&self) -> bool {
        self.must_resend && self.awaits_replies()
            || self.blocks.front().is_some_and(|f| f.awaited > 0)
    }

    /// Marks all commands without an outcome as not sent. Of several records of one key only the
    /// newest is kept: it may have been written already, and must not be overwritten.
    pub(super) fn rewind(&mut self) {
        self.must_resend = false;
        let mut newest: HashMap<&[u8], (usize, Place)> = HashMap::new();
        let mut replaced = Vec::new();
        for (index, in_flight) in self.blocks.iter().enumerate().rev() {
            let block = in_flight.block.id();
            // Inside one block each key has one record.
            for (entry, record) in in_flight.block.records_from(in_flight.cursor) {
                let place = (index, Place { block, entry });
                let by = *newest.entry(record.key).or_insert(place);
                if by != place {
                    replaced.push((place, by));
                }
            }
        }
        drop(newest);
        for ((index, place), (by_index, by)) in replaced {
            let Some(in_flight) = self.blocks.get_mut(index) else {
                continue;
            };
            in_flight.block.discard(place.entry);
            self.outcome.coalesced += 1;
            self.pending -= 1;
            if in_flight.block.is_awaited() {
                self.resolutions.push(Resolution::Replaced(place, by));
                if let Some(newer) = self.blocks.get_mut(by_index) {
                    newer.block.set_awaited();
                }
            }
        }
        for in_flight in &mut self.blocks {
            in_flight.is_sent = false;
            in_flight.awaited = 0;
        }
    }

    /// Removes the first block if all of its records have an outcome. Returns it and its send time.
    pub(super) fn pop_complete(&mut self) -> Option<(Block, u64)> {
        let first = self.blocks.front()?;
        if !first.is_sent || first.awaited > 0 || first.block.next_live(first.cursor).is_some() {
            return None;
        }
        self.blocks.pop_front().map(|in_flight| (in_flight.block, in_flight.sent_ns))
    }

    /// Returns the outcomes since the last call.
    pub(super) fn take_outcome(&mut self) -> Outcome {
        std::mem::take(&mut self.outcome)
    }

    /// Returns the news of records that requests may wait for, since the last call.
    pub(super) fn take_resolutions(&mut self) -> Vec<Resolution> {
        std::mem::take(&mut self.resolutions)
    }

    /// Returns the number of records without an outcome.
    pub(super) const fn pending(&self) -> u64 {
        self.pending
    }

    /// Removes all blocks. Returns the number of records without an outcome, and the blocks, each
    /// with the entry of the first such record.
    pub(super) fn drain(&mut self) -> (u64, Vec<(Block, usize)>) {
        let blocks = self.blocks.drain(..).map(|in_flight| (in_flight.block, in_flight.cursor));
        (std::mem::take(&mut self.pending), blocks.collect())
    }
}

impl InFlight {
    /// Prepares the bytes of all records without an outcome. Returns the number of expired records.
    fn prepare_send(&mut self, ttl_ns: u64, now_ns: u64) -> u64 {
        let mut expired = 0;
        let ttl_ns = if self.block.has_deadlines() { 0 } else { ttl_ns };
        let is_fresh = !self.block.has_deadlines() && self.block.age_ns(now_ns) < SECOND_NS;
        if !is_fresh && let Some(until_ns) = now_ns.checked_sub(ttl_ns) {
            expired = self.block.expire(self.cursor, until_ns);
        }
        self.reencoded.clear();
        if is_fresh && self.cursor == 0 && self.block.encoded().is_some() {
            self.awaited = self.block.live();
            return expired;
        }
        self.awaited = 0;
        for (_, record) in self.block.records_from(self.cursor) {
            let left_ns = record.entered_ns.saturating_add(ttl_ns).saturating_sub(now_ns);
            let ttl_s = u32::try_from(left_ns.div_ceil(SECOND_NS)).unwrap_or(u32::MAX).max(1);
            encode_set(record.key, record.value, ttl_s, &mut self.reencoded);
            self.awaited += 1;
        }
        expired
    }

    fn bytes(&self) -> &[u8] {
        if self.reencoded.is_empty() {
            self.block.encoded().unwrap_or_default()
        } else {
            &self.reencoded
        }
    }

    /// Moves the cursor past the first `count` records without an outcome, and returns the entries
    /// that it has passed.
    fn complete_records(&mut self, count: u64) -> Range<usize> {
        let first = self.cursor;
        if self.block.encoded().is_some() {
            // Each entry has a live record.
            self.cursor += count as usize;
            return first..self.cursor;
        }
        for _ in 0..count {
            if let Some(entry) = self.block.next_live(self.cursor) {
                self.cursor = entry + 1;
            }
        }
        first..self.cursor
    }
}
