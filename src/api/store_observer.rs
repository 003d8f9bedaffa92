//! The observer of the writer to Redis: its events, in the log and the metrics.

use std::sync::Arc;
use std::time::Duration;

use crate::config::units::HumanDuration;
use crate::store::event_counters::DropReason;
use crate::store::redis::{Observer, Outage, OutageReport};
use crate::store::spill::{Recovery, Spilled};
use crate::telemetry::escaped::Escaped;
use crate::telemetry::latency::Latency;
use crate::telemetry::log;
use crate::telemetry::log_limiter::LogLimiter;
use percore::clock::Now;

/// Logs outages of Redis and the events that are lost in them, and records for how long each block
/// was in flight.
#[derive(Debug)]
pub struct StoreObserver {
    flushes: Arc<Latency>,
    /// The lines about lost events, in the order of [`DropReason::ALL`].
    lost: [LogLimiter; DropReason::ALL.len()],
}

impl StoreObserver {
    /// Makes an observer that records into the only route of the only core of `flushes`.
    pub fn new(flushes: Arc<Latency>) -> Self {
        Self { flushes, lost: Default::default() }
    }
}

impl Observer for StoreObserver {
    fn on_flush(&self, took_ns: u64) {
        self.flushes.record_one(0, 0, took_ns);
    }

    fn on_up(&self, outage: &Outage) {
        if outage.duration.is_zero() {
            log::info!("redis is up");
        } else {
            let (away, returns) = (shown(outage.duration), outage.returns);
            log::info!(%away, returns, "redis is up again, and has been for a while");
        }
    }

    fn on_unfenced(&self) {
        log::warn!(
            "redis does not allow CLIENT INFO: after a fault, commands that it had received may \
             run late, over newer values"
        );
    }

    fn on_down(&self, report: &OutageReport<'_>) {
        let OutageReport { server, kind, message, outage, waiting } = *report;
        log::warn!(
            at = %Escaped(server.as_bytes()),
            why = kind,
            said = %Escaped(message.as_bytes()),
            away = %shown(outage.duration),
            returns = outage.returns,
            waiting,
            "redis is down; events wait, and are written when it is back"
        );
    }

    fn on_drop(&self, reason: DropReason, events: u64, now_ns: u64) {
        // The server logs once, when it ends, what is lost by that, and what is spilled.
        if matches!(reason, DropReason::Shutdown | DropReason::Spilled) {
            return;
        }
        let limiter = self.lost.get(reason as usize);
        let due = limiter.and_then(|limiter| limiter.add(events, at(now_ns)));
        if let Some(events) = due {
            warn_lost(reason, events);
        }
    }

    fn on_recovered(&self, recovery: &Recovery) {
        let Recovery { files, events, expired, torn_bytes, .. } = recovery;
        if *torn_bytes > 0 {
            log::warn!(
                bytes = torn_bytes,
                "not all that an earlier process had left in --spill could be read"
            );
        }
        log::info!(files, events, expired, "all that was left in --spill has been taken up");
    }

    fn on_spilled(&self, spilled: &Spilled, lost: u64) {
        if let Some(error) = &spilled.error {
            log::error!(%error, events = lost, "not all events could be left in --spill");
        }
        if let Some(path) = &spilled.path {
            let path = path.display();
            log::info!(%path, events = spilled.events, "events are left for the next start");
        }
    }

    fn on_tick(&self, now_ns: u64) {
        for (reason, limiter) in DropReason::ALL.into_iter().zip(&self.lost) {
            if let Some(events) = limiter.take_if_due(at(now_ns)) {
                warn_lost(reason, events);
            }
        }
    }

    fn on_end(&self) {
        for (reason, limiter) in DropReason::ALL.into_iter().zip(&self.lost) {
            if let Some(events) = limiter.take() {
                warn_lost(reason, events);
            }
        }
    }
}

fn warn_lost(reason: DropReason, events: u64) {
    let why = match reason {
        DropReason::Overflow => "the queue to Redis is full, and the oldest make room",
        DropReason::Expired => "they waited longer than --store-ttl",
        DropReason::Refused => "Redis refuses them for good",
        _ => "they could not be written",
    };
    log::warn!(events, reason = reason.name(), "acknowledged events are lost: {why}");
}

const fn at(mono_ns: u64) -> Now {
    Now { mono_ns, wall_us: 0 }
}

/// Shortens a duration to milliseconds.
const fn shown(duration: Duration) -> HumanDuration {
    HumanDuration(Duration::from_millis(duration.as_millis() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_milliseconds() {
        assert_eq!(shown(Duration::from_nanos(61_002_999_999)).to_string(), "1m 1s 2ms");
    }
}
