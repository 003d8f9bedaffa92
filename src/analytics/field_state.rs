//! The state of one field of a series, beside its values: its newest score, its episode, and the
//! running sums of its window.

use super::moments::Sums;
use super::running_sums::{LargestSquares, RunningSums};
use crate::limits;

/// The state of one field. It has no padding, as every device has one for each of its fields. Two
/// are equal if all their bits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldState {
    /// The score of the newest value; NaN if it was not scored.
    z: [u8; 8],
    /// See [`super::running_sums`].
    first: [u8; 8],
    second: [u8; 8],
    /// From the lowest bit on: in 20 bits the values after which an anomaly no longer belongs to
    /// the last episode, in 11 bits the [`LargestSquares`], and in one bit whether the newest value
    /// is an anomaly.
    packed: u32,
}

/// The bit of an anomalous newest value.
const NEWEST: u32 = 1 << 31;

/// The place of the largest squares.
const LARGEST_SHIFT: u32 = 20;

/// The bits of the cool-down.
const COOLDOWN: u32 = (1 << LARGEST_SHIFT) - 1;

/// The bits of the largest squares.
const LARGEST: u32 = !(NEWEST | COOLDOWN);

/// The largest cool-down.
pub(super) const COOLDOWN_MAX: u32 = COOLDOWN;

const _: () = assert!(limits::COOLDOWN_MAX <= COOLDOWN_MAX as usize);

impl FieldState {
    /// The state before the first value.
    pub(super) const NEW: Self =
        Self { z: f64::NAN.to_ne_bytes(), first: [0; 8], second: [0; 8], packed: 0 };

    /// Returns its bits: those of three doubles, and others.
    pub(super) fn bits(self) -> ([u64; 3], u32) {
        ([self.z, self.first, self.second].map(u64::from_ne_bytes), self.packed)
    }

    /// Returns the state of these bits.
    pub(super) fn from_bits(doubles: [u64; 3], packed: u32) -> Self {
        let [z, first, second] = doubles.map(u64::to_ne_bytes);
        Self { z, first, second, packed }
    }

    /// Returns the state of the same sums, with the score and the episode of another.
    pub(super) const fn with_verdict_of(self, other: Self) -> Self {
        let packed = self.packed & LARGEST | other.packed & !LARGEST;
        Self { z: other.z, packed, ..self }
    }

    /// Sets the score of a value that is no anomaly.
    #[inline(always)]
    pub(super) fn set_calm(&mut self, z: f64) {
        self.z = z.to_ne_bytes();
        self.packed = self.packed & LARGEST | (self.packed & COOLDOWN).saturating_sub(1);
    }

    /// Sets the score of an anomaly. Returns true if it begins an episode, which `cooldown` more
    /// values still belong to.
    pub(super) const fn set_anomalous(&mut self, z: f64, cooldown: u32) -> bool {
        self.z = z.to_ne_bytes();
        let begins = self.packed & COOLDOWN == 0;
        self.packed = self.packed & LARGEST | cooldown | NEWEST;
        begins
    }

    /// Returns the score of the newest value; `None` if it was not scored.
    pub(super) fn score(self) -> Option<f64> {
        Some(f64::from_ne_bytes(self.z)).filter(|z| !z.is_nan())
    }

    /// Returns true if the newest value is an anomaly.
    pub(super) const fn is_anomalous(self) -> bool {
        self.packed & NEWEST != 0
    }
}

/// Returns the sums that the states of a window's fields hold.
#[inline(always)]
pub(super) fn read_sums<const N: usize>(states: &[FieldState; N]) -> RunningSums<N> {
    let largest = |state: &FieldState| (state.packed & LARGEST) >> LARGEST_SHIFT;
    RunningSums {
        sums: Sums {
            first: states.each_ref().map(|state| f64::from_ne_bytes(state.first)),
            second: states.each_ref().map(|state| f64::from_ne_bytes(state.second)),
        },
        largest: states.each_ref().map(|state| LargestSquares(largest(state) as u16)),
    }
}

/// Stores sums in the states of a window's fields.
#[inline(always)]
pub(super) fn write_sums<const N: usize>(states: &mut [FieldState; N], running: &RunningSums<N>) {
    let RunningSums { sums, largest } = running;
    let sums = sums.first.iter().zip(&sums.second).zip(largest);
    for (state, ((first, second), largest)) in states.iter_mut().zip(sums) {
        state.first = first.to_ne_bytes();
        state.second = second.to_ne_bytes();
        state.packed = state.packed & !LARGEST | u32::from(largest.0) << LARGEST_SHIFT;
    }
}

const _: () = assert!(size_of::<FieldState>() == limits::REQUIRED_FIELD_BYTES);
