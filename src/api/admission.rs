//! The admission of a batch: which of its events keep to the limits of rates.
//!
//! It comes behind the decoder and before anything is applied, as neither the analytics nor the
//! store may see what is over a limit. An event counts for both limits, its token's and its
//! device's, or for neither. Its token's is asked once for all events of a request, and gets back
//! what was rejected for its device.

use super::shared_bucket::SharedBucket;
use super::state::State;
use crate::analytics::{Arrived, DeviceGate};
use crate::limits::EVENTS_PER_HOLD;
use crate::metric::batch::Batch;
use crate::metric::rejection::{Limited, Rejection};
use percore::clock::Now;

/// The events of a batch that are over a limit, by their indexes in it. The memory of one core.
#[derive(Debug, Default)]
pub(super) struct Admission {
    rejected: Vec<(u32, Rejection)>,
}

/// A batch that is being looked at.
struct Check<'a> {
    rejected: &'a mut Vec<(u32, Rejection)>,
    gate: Option<DeviceGate<'a>>,
    /// The events that may still pass by the limit of the token.
    left: u64,
}

impl Admission {
    /// Looks at the events of a batch that `core` received at this time, by a token that may have a
    /// limit. Returns those that are rejected.
    #[inline(never)]
    pub(super) fn check(
        &mut self,
        batch: &Batch<'_>,
        (core, now): (usize, Now),
        bucket: Option<&SharedBucket>,
        state: &State,
    ) -> &[(u32, Rejection)] {
        self.rejected.clear();
        let events = batch.events() as u64;
        let left = bucket.map_or(events, |bucket| bucket.take(now.mono_ns, events));
        let gate = state.analytics.gate(core, now);
        if gate.is_none() && left == events {
            return &self.rejected;
        }
        let wait_ns = if left == events { None } else { bucket.map(|it| it.wait_ns(now.mono_ns)) };
        let over = over(Limited::Token, wait_ns.unwrap_or_default());
        let mut check = Check { rejected: &mut self.rejected, gate, left };
        check.batch(batch, over, state);
        if let (Some(bucket), left @ 1..) = (bucket, check.left) {
            bucket.give_back(left);
        }
        &self.rejected
    }
}

impl Check<'_> {
    /// Looks at all events in their order. Those that come when nothing is left are `over` the
    /// limit of their token.
    fn batch(&mut self, batch: &Batch<'_>, over: Rejection, state: &State) {
        let mut group = [Arrived::default(); EVENTS_PER_HOLD];
        let mut held = 0;
        for (index, item) in (0..).zip(batch.spans()) {
            let Ok(spans) = item else {
                continue;
            };
            // What the group takes is not known before it was looked at.
            if held == EVENTS_PER_HOLD || held as u64 == self.left {
                self.group(group.get(..held).unwrap_or_default());
                held = 0;
            }
            if self.left == 0 {
                self.rejected.push((index, over));
            } else if self.gate.is_some()
                && let Some(device_id) = batch.device_id(spans)
                && let Some(place) = group.get_mut(held)
            {
                let hash = state.ids.hash(device_id);
                *place = Arrived { event: batch.event(spans), hash, index };
                held += 1;
            } else {
                self.left -= 1;
            }
        }
        self.group(group.get(..held).unwrap_or_default());
    }

    /// Looks at some events of devices. No more of them may be let in than are left.
    fn group(&mut self, group: &[Arrived<'_>]) {
        let Some(gate) = &self.gate else {
            return;
        };
        for (arrived, wait_ns) in group.iter().zip(gate.admit(group)) {
            if wait_ns == 0 {
                self.left -= 1;
            } else {
                self.rejected.push((arrived.index, over(Limited::Device, wait_ns)));
            }
        }
    }
}

/// Returns the rejection of an event after which the next one passes in so many nanoseconds.
fn over(limited: Limited, wait_ns: u64) -> Rejection {
    let seconds = wait_ns.div_ceil(1_000_000_000).max(1);
    Rejection::Rate { limited, seconds: u32::try_from(seconds).unwrap_or(u32::MAX) }
}
