//! The knowledge of a series' state, for those who ask for it.

use super::judgement::{Banded, LastAlert, Quantity};
use super::series_bands::{LEARNT, SeriesBands};

impl SeriesBands {
    /// Returns the events so far.
    pub const fn events(&self) -> u32 {
        self.events
    }

    /// Returns the score of the last event.
    pub const fn score(&self) -> f32 {
        self.score
    }

    /// Returns the number of alerts so far.
    pub const fn alerts(&self) -> u32 {
        self.alerts
    }

    /// Returns the last alert.
    pub fn last_alert(&self) -> Option<LastAlert> {
        let quantity = Quantity::from_index(self.reason);
        (self.alerts > 0).then_some(LastAlert { ms: self.alert_ms, quantity })
    }

    /// Returns the value that is usual in an hour; `None` if nothing is known of it.
    pub fn usual_in(&self, hour: u8) -> Option<f64> {
        let hour = usize::from(hour);
        let [usual, _] = self.hours.get(hour)?;
        (*self.seen.get(hour)? > 0).then(|| self.base + f64::from(*usual))
    }

    /// Returns the newest timestamp.
    pub const fn last_ms(&self) -> i64 {
        self.last_ms
    }

    /// Returns a quantity with its band; `None` before there is one.
    pub fn banded(&self, quantity: Quantity) -> Option<Banded> {
        let at = quantity as usize;
        let (now, low, high) = (self.now.get(at)?, self.low.get(at)?, self.high.get(at)?);
        (self.events > LEARNT).then_some(Banded { now: *now, low: *low, high: *high })
    }
}
