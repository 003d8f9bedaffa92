//! What one drive, or one thread's part of it, did.

use crate::fault::{Fault, Faults};
use crate::latency::{Latencies, Latency};
use crate::usage::ThreadTime;
use std::time::Duration;

/// The sums that are reported of a drive whose requests are each answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Requests sent; each was answered with 202.
    pub requests: u64,
    /// The sum of the answers' `accepted`.
    pub accepted: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// From a request to its answer; where a rate is set, from when the request was due.
    pub latency: Latency,
}

/// All that is known of a drive. Every planned request is in one of `answered`, `faults` and
/// `unsent`; a request is sent once at most.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Requests that were due; without a rate, as many as were sent.
    pub planned: u64,
    /// Requests sent.
    pub requests: u64,
    /// Answered with a 202 that says what it accepted.
    pub answered: u64,
    /// The sum of the answers' `accepted`.
    pub accepted: u64,
    /// Due for so long, while their connections waited for other answers, that they were given up.
    pub unsent: u64,
    /// What became of the others.
    pub faults: Faults,
    /// What the first of those said.
    pub said: Option<String>,
    /// Connections that the server ended in order, and that were opened again.
    pub reopened: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Of answers, from when their request was due; also of what was never answered or never
    /// sent, which counts with how long that had lasted when it was given up.
    pub latencies: Latencies,
    /// How late the generator itself was with each turn: from when it was due and its connection
    /// free until it was sent.
    pub lags: Latencies,
    /// The share of its time that the busiest thread of the generator was on a CPU.
    pub busy_share: f64,
    /// The share of its time that a thread was kept waiting for a CPU, the highest of all.
    pub kept_waiting_share: f64,
}

impl Tally {
    /// Nothing yet.
    ///
    /// # Errors
    ///
    /// When the histograms' bounds are wrong, which they are not.
    pub fn new() -> Result<Self, String> {
        Ok(Self {
            planned: 0,
            requests: 0,
            answered: 0,
            accepted: 0,
            unsent: 0,
            faults: Faults::default(),
            said: None,
            reopened: 0,
            elapsed: Duration::ZERO,
            latencies: Latencies::new()?,
            lags: Latencies::new()?,
            busy_share: 0.0,
            kept_waiting_share: 0.0,
        })
    }

    /// Counts requests that came to nothing.
    pub fn fail(&mut self, fault: Fault, requests: usize, why: String) {
        self.faults.add(fault, u64::try_from(requests).unwrap_or(u64::MAX));
        self.said.get_or_insert(why);
    }

    /// Ends it, with what its thread used.
    pub fn end(&mut self, elapsed: Duration, used: ThreadTime) {
        let share = |time: Duration| time.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
        self.elapsed = elapsed;
        self.busy_share = share(used.ran);
        self.kept_waiting_share = share(used.waited);
    }

    /// Adds what another thread did at the same time.
    ///
    /// # Errors
    ///
    /// When the histograms differ, which they do not.
    pub fn merge(&mut self, other: Self) -> Result<(), String> {
        self.planned += other.planned;
        self.requests += other.requests;
        self.answered += other.answered;
        self.accepted += other.accepted;
        self.unsent += other.unsent;
        self.faults.merge(&other.faults);
        self.said = self.said.take().or(other.said);
        self.reopened += other.reopened;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.busy_share = self.busy_share.max(other.busy_share);
        self.kept_waiting_share = self.kept_waiting_share.max(other.kept_waiting_share);
        self.latencies.merge(&other.latencies)?;
        self.lags.merge(&other.lags)
    }

    /// What is reported of it, if every request was answered as it must be.
    ///
    /// # Errors
    ///
    /// When one was not.
    pub fn outcome(&self) -> Result<Outcome, String> {
        if self.faults.all() > 0 {
            let said = self.said.as_deref().unwrap_or_default();
            return Err(format!("{}: {said}", self.faults.text()));
        }
        Ok(Outcome {
            requests: self.requests,
            accepted: self.accepted,
            elapsed: self.elapsed,
            latency: self.latencies.summary(),
        })
    }

    /// Whether every planned request has become one thing, and one only.
    ///
    /// # Errors
    ///
    /// When the sums differ; says how.
    pub fn balance(&self) -> Result<(), String> {
        let Self { planned, requests, answered, unsent, faults, .. } = self;
        let failed = faults.all();
        if *planned == requests + unsent && *requests == answered + failed {
            return Ok(());
        }
        Err(format!(
            "the counts do not balance: {planned} planned, {requests} sent, {unsent} never sent, \
             {answered} answered, {failed} failed"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(answered: u64, unsent: u64) -> Tally {
        let mut tally = Tally::new().unwrap();
        tally.planned = answered + unsent;
        (tally.requests, tally.answered, tally.unsent) = (answered, answered, unsent);
        let used =
            ThreadTime { ran: Duration::from_millis(answered), waited: Duration::from_millis(10) };
        tally.end(Duration::from_secs(1), used);
        tally
    }

    #[test]
    fn the_busiest_thread_is_the_limit_of_all() {
        let mut all = tally(100, 0);
        all.merge(tally(950, 7)).unwrap();
        assert_eq!((all.planned, all.requests, all.unsent), (1057, 1050, 7));
        assert!((all.busy_share - 0.95).abs() < 1e-9, "{}", all.busy_share);
        assert!((all.kept_waiting_share - 0.01).abs() < 1e-9, "{}", all.kept_waiting_share);
        assert_eq!(all.balance(), Ok(()));
    }

    #[test]
    fn a_request_that_is_nowhere_is_missed() {
        let mut lost = tally(10, 0);
        lost.answered = 9;
        assert!(lost.balance().unwrap_err().contains("9 answered"));
        lost.fail(Fault::Closed, 1, "the server closed a connection".to_owned());
        assert_eq!(lost.balance(), Ok(()));
        assert_eq!(lost.outcome(), Err("1 closed: the server closed a connection".to_owned()));
    }
}
