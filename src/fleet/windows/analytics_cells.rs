//! The cells of an instance: its analytics, and the states of devices as bytes.

use std::sync::Arc;

use super::cells::{Base, Cells, Copy, Save};
use super::figures::Figures;
use super::note::DeviceId;
use crate::analytics::Analytics;
use crate::analytics::device_state::{DeviceState, Encoder};
use crate::analytics::shared_windows::{Cell, SaveQueue, Standing};
use percore::clock::Now;

/// The instance whose windows are shared.
pub trait Instance: Send + Sync {
    /// Returns its analytics.
    fn analytics(&self) -> &Analytics;
}

/// Bytes of most states.
const BODY_BYTES: usize = 512;

/// See the head of this file.
pub(super) struct AnalyticsCells {
    instance: Arc<dyn Instance>,
    figures: Arc<Figures>,
    queue: SaveQueue,
    encoder: Encoder,
}

impl AnalyticsCells {
    pub(super) fn new(instance: Arc<dyn Instance>, figures: Arc<Figures>) -> Self {
        let encoder = Encoder::new(instance.analytics().schema());
        Self { instance, figures, queue: SaveQueue::default(), encoder }
    }

    fn analytics(&self) -> &Analytics {
        self.instance.analytics()
    }

    /// Returns the devices that wait for their windows, and those with unsaved events.
    pub(super) fn left(&self) -> [u64; 2] {
        let totals = self.analytics().windows();
        [totals.waiting, totals.unsaved]
    }
}

fn encoded(encoder: &mut Encoder, state: &DeviceState) -> Copy {
    let mut body = Vec::with_capacity(BODY_BYTES);
    encoder.encode(state, &mut body);
    Copy { events: state.accepted, body }
}

impl Cells for AnalyticsCells {
    fn is_sure(&self, now_ns: u64) -> bool {
        self.analytics().is_sure(now_ns)
    }

    fn lapses(&self, now_ns: u64) -> u32 {
        self.analytics().lapses(now_ns)
    }

    fn doubt(&mut self) {
        self.analytics().doubt();
    }

    fn cell(&self, id: &[u8], now: Now) -> Cell {
        self.analytics().cell(id, now)
    }

    fn take_wanted(&mut self, out: &mut Vec<DeviceId>) {
        self.analytics().take_wanted(out);
    }

    fn begin_saves(&mut self, now: Now) {
        // A shard of which some are left goes on with those.
        if self.queue.is_empty() {
            self.figures.begin_round(now.mono_ns);
        } else {
            self.figures.go_on_with_round(now.mono_ns);
        }
        self.instance.analytics().begin_saves(&mut self.queue);
        if self.queue.is_empty() {
            self.figures.end_round();
        }
    }

    fn has_saves(&self) -> bool {
        !self.queue.is_empty()
    }

    fn has_unsaved(&self) -> bool {
        self.has_saves() || self.analytics().windows().unsaved > 0
    }

    fn next_saves(&mut self, max: usize, now: Now, take: &mut dyn FnMut(Save<'_>)) {
        let Self { instance, figures, queue, encoder } = self;
        let mut has_some = false;
        instance.analytics().next_saves(queue, max, now, |saved| {
            has_some = true;
            take(Save {
                id: &saved.id,
                events: saved.state.accepted,
                body: &mut |out| encoder.encode(&saved.state, out),
                is_confirmed: saved.standing == Standing::Confirmed,
            });
        });
        if has_some {
            figures.note_copied();
        }
        if queue.is_empty() {
            figures.end_round();
        }
    }

    fn unsave_all(&mut self) {
        self.analytics().unsave_all();
    }

    fn copy(&mut self, id: &[u8], now: Now) -> Option<Copy> {
        let state = self.analytics().copy(id, now)?;
        self.figures.note_copied_at(now.mono_ns);
        Some(encoded(&mut self.encoder, &state))
    }

    fn export(&mut self, id: &[u8], now: Now) -> Option<Copy> {
        let state = self.analytics().export(id, now)?;
        Some(encoded(&mut self.encoder, &state))
    }

    fn adopt(&mut self, id: &[u8], base: Option<Base<'_>>, ticket: Option<u64>, now: Now) -> bool {
        let is_copy = base.is_some_and(|base| base.is_copy);
        let state = base.map(|base| DeviceState::decode(base.body, self.analytics().schema()));
        let Ok(state) = state.transpose() else {
            return false;
        };
        self.analytics().adopt(id, state, is_copy, ticket, now);
        true
    }

    fn confirm(&mut self, id: &[u8], ticket: u64, now: Now) {
        self.analytics().confirm(id, ticket, now);
    }

    fn begin_alone(&mut self, id: &[u8], ticket: Option<u64>, now: Now) {
        self.analytics().begin_alone(id, ticket, now);
    }
}
