//! What the writer does next: connect, send, wait for replies, pause, or wait for work.
//!
//! The decisions are here and the waiting is not: each [`Writer::step`] does one thing at a given
//! time and says when it wants the next, so a simulation can run it against a server of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::failure::{Fault, Kind, Treatment};
use super::link::{Dialer, Identity, Link, Reply};
use super::pipeline::{Next, Outcome, Pipeline};
use super::watch::Watch;
use super::{Shared, Trouble};
use crate::limits::{
    STORE_BACKOFF_MS_MAX, STORE_BACKOFF_MS_MIN, STORE_DIAL_MS_MAX, STORE_MOVE_MS_MAX,
    STORE_PING_MS, STORE_REPLY_MS_MAX,
};
use crate::store::block::Block;
use crate::store::event_counters::DropReason;

/// Connections at servers that are gone are remembered up to so many, the latest ones.
const ABANDONED_MAX: usize = 256;

/// Replies taken between two looks at the clock.
const REPLIES_PER_STEP: usize = 64;

/// An event waits no longer than this for its block to be filled, while Redis takes any.
const COLLECT_NS: u64 = 50 * MILLISECOND_NS;

/// An idle connection is tried after this long.
const PING_NS: u64 = STORE_PING_MS * MILLISECOND_NS;

const MILLISECOND_NS: u64 = 1_000_000;

/// See the head of this file.
pub(super) struct Writer<D: Dialer> {
    shared: Arc<Shared>,
    dialer: D,
    link: Option<D::Link>,
    pipeline: Pipeline,
    /// Connections that were given up and may still have commands to run.
    abandoned: Vec<Identity>,
    backoff: Backoff,
    /// Nothing is sent before this time.
    resume_ns: u64,
    has_connected: bool,
    watch: Watch,
    last_fault: Fault,
    /// When to ask whether it is there, if there is nothing to write.
    ask_at_ns: u64,
    /// When to ask the cores again for what they have open.
    next_collect_ns: u64,
    has_warned: bool,
    /// Since when nothing was stored for a slot that is being moved.
    moving_since_ns: Option<u64>,
    /// When to be gone, once the server stops.
    deadline_ns: Option<u64>,
}

/// What the writer wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Another step at once.
    Step,
    /// A step at this time, or when the server stops.
    Sleep { until_ns: u64 },
    /// A block, or a step at this time.
    Work { until_ns: u64 },
    /// Nothing: everything has its outcome, and the server stops.
    End,
}

impl<D: Dialer> Writer<D> {
    pub(super) fn new(shared: Arc<Shared>, dialer: D, ttl_ns: u64, seed: u64) -> Self {
        Self {
            shared,
            dialer,
            link: None,
            pipeline: Pipeline::new(ttl_ns),
            abandoned: Vec::new(),
            backoff: Backoff::new(seed),
            resume_ns: 0,
            has_connected: false,
            watch: Watch::default(),
            last_fault: Fault::from(Kind::Other),
            ask_at_ns: 0,
            next_collect_ns: 0,
            has_warned: false,
            moving_since_ns: None,
            deadline_ns: None,
        }
    }

    /// Writes what there is until `deadline_ns`, and ends.
    pub(super) fn stop(&mut self, deadline_ns: u64) {
        self.deadline_ns = Some(deadline_ns);
        // No pause may outlast the chance to write.
        self.resume_ns = 0;
        self.backoff.reset();
    }

    /// Takes a block that the queue gave while the writer waited.
    pub(super) fn take(&mut self, block: Block) {
        self.shared.queue.note_taken(&block);
        self.shared.queue.set_idle(false);
        self.pipeline.push(block);
    }

    /// Does one thing.
    pub(super) fn step(&mut self, now_ns: u64) -> Wish {
        // Blocks that the step before completed: their replies had come by now.
        while let Some((block, sent_ns)) = self.pipeline.pop_done() {
            self.shared.observer.flushed(now_ns.saturating_sub(sent_ns));
            self.shared.queue.give_back(block);
        }
        let wish = self.act(now_ns);
        self.publish(now_ns);
        self.shared.observer.tick(now_ns);
        wish
    }

    fn act(&mut self, now_ns: u64) -> Wish {
        if self.deadline_ns.is_some_and(|deadline_ns| now_ns >= deadline_ns) {
            self.give_up(now_ns);
            return Wish::End;
        }
        self.fill();
        if self.deadline_ns.is_some() && self.pipeline.is_empty() {
            return Wish::End;
        }
        if now_ns < self.resume_ns {
            return Wish::Sleep { until_ns: self.bounded(self.resume_ns) };
        }
        if self.link.is_none() {
            return self.connect(now_ns);
        }
        if now_ns >= self.next_collect_ns {
            self.next_collect_ns = now_ns + COLLECT_NS;
            self.shared.collect_open();
            self.fill();
        }
        if self.pipeline.is_empty() {
            return self.rest(now_ns);
        }
        match self.exchange(now_ns) {
            Ok(Next::GoOn) => Wish::Step,
            Ok(Next::Pause) => self.pause(now_ns),
            Ok(Next::Reconnect) => self.lose(now_ns),
            Err(fault) => self.lose_by(now_ns, fault),
        }
    }

    /// Redis refuses for now: what is not final is sent again after a while.
    fn pause(&mut self, now_ns: u64) -> Wish {
        // A cluster that moves a slot is up, for as long as that may take.
        let is_moving = matches!(self.last_fault.kind, Kind::Ask | Kind::TryAgain) && {
            let since_ns = *self.moving_since_ns.get_or_insert(now_ns);
            now_ns.saturating_sub(since_ns) < STORE_MOVE_MS_MAX * MILLISECOND_NS
        };
        if !is_moving {
            self.note_down(now_ns);
        }
        self.resume_ns = now_ns + self.backoff.next_ns();
        Wish::Step
    }

    /// Redis does as it should.
    fn note_up(&mut self, now_ns: u64) {
        self.shared.up.store(true, Ordering::Relaxed);
        if let Some(news) = self.watch.up(now_ns) {
            self.shared.observer.came_up(&news);
        }
    }

    /// Redis does not: the last fault says how.
    fn note_down(&mut self, now_ns: u64) {
        self.shared.up.store(false, Ordering::Relaxed);
        if let Some(news) = self.watch.down(now_ns, self.last_fault.kind) {
            let waiting = self.shared.counters.totals().pending();
            let Fault { kind, server, said } = &self.last_fault;
            self.shared.observer.went_down(&Trouble {
                server,
                kind: kind.name(),
                said,
                outage: news,
                waiting,
            });
        }
    }

    /// Takes blocks from the queue.
    fn fill(&mut self) {
        if self.deadline_ns.is_some() && self.pipeline.is_empty() {
            self.shared.collect_open();
        }
        while !self.pipeline.is_full()
            && let Some(block) = self.shared.queue.pop()
        {
            self.pipeline.push(block);
        }
    }

    /// Nothing is in flight or queued: takes what is open, or waits for the first core to end a
    /// turn. The cores see that we are idle before we look, so what we do not find they hand over.
    fn rest(&mut self, now_ns: u64) -> Wish {
        self.shared.queue.set_idle(true);
        self.shared.collect_open();
        self.fill();
        if !self.pipeline.is_empty() {
            self.shared.queue.set_idle(false);
            return Wish::Step;
        }
        if now_ns < self.ask_at_ns {
            return Wish::Work { until_ns: self.ask_at_ns };
        }
        // An idle connection tells nothing of a server that is gone.
        match self.link.as_mut().map(Link::ping) {
            Some(Ok(())) => {
                self.backoff.reset();
                self.ask_at_ns = now_ns + PING_NS;
                self.note_up(now_ns);
                Wish::Step
            }
            Some(Err(fault)) => self.lose_by(now_ns, fault),
            None => Wish::Step,
        }
    }

    fn connect(&mut self, now_ns: u64) -> Wish {
        let left_ns = self.deadline_ns.map_or(u64::MAX, |deadline_ns| deadline_ns - now_ns);
        let patience = Duration::from_nanos(left_ns.min(STORE_DIAL_MS_MAX * MILLISECOND_NS));
        match self.dialer.dial(patience, &mut self.abandoned) {
            Ok(link) => {
                if std::mem::replace(&mut self.has_connected, true) {
                    self.shared.reconnects.fetch_add(1, Ordering::Relaxed);
                }
                if link.identities().is_empty() && !std::mem::replace(&mut self.has_warned, true) {
                    self.shared.observer.cannot_fence();
                }
                self.link = Some(link);
                // A greeting says little: who has nothing to write asks at once.
                self.ask_at_ns = now_ns;
                Wish::Step
            }
            Err(fault) => self.lose_by(now_ns, fault),
        }
    }

    /// Sends what has not been sent, and takes some replies of the first block: few enough that a
    /// server which is slow with each keeps nobody from stopping us, nor from reading the books.
    fn exchange(&mut self, now_ns: u64) -> Result<Next, Fault> {
        let Some(link) = &mut self.link else {
            return Ok(Next::GoOn);
        };
        if let Some(deadline_ns) = self.deadline_ns {
            let left = Duration::from_nanos(deadline_ns.saturating_sub(now_ns).max(1));
            link.set_patience(left.min(Duration::from_millis(STORE_REPLY_MS_MAX)));
        }
        while let Some(commands) = self.pipeline.next_unsent(now_ns) {
            link.send(commands)?;
        }
        let (mut stored, mut refused) = (false, false);
        for _ in 0..REPLIES_PER_STEP {
            if !self.pipeline.first_awaits() {
                break;
            }
            let reply = link.receive()?;
            // What comes behind a refusal is sent again.
            let is_final = !self.pipeline.is_rejected();
            let next = self.pipeline.take(&reply);
            match reply {
                Reply::Ok if is_final => {
                    stored = true;
                    self.backoff.reset();
                }
                Reply::Ok => {}
                Reply::Error(fault) => {
                    self.shared.errors.writer.add(fault.kind);
                    refused |= fault.kind.treatment() == Treatment::Drop;
                    self.last_fault = fault;
                }
            }
            if next != Next::GoOn {
                return Ok(next);
            }
            if self.shared.stopping.load(Ordering::Relaxed) {
                break;
            }
        }
        // Without a reply nothing is known: what was to be sent may all have expired.
        if stored || refused {
            self.ask_at_ns = now_ns + PING_NS;
        }
        if stored {
            self.note_up(now_ns);
        } else if refused {
            self.note_down(now_ns);
        }
        Ok(Next::GoOn)
    }

    fn lose_by(&mut self, now_ns: u64, fault: Fault) -> Wish {
        self.shared.errors.writer.add(fault.kind);
        self.last_fault = fault;
        self.lose(now_ns)
    }

    /// Drops the connection; what is not final will be sent again over the next.
    fn lose(&mut self, now_ns: u64) -> Wish {
        if let Some(link) = self.link.take() {
            self.abandoned.extend(link.identities());
            let surplus = self.abandoned.len().saturating_sub(ABANDONED_MAX);
            self.abandoned.drain(..surplus);
        }
        self.note_down(now_ns);
        self.pipeline.rewind();
        self.resume_ns = now_ns + self.backoff.next_ns();
        Wish::Step
    }

    fn bounded(&self, ns: u64) -> u64 {
        self.deadline_ns.map_or(ns, |deadline_ns| deadline_ns.min(ns))
    }

    /// Counts what became final.
    fn publish(&mut self, now_ns: u64) {
        let shared = &*self.shared;
        let (slot, outcome) = (shared.writer_slot(), self.pipeline.take_outcome());
        let Outcome { stored, coalesced, refused, expired } = outcome;
        shared.counters.add_stored(slot, stored);
        if stored > 0 {
            self.moving_since_ns = None;
        }
        shared.counters.add_coalesced(slot, coalesced);
        shared.lose(slot, DropReason::Refused, refused, now_ns);
        shared.lose(slot, DropReason::Expired, expired, now_ns);
        shared.queue.set_in_flight(self.pipeline.pending());
    }

    /// The end: what has no outcome by now is lost.
    fn give_up(&mut self, now_ns: u64) {
        let (mut lost, blocks) = self.pipeline.abandon();
        blocks.for_each(|block| self.shared.queue.give_back(block));
        loop {
            // What is queued makes room for what is still open.
            self.shared.collect_open();
            let mut is_done = true;
            while let Some(block) = self.shared.queue.pop() {
                lost += block.events();
                self.shared.queue.give_back(block);
                is_done = false;
            }
            if is_done {
                break;
            }
        }
        self.shared.lose(self.shared.writer_slot(), DropReason::Shutdown, lost, now_ns);
    }
}

/// Pauses that grow, and shrink at random so that replicas do not return together.
#[derive(Debug)]
struct Backoff {
    random: fastrand::Rng,
    ms: u64,
}

impl Backoff {
    fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), ms: STORE_BACKOFF_MS_MIN }
    }

    fn reset(&mut self) {
        self.ms = STORE_BACKOFF_MS_MIN;
    }

    fn next_ns(&mut self) -> u64 {
        let ms = self.ms;
        self.ms = (ms * 2).min(STORE_BACKOFF_MS_MAX);
        self.random.u64(ms * MILLISECOND_NS / 2..=ms * MILLISECOND_NS)
    }
}

#[cfg(test)]
mod simulation;
