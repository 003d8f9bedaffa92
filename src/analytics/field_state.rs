//! The state of one field of a series, beside its values: its newest score, and its episode.

use crate::limits;

/// The state of one field. It has no padding, as every device has one for each of its fields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FieldState {
    /// The score of the newest value; NaN if it was not scored.
    z: [u8; 8],
    /// The values after which an anomaly no longer belongs to the last episode, and in the top bit
    /// whether the newest value is an anomaly.
    episode: u32,
}

/// The bit of an anomalous newest value.
const NEWEST: u32 = 1 << 31;

/// The largest cool-down.
pub(super) const COOLDOWN_MAX: u32 = NEWEST - 1;

impl FieldState {
    /// The state before the first value.
    pub(super) const NEW: Self = Self { z: f64::NAN.to_ne_bytes(), episode: 0 };

    /// Sets the score of a value that is no anomaly.
    #[inline(always)]
    pub(super) fn set_calm(&mut self, z: f64) {
        self.z = z.to_ne_bytes();
        self.episode = (self.episode & COOLDOWN_MAX).saturating_sub(1);
    }

    /// Sets the score of an anomaly. Returns true if it begins an episode, which `cooldown` more
    /// values still belong to.
    pub(super) const fn set_anomalous(&mut self, z: f64, cooldown: u32) -> bool {
        self.z = z.to_ne_bytes();
        let begins = self.episode & COOLDOWN_MAX == 0;
        self.episode = cooldown | NEWEST;
        begins
    }

    /// Returns the score of the newest value; `None` if it was not scored.
    pub(super) fn score(self) -> Option<f64> {
        Some(f64::from_ne_bytes(self.z)).filter(|z| !z.is_nan())
    }

    /// Returns true if the newest value is an anomaly.
    pub(super) const fn is_anomalous(self) -> bool {
        self.episode & NEWEST != 0
    }
}

const _: () = assert!(size_of::<FieldState>() == limits::REQUIRED_FIELD_BYTES);
