//! Confirmations: requests that wait until the store has confirmed their events.
//!
//! Such a request is a waiter. A mark says that the record at a place, an entry of a block, is that
//! of its events; when the record has its outcome, so have they. A record that is replaced hands
//! its marks on to the one that replaces it. A waiter is answered once: when its last event has an
//! outcome, or at its deadline with what is known then. Marks are kept here and not in blocks: they
//! go with their waiters, however long the blocks wait for Redis.
//!
//! Each core has its waiters and the marks of its blocks under one lock. A core takes it for
//! requests that wait, and for a record that is replaced in a block with marks; the writer, for
//! blocks with marks. No answer is given under it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{ACK_ANSWER_BYTES_MAX, ACK_EVENTS_MAX, ACK_WAITERS_MAX, BATCH_EVENTS_MAX};
use crate::store::place::{BlockId, Place, Resolution};
use percore::sync::{Mutex, PerCore};

/// Marks without a waiter that are kept, beside half as many as there are others: to look for them
/// in all marks is worth it then.
const ORPHANS_MAX: usize = 4_096;

/// The events of a waiter by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confirmation {
    /// Confirmed by the store.
    pub stored: u64,
    /// Replaced by a newer event of their key, which is confirmed.
    pub coalesced: u64,
    /// Given up, for any reason for which the store drops events.
    pub dropped: u64,
    /// Without an outcome: they may still be stored.
    pub unknown: u64,
}

impl Confirmation {
    /// Returns true if every event is stored, itself or by the one that replaced it.
    pub const fn is_complete(&self) -> bool {
        self.dropped == 0 && self.unknown == 0
    }
}

/// The answer to a waiter.
pub struct Answer {
    /// Gives it.
    pub give: Box<dyn FnOnce(Confirmation) + Send>,
    /// Bytes of its body until then.
    pub bytes: usize,
}

/// The size of a request that waits, before its events are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestSize {
    /// It has few events.
    Small,
    /// It may have as many as a request can have.
    Large,
}

/// The identity of a waiter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaiterId {
    core: u32,
    number: u64,
}

impl WaiterId {
    /// Returns the core that has its request.
    pub const fn core(self) -> usize {
        self.core as usize
    }
}

/// The outcome of a record with a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Stored,
    Dropped,
}

/// Counts of waiters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaiterTotals {
    /// Those that wait now.
    pub waiting: u64,
    /// Those whose events were all stored.
    pub stored: u64,
    /// Those that were answered otherwise.
    pub unconfirmed: u64,
    /// Requests that were turned away, as too many waited.
    pub refused: u64,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Confirmations {
    cores: PerCore<Mutex<CoreConfirmations>>,
    waiting: AtomicU64,
    stored: AtomicU64,
    unconfirmed: AtomicU64,
    refused: AtomicU64,
    /// The time by which every waiter is answered, as the server ends.
    latest_ns: AtomicU64,
}

#[derive(Default)]
struct CoreConfirmations {
    marks: BTreeMap<Mark, Events>,
    /// The waiters by number, which is the order of their deadlines.
    waiters: BTreeMap<u64, Waiter>,
    /// The number of the next waiter.
    next: u64,
    /// Events of the waiters without an outcome.
    awaited: u64,
    /// Bytes of the answers that the waiters have prepared.
    answer_bytes: usize,
}

/// A place in a block of this core, and a waiter for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    block: u64,
    /// A block has fewer entries than bytes.
    entry: u32,
    /// Perhaps of another core: cores may have records of the same key.
    waiter: WaiterId,
}

/// The events of a waiter that have the outcome of a record.
#[derive(Clone, Copy, Debug, Default)]
struct Events {
    /// Those that it was made of.
    own: u32,
    /// Those that it replaced.
    replaced: u32,
}

impl Mark {
    const fn new(block: BlockId, entry: usize, waiter: WaiterId) -> Self {
        Self { block: block.number, entry: entry as u32, waiter }
    }
}

#[derive(Default)]
struct Waiter {
    known: Confirmation,
    /// Events without an outcome.
    awaited: u64,
    /// Set once all of its events are marked.
    prepared: Option<Prepared>,
}

struct Prepared {
    answer: Answer,
    deadline_ns: u64,
}

/// A waiter that is to be answered, once no lock is held.
type Finished = (Answer, Confirmation);

impl std::fmt::Debug for CoreConfirmations {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (waiters, marks) = (self.waiters.len(), self.marks.len());
        out.debug_struct("CoreConfirmations")
            .field("waiters", &waiters)
            .field("marks", &marks)
            .finish_non_exhaustive()
    }
}

impl Confirmations {
    pub(crate) fn new(cores: usize) -> Self {
        Self {
            cores: PerCore::new(cores, |_| Mutex::default()),
            waiting: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            unconfirmed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            latest_ns: AtomicU64::new(u64::MAX),
        }
    }

    /// Begins a waiter of a core; `None` if too many requests or events wait there already.
    pub(crate) fn begin(&self, core: usize, size: RequestSize) -> Option<WaiterId> {
        let mut of_core = self.cores.at(core).lock();
        if of_core.is_full(size) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let number = of_core.next;
        of_core.next += 1;
        of_core.waiters.insert(number, Waiter::default());
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Some(WaiterId { core: core as u32, number })
    }

    /// Forgets a waiter that is answered in another way.
    pub(crate) fn cancel(&self, waiter: WaiterId) {
        let mut of_core = self.cores.at(waiter.core()).lock();
        if of_core.waiters.contains_key(&waiter.number) {
            of_core.remove(waiter.number);
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Marks the records at these entries of a block, each as that of one event of a waiter.
    pub(crate) fn mark(&self, block: BlockId, entries: Range<usize>, waiter: WaiterId) {
        debug_assert_eq!(block.core, waiter.core());
        let mut of_core = self.cores.at(block.core).lock();
        let events = entries.len() as u64;
        for entry in entries {
            of_core.marks.entry(Mark::new(block, entry, waiter)).or_default().own += 1;
        }
        of_core.awaited += events;
        if let Some(waiter) = of_core.waiters.get_mut(&waiter.number) {
            waiter.awaited += events;
        }
    }

    /// Prepares the answer to a waiter whose events are all marked. It is given by
    /// `deadline_ns` of the monotonic clock, and perhaps before this returns. Of one core no
    /// deadline is before an earlier one.
    pub(crate) fn prepare(&self, waiter: WaiterId, deadline_ns: u64, answer: Answer) {
        let finished = {
            let mut of_core = self.cores.at(waiter.core()).lock();
            of_core.answer_bytes += answer.bytes;
            if let Some(waiter) = of_core.waiters.get_mut(&waiter.number) {
                waiter.prepared = Some(Prepared { answer, deadline_ns });
            }
            of_core.take_finished(waiter.number)
        };
        self.give(finished);
    }

    /// Adopts news of places, and answers the waiters that have none to wait for any more.
    pub(crate) fn resolve(&self, resolution: Resolution) {
        match resolution {
            Resolution::Stored(block, entries) => self.settle(block, entries, Outcome::Stored),
            Resolution::Dropped(block, entries) => self.settle(block, entries, Outcome::Dropped),
            Resolution::Replaced(from, to) => self.replace(from, to),
        }
    }

    /// Hands the marks at a place on to the record that has replaced the one there; it may have
    /// been written to the same place.
    pub(crate) fn replace(&self, from: Place, to: Place) {
        let entries = from.entry..from.entry + 1;
        let marks = self.cores.at(from.block.core).lock().take_marks(from.block, entries);
        let mut of_core = self.cores.at(to.block.core).lock();
        for (Mark { waiter, .. }, events) in marks {
            // What has no waiter any more ends here.
            if waiter.core() == to.block.core && !of_core.waiters.contains_key(&waiter.number) {
                continue;
            }
            let mark = Mark::new(to.block, to.entry, waiter);
            of_core.marks.entry(mark).or_default().replaced += events.own + events.replaced;
        }
    }

    fn settle(&self, block: BlockId, entries: Range<usize>, outcome: Outcome) {
        let marks = self.cores.at(block.core).lock().take_marks(block, entries);
        for (Mark { waiter, .. }, events) in marks {
            let finished = {
                let mut of_core = self.cores.at(waiter.core()).lock();
                of_core.note(waiter.number, events, outcome);
                of_core.take_finished(waiter.number)
            };
            self.give(finished);
        }
    }

    /// Answers the waiters of a core whose deadline has come. Returns the next deadline.
    pub(crate) fn expire(&self, core: usize, now_ns: u64) -> Option<u64> {
        let latest_ns = self.latest_ns.load(Ordering::Acquire);
        loop {
            let finished = {
                let mut of_core = self.cores.at(core).lock();
                let first = of_core.waiters.first_key_value();
                let first = first.and_then(|(number, waiter)| {
                    Some((*number, waiter.prepared.as_ref()?.deadline_ns.min(latest_ns)))
                });
                match first {
                    Some((number, deadline_ns)) if deadline_ns <= now_ns => of_core.remove(number),
                    _ => {
                        of_core.purge(core);
                        return first.map(|(_, deadline_ns)| deadline_ns);
                    }
                }
            };
            self.give(finished);
        }
    }

    /// Sets the time by which every waiter is answered, those that come later included.
    pub(crate) fn end_by(&self, latest_ns: u64) {
        self.latest_ns.store(latest_ns, Ordering::Release);
    }

    /// Returns the number of waiters.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn totals(&self) -> WaiterTotals {
        WaiterTotals {
            waiting: self.waiting(),
            stored: self.stored.load(Ordering::Relaxed),
            unconfirmed: self.unconfirmed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Answers a waiter that was removed; no lock is held.
    fn give(&self, finished: Option<Finished>) {
        let Some((answer, confirmation)) = finished else {
            return;
        };
        let outcome = if confirmation.is_complete() { &self.stored } else { &self.unconfirmed };
        outcome.fetch_add(1, Ordering::Relaxed);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        (answer.give)(confirmation);
    }
}

impl CoreConfirmations {
    fn is_full(&self, size: RequestSize) -> bool {
        let (events_max, answer_bytes_max) = match size {
            RequestSize::Small => (ACK_EVENTS_MAX, ACK_ANSWER_BYTES_MAX),
            RequestSize::Large => (ACK_EVENTS_MAX - BATCH_EVENTS_MAX, ACK_ANSWER_BYTES_MAX / 2),
        };
        self.waiters.len() >= ACK_WAITERS_MAX
            || self.awaited >= events_max as u64
            || self.answer_bytes >= answer_bytes_max
    }

    /// Removes the marks at these entries of a block, and returns them.
    fn take_marks(&mut self, block: BlockId, entries: Range<usize>) -> Vec<(Mark, Events)> {
        let mark = |entry| Mark::new(block, entry, WaiterId::default());
        let range = mark(entries.start)..mark(entries.end);
        self.marks.extract_if(range, |_, _| true).collect()
    }

    /// Notes the outcome of events of a waiter, if it still waits.
    fn note(&mut self, number: u64, events: Events, outcome: Outcome) {
        let Some(waiter) = self.waiters.get_mut(&number) else {
            return;
        };
        let Events { own, replaced } = events;
        let [own, replaced] = [own, replaced].map(u64::from);
        let all = own + replaced;
        match outcome {
            Outcome::Stored => {
                waiter.known.stored += own;
                waiter.known.coalesced += replaced;
            }
            Outcome::Dropped => waiter.known.dropped += all,
        }
        waiter.awaited -= all;
        self.awaited -= all;
    }

    /// Removes a waiter if it is prepared and nothing is awaited any more.
    fn take_finished(&mut self, number: u64) -> Option<Finished> {
        let waiter = self.waiters.get(&number)?;
        if waiter.awaited > 0 || waiter.prepared.is_none() {
            return None;
        }
        self.remove(number)
    }

    /// Removes a waiter. Returns its answer, if that was prepared.
    fn remove(&mut self, number: u64) -> Option<Finished> {
        let Waiter { known, awaited, prepared } = self.waiters.remove(&number)?;
        self.awaited -= awaited;
        let Prepared { answer, .. } = prepared?;
        self.answer_bytes -= answer.bytes;
        Some((answer, Confirmation { unknown: awaited, ..known }))
    }

    /// Removes the marks whose waiters were answered at their deadlines, if they are many. Those of
    /// other cores' waiters are few: they came from the blocks in flight.
    fn purge(&mut self, core: usize) {
        let awaited = usize::try_from(self.awaited).unwrap_or(0);
        if self.marks.len() > awaited + awaited / 2 + ORPHANS_MAX {
            let waiters = &self.waiters;
            self.marks.retain(|mark, _| {
                mark.waiter.core() != core || waiters.contains_key(&mark.waiter.number)
            });
        }
    }
}
