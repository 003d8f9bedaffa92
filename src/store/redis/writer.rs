//! The writer: it connects, sends blocks, handles replies, pauses, or waits for blocks.
//!
//! It decides, and its thread waits: each [`Writer::step`] does one thing at a given time and
//! returns when the next step is due, so that a simulation can run it against a simulated server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::backoff::Backoff;
use super::error::{ErrorKind, RedisError, RedisResult, RetryPolicy};
use super::link::{ConnectionId, Connector, Link, Reply};
use super::observer::OutageReport;
use super::outage_tracker::OutageTracker;
use super::pipeline::{AfterReply, Outcome, Pipeline};
use super::reply_pace::ReplyPace;
use super::shared_state::SharedState;
use crate::limits::{STORE_CONNECT_MS_MAX, STORE_MOVE_MS_MAX, STORE_PING_MS, STORE_REPLY_MS_MAX};
use crate::store::block::Block;
use crate::store::event_counters::DropReason;
use crate::store::spill::Spill;

/// Abandoned connections that are remembered, the latest ones.
const ABANDONED_MAX: usize = 256;

/// Replies handled between two readings of the clock.
const REPLIES_PER_STEP: usize = 64;

/// An event waits no longer than this for its block to become full, while Redis takes blocks.
const COLLECT_NS: u64 = 50 * MILLISECOND_NS;

/// The same while requests wait for their events to be stored.
const AWAITED_COLLECT_NS: u64 = 5 * MILLISECOND_NS;

/// The time after which an idle connection gets a ping.
const PING_NS: u64 = STORE_PING_MS * MILLISECOND_NS;

const MILLISECOND_NS: u64 = 1_000_000;

pub(super) struct Writer<C: Connector> {
    shared: Arc<SharedState>,
    connector: C,
    /// The place for what cannot be written before the end, and what an earlier process left there.
    spill: Option<Spill>,
    ttl_ns: u64,
    link: Option<Box<C::Link>>,
    pipeline: Pipeline,
    /// Connections that were closed and whose commands Redis may still run.
    abandoned: Vec<ConnectionId>,
    backoff: Backoff,
    /// Nothing is sent before this time.
    resume_ns: u64,
    has_connected: bool,
    outages: OutageTracker,
    pace: ReplyPace,
    last_error: RedisError,
    /// The time of the next ping, if there is nothing to write.
    ping_at_ns: u64,
    /// The time at which the open blocks of the cores were taken last.
    collected_ns: u64,
    has_reported_unfenced: bool,
    /// The time since when nothing was stored because a slot is being moved.
    moving_since_ns: Option<u64>,
    /// The time to end, once the server stops.
    deadline_ns: Option<u64>,
}

/// The next step of the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    /// A step at once.
    AtOnce,
    /// A step at this time, or when the server stops.
    Sleep { until_ns: u64 },
    /// A step at this time, or when a block was pushed.
    AwaitBlock { until_ns: u64 },
    /// None: the server stops, and every event has its outcome.
    End,
}

impl<C: Connector> Writer<C> {
    pub(super) fn new(
        shared: Arc<SharedState>,
        connector: C,
        spill: Option<Spill>,
        ttl_ns: u64,
        seed: u64,
    ) -> Self {
        let backoff = Backoff::new(seed, connector.backoff_ms_max());
        Self {
            shared,
            connector,
            spill,
            ttl_ns,
            link: None,
            pipeline: Pipeline::new(ttl_ns),
            abandoned: Vec::new(),
            backoff,
            resume_ns: 0,
            has_connected: false,
            outages: OutageTracker::default(),
            pace: ReplyPace::default(),
            last_error: RedisError::from(ErrorKind::Other),
            ping_at_ns: 0,
            collected_ns: 0,
            has_reported_unfenced: false,
            moving_since_ns: None,
            deadline_ns: None,
        }
    }

    /// Orders the writer to write what is pending until `deadline_ns`, and to end.
    pub(super) fn stop(&mut self, deadline_ns: u64) {
        self.deadline_ns = Some(deadline_ns);
        // A pause could outlast the time that is left.
        self.resume_ns = 0;
        self.backoff.reset();
    }

    /// Adds a block that the queue gave while the writer waited.
    pub(super) fn push(&mut self, block: Block) {
        self.shared.queue.mark_taken(&block);
        self.shared.queue.set_idle(false);
        self.pipeline.push(block);
    }

    /// Does one thing.
    pub(super) fn step(&mut self, now_ns: u64) -> NextStep {
        // Blocks that the step before completed: their replies had come before `now_ns`.
        let (mut commands, mut first_ns) = (0, now_ns);
        while let Some((block, sent_ns)) = self.pipeline.pop_complete() {
            self.shared.observer.on_flush(now_ns.saturating_sub(sent_ns));
            (commands, first_ns) = (commands + block.live(), first_ns.min(sent_ns));
            self.release(block);
        }
        if first_ns < now_ns {
            self.pace.note_complete(commands, first_ns, now_ns);
        }
        let next = self.advance(now_ns);
        self.count_outcomes(now_ns);
        self.shared.observer.on_tick(now_ns);
        next
    }

    fn advance(&mut self, now_ns: u64) -> NextStep {
        if self.deadline_ns.is_some_and(|deadline_ns| now_ns >= deadline_ns) {
            self.drop_all(now_ns);
            return NextStep::End;
        }
        self.fill_pipeline();
        if self.deadline_ns.is_some() && self.pipeline.is_empty() {
            return NextStep::End;
        }
        if now_ns < self.resume_ns {
            return NextStep::Sleep { until_ns: self.until_deadline(self.resume_ns) };
        }
        if self.link.is_none() {
            return self.connect(now_ns);
        }
        let has_waiters = self.shared.confirmations.waiting() > 0;
        let collect_ns = if has_waiters { AWAITED_COLLECT_NS } else { COLLECT_NS };
        if now_ns >= self.collected_ns + collect_ns {
            self.collected_ns = now_ns;
            self.shared.queue_open_blocks();
            self.fill_pipeline();
        }
        if self.pipeline.is_empty() {
            return self.idle(now_ns);
        }
        if let Err(error) = self.send(now_ns) {
            return self.fail(now_ns, error);
        }
        // A full pipeline may have more behind it: Redis is not to run dry meanwhile.
        let awaited = self.pipeline.awaited() / if self.pipeline.is_full() { 2 } else { 1 };
        if let Some(ns) = self.pace.sleep_ns(awaited) {
            return NextStep::Sleep { until_ns: self.until_deadline(now_ns + ns) };
        }
        self.pace.note_wait();
        match self.receive(now_ns) {
            Ok(AfterReply::Continue) => NextStep::AtOnce,
            Ok(AfterReply::Pause) => self.pause(now_ns),
            Ok(AfterReply::Reconnect) => self.disconnect(now_ns),
            Err(error) => self.fail(now_ns, error),
        }
    }

    /// Pauses after an error that asks for a retry: commands without an outcome are sent again
    /// then.
    fn pause(&mut self, now_ns: u64) -> NextStep {
        // A cluster that moves a slot counts as up, for as long as that may take.
        let is_moving = matches!(self.last_error.kind, ErrorKind::Ask | ErrorKind::TryAgain) && {
            let since_ns = *self.moving_since_ns.get_or_insert(now_ns);
            now_ns.saturating_sub(since_ns) < STORE_MOVE_MS_MAX * MILLISECOND_NS
        };
        if !is_moving {
            self.report_down(now_ns);
        }
        self.resume_ns = now_ns + self.backoff.next_ns();
        NextStep::AtOnce
    }

    /// Marks Redis as up, and reports it if that is due.
    fn report_up(&mut self, now_ns: u64) {
        self.shared.up.store(true, Ordering::Relaxed);
        if let Some(outage) = self.outages.mark_up(now_ns) {
            self.shared.observer.on_up(&outage);
        }
    }

    /// Marks Redis as down because of the last error, and reports it if that is due.
    fn report_down(&mut self, now_ns: u64) {
        self.shared.up.store(false, Ordering::Relaxed);
        if let Some(outage) = self.outages.mark_down(now_ns, self.last_error.kind) {
            let waiting = self.shared.counters.totals().pending();
            let RedisError { kind, server, message } = &self.last_error;
            self.shared.observer.on_down(&OutageReport {
                server,
                kind: kind.name(),
                message,
                outage,
                waiting,
            });
        }
    }

    /// Moves blocks from the queue to the pipeline.
    fn fill_pipeline(&mut self) {
        if self.deadline_ns.is_some() && self.pipeline.is_empty() {
            self.shared.queue_open_blocks();
        }
        self.fill_with_recovered();
        while !self.pipeline.is_full()
            && let Some(block) = self.shared.queue.pop()
        {
            self.pipeline.push(block);
        }
    }

    /// Takes the open blocks, as nothing is queued or in flight, or waits until a core ends a turn.
    /// The cores see that the writer is idle before it looks: a block that it does not find, they
    /// queue.
    fn idle(&mut self, now_ns: u64) -> NextStep {
        self.shared.queue.set_idle(true);
        self.shared.queue_open_blocks();
        self.fill_pipeline();
        if !self.pipeline.is_empty() {
            self.shared.queue.set_idle(false);
            return NextStep::AtOnce;
        }
        if now_ns < self.ping_at_ns {
            return NextStep::AwaitBlock { until_ns: self.ping_at_ns };
        }
        // An idle connection does not show that its server is gone.
        match self.link.as_mut().map(|link| link.ping()) {
            Some(Ok(())) => {
                self.backoff.reset();
                self.ping_at_ns = now_ns + PING_NS;
                self.report_up(now_ns);
                NextStep::AtOnce
            }
            Some(Err(error)) => self.fail(now_ns, error),
            None => NextStep::AtOnce,
        }
    }

    fn connect(&mut self, now_ns: u64) -> NextStep {
        let left_ns = self.deadline_ns.map_or(u64::MAX, |deadline_ns| deadline_ns - now_ns);
        let timeout = Duration::from_nanos(left_ns.min(STORE_CONNECT_MS_MAX * MILLISECOND_NS));
        match self.connector.connect(timeout, &mut self.abandoned) {
            Ok(link) => {
                if std::mem::replace(&mut self.has_connected, true) {
                    self.shared.reconnects.fetch_add(1, Ordering::Relaxed);
                }
                if link.connection_ids().is_empty()
                    && !std::mem::replace(&mut self.has_reported_unfenced, true)
                {
                    self.shared.observer.on_unfenced();
                }
                self.link = Some(link);
                // A handshake does not show that Redis takes writes: a ping is due at once.
                self.ping_at_ns = now_ns;
                NextStep::AtOnce
            }
            Err(error) => self.fail(now_ns, error),
        }
    }

    /// Sends the blocks that were not sent.
    fn send(&mut self, now_ns: u64) -> RedisResult<()> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        if let Some(deadline_ns) = self.deadline_ns {
            let left = Duration::from_nanos(deadline_ns.saturating_sub(now_ns).max(1));
            link.set_timeout(left.min(Duration::from_millis(STORE_REPLY_MS_MAX)));
        }
        while let Some(commands) = self.pipeline.next_unsent(now_ns) {
            link.send(commands)?;
        }
        Ok(())
    }

    /// Handles some replies to the first block: few enough that a server which is slow with each
    /// does not delay a stop or the counters for long.
    fn receive(&mut self, now_ns: u64) -> RedisResult<AfterReply> {
        let Some(link) = &mut self.link else {
            return Ok(AfterReply::Continue);
        };
        let (mut stored, mut refused) = (false, false);
        for _ in 0..REPLIES_PER_STEP {
            if !self.pipeline.first_awaits_replies() {
                break;
            }
            let reply = link.receive(self.pipeline.awaited() as usize)?;
            // Commands behind one that is to be retried are sent again.
            let is_final = !self.pipeline.must_resend();
            let next = self.pipeline.handle_reply(&reply);
            let is_run = matches!(reply, Reply::Ok { count } if count > 1);
            match reply {
                Reply::Ok { .. } if is_final => {
                    stored = true;
                    self.backoff.reset();
                }
                Reply::Ok { .. } => {}
                Reply::Error(error) => {
                    self.shared.writer_errors.add(error.kind);
                    refused |= error.kind.retry_policy() == RetryPolicy::Drop;
                    self.last_error = error;
                }
            }
            if next != AfterReply::Continue {
                return Ok(next);
            }
            // All that had come was taken: the rest may be worth another sleep.
            if is_run || self.shared.stopping.load(Ordering::Relaxed) {
                break;
            }
        }
        // Only a reply shows the state of Redis: without one, all records may have expired.
        if stored || refused {
            self.ping_at_ns = now_ns + PING_NS;
        }
        if stored {
            self.report_up(now_ns);
        } else if refused {
            self.report_down(now_ns);
        }
        Ok(AfterReply::Continue)
    }

    /// Counts an error of the connection, and disconnects.
    fn fail(&mut self, now_ns: u64, error: RedisError) -> NextStep {
        self.shared.writer_errors.add(error.kind);
        self.last_error = error;
        self.disconnect(now_ns)
    }

    /// Closes the connection; commands without an outcome are sent again over the next one.
    fn disconnect(&mut self, now_ns: u64) -> NextStep {
        if let Some(link) = self.link.take() {
            self.abandoned.extend(link.connection_ids());
            let surplus = self.abandoned.len().saturating_sub(ABANDONED_MAX);
            self.abandoned.drain(..surplus);
        }
        self.report_down(now_ns);
        self.pipeline.rewind();
        self.resume_ns = now_ns + self.backoff.next_ns();
        NextStep::AtOnce
    }

    fn until_deadline(&self, ns: u64) -> u64 {
        self.deadline_ns.map_or(ns, |deadline_ns| deadline_ns.min(ns))
    }

    /// Counts the new outcomes.
    fn count_outcomes(&mut self, now_ns: u64) {
        let shared = &*self.shared;
        let (slot, outcome) = (shared.writer_slot(), self.pipeline.take_outcome());
        let Outcome { stored, coalesced, refused, expired } = outcome;
        shared.counters.add_stored(slot, stored);
        if stored > 0 {
            self.moving_since_ns = None;
        }
        shared.counters.add_coalesced(slot, coalesced);
        shared.drop_events(slot, DropReason::Refused, refused, now_ns);
        shared.drop_events(slot, DropReason::Expired, expired, now_ns);
        shared.queue.set_in_flight(self.pipeline.pending());
        // Whoever is answered finds the outcome in the counters.
        for resolution in self.pipeline.take_resolutions() {
            shared.confirmations.resolve(resolution);
        }
    }
}

mod spilling;

#[cfg(test)]
mod simulation;
