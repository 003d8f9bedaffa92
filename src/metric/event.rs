//! Events: validated metrics of one device each, borrowed from the request that brought them.

use crate::metric::short_text;
use crate::metric::span::SentLiterals;
use crate::schema::{Field, FieldSet};

/// An event that passed every rule of the API.
#[derive(Clone, Copy, Debug, Default)]
pub struct Event<'a> {
    /// The device that sent it: 1 to 128 bytes of `A-Z a-z 0-9 . _ : -`.
    pub device_id: Option<&'a [u8]>,
    /// The timestamp as keys contain it: the integer that was sent, or else the coarsest of
    /// milliseconds, microseconds and nanoseconds since 1970 that is exact. If none was sent, the
    /// server assigned one that it assigns only once.
    pub timestamp: u64,
    /// The same time in milliseconds since 1970, whatever unit it was sent in.
    pub timestamp_ms: i64,
    /// The fields that it has: all required ones, and at least one.
    pub present: FieldSet,
    /// The values by [`Field::index`], finite and in range. That of an absent field has no meaning.
    pub values: &'a [f64],
    /// The values' JSON literals.
    pub literals: Literals<'a>,
}

/// The JSON literals of an event's values by [`Field::index`], as they were sent; ASCII.
#[derive(Clone, Copy, Debug)]
pub enum Literals<'a> {
    /// In the body that brought the event.
    Sent(SentLiterals<'a>),
    /// As they are.
    Given(&'a [&'a [u8]]),
}

impl Default for Literals<'_> {
    fn default() -> Self {
        Self::Given(&[])
    }
}

impl Literals<'_> {
    /// Returns the bytes of the literal of a field that the event has.
    #[inline(always)]
    pub fn len_of(&self, field: Field) -> usize {
        match self {
            Self::Sent(sent) => sent.len_of(field.index()),
            Self::Given(literals) => literals.get(field.index()).map_or(0, |literal| literal.len()),
        }
    }

    /// Copies that literal to `out`, beginning at `at`. Returns where it ends; `None` if there is
    /// no room for it and one block of [`short_text`]. Bytes behind it may be overwritten.
    #[inline(always)]
    pub fn copy(&self, field: Field, out: &mut [u8], at: usize) -> Option<usize> {
        match self {
            Self::Sent(sent) => sent.copy(field.index(), out, at),
            Self::Given(literals) => {
                let literal = literals.get(field.index()).copied().unwrap_or_default();
                short_text::copy(literal, out, at)
            }
        }
    }

    /// Copies the literal of the field of this index, which the event has, behind a byte with its
    /// length to `out`, beginning at `at`. Returns where it ends; `None` if there is no room. Bytes
    /// behind it may be overwritten.
    #[inline(always)]
    pub fn copy_counted(&self, field: usize, out: &mut [u8], at: usize) -> Option<usize> {
        match self {
            Self::Sent(sent) => sent.copy_counted(field, out, at),
            Self::Given(literals) => {
                let literal = literals.get(field).copied().unwrap_or_default();
                short_text::copy_counted(literal, out, at)
            }
        }
    }
}

impl<'a> Event<'a> {
    /// Returns the value of a field; `None` if it is absent.
    #[inline]
    pub fn value(&self, field: Field) -> Option<f64> {
        self.values.get(field.index()).copied().filter(|_| self.present.contains(field))
    }

    /// Returns the literal of a field's value; empty if the field is absent.
    #[inline]
    pub fn literal(&self, field: Field) -> &'a [u8] {
        if !self.present.contains(field) {
            return &[];
        }
        match self.literals {
            Literals::Sent(sent) => sent.get(field.index()),
            Literals::Given(literals) => literals.get(field.index()).copied().unwrap_or_default(),
        }
    }
}
