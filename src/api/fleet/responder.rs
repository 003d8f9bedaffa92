//! The answers of this instance to the questions of the fleet.

use std::sync::Arc;

use super::question::Question;
use super::{analyze, anomalies, device, devices, stats};
use crate::analytics::Analytics;
use crate::analytics::anomaly_journal::AnomalyQuery;
use crate::api::state::State;
use crate::fleet::answers::{Responder, Totals};
use crate::fleet::windows::analytics_cells::Instance;
use percore::clock::{Clock, Now};

/// The instance behind a member.
pub struct FleetResponder {
    state: Arc<State>,
    clock: Clock,
}

impl FleetResponder {
    /// Returns the responder of an instance.
    pub const fn new(state: Arc<State>, clock: Clock) -> Self {
        Self { state, clock }
    }
}

impl Instance for State {
    fn analytics(&self) -> &Analytics {
        &self.analytics
    }
}

impl Responder for FleetResponder {
    fn totals(&self) -> Totals {
        let mut clock = self.clock;
        let analytics = self.state.analytics.totals(clock.now());
        let counters = self.state.counters.totals();
        // The store is read last: the analytics have seen what it calls accepted.
        let store = self.state.store.stats().totals;
        let mut totals = Totals::default();
        for (name, count) in [
            ("accepted", store.accepted),
            ("rejected", counters.rejected_all()),
            ("points", analytics.points.iter().sum()),
            ("episodes", analytics.episodes.iter().sum()),
            ("novelties", analytics.novelties.iter().sum()),
            ("pending", store.pending()),
            ("stored", store.stored),
            ("coalesced", store.coalesced),
            ("dropped", store.dropped_all()),
        ] {
            totals.set(name, count);
        }
        totals
    }

    fn renew_lease(&self, sent_ns: u64, until_ns: u64, now: Now) {
        self.state.analytics.renew_lease(sent_ns, until_ns, now);
    }

    fn answer(&self, question: &[u8], member: u64, now: Now) -> Vec<u8> {
        let state = &*self.state;
        match Question::decode(question) {
            Some(Question::Analyze) => analyze::tell(state, now),
            Some(Question::Device { id, values }) => device::tell(&id, values, state, now),
            Some(Question::Latest { id }) => device::tell_latest(&id, state, now),
            Some(Question::Devices { query }) => devices::tell(&query, member, state, now),
            Some(Question::Anomalies { limit, since }) => {
                let since = own_number(since, member);
                anomalies::tell(AnomalyQuery { kind: None, since, limit }, state, now)
            }
            Some(Question::AnomaliesOfKind { kind, limit, since }) => {
                let since = own_number(since, member);
                anomalies::tell(AnomalyQuery { kind: Some(kind), since, limit }, state, now)
            }
            Some(Question::Stats { history }) => stats::tell(history, state, now),
            None => Vec::new(),
        }
    }
}

/// Returns the number of the last finding of a member that was seen: none of one that was not there
/// yet.
fn own_number(seen: Option<Vec<(u64, u64)>>, member: u64) -> Option<u64> {
    let own = |seen: Vec<(u64, u64)>| seen.into_iter().find(|(of, _)| *of == member);
    seen.map(|seen| own(seen).map_or(0, |(_, number)| number))
}
