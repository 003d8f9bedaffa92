//! Members of a metric's object that have a meaning here.

use crate::limits::DEVICE_ID_BYTES_MAX;
use crate::schema::Field;

/// A member of a metric's object. A *field* is one that holds a measured value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// The time of the measurement, by the name that carries it.
    Timestamp(&'static str),
    /// The device that measured, by the name that carries it.
    DeviceId(&'static str),
    /// A measured value.
    Value(Field),
}

impl Member {
    /// The bit of the time in a set of members; fields have the bits of their indexes.
    pub(super) const TIMESTAMP_BIT: u32 = 1 << 16;

    /// The bit of the device id in a set of members.
    pub(super) const DEVICE_ID_BIT: u32 = 1 << 17;

    /// The name in its canonical spelling.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timestamp(name) | Self::DeviceId(name) => name,
            Self::Value(field) => field.name(),
        }
    }

    /// Returns what the value of this member must be, in the words of an error text.
    pub(super) fn expectation(self) -> &'static str {
        match self {
            Self::Timestamp(_) => "a number of s, ms, us or ns or an ISO 8601 time since 1970",
            Self::DeviceId(_) => "1 to 128 bytes of A-Z a-z 0-9 . _ : -",
            Self::Value(field) => field.expectation(),
        }
    }

    /// Returns true if `null` stands for its absence.
    pub(super) const fn is_optional(self) -> bool {
        match self {
            Self::Value(field) => !field.is_required(),
            Self::Timestamp(_) | Self::DeviceId(_) => true,
        }
    }

    /// Returns its bit in a set of members. All names of one thing have the same bit.
    #[inline(always)]
    pub(super) const fn bit(self) -> u32 {
        match self {
            Self::Timestamp(_) => Self::TIMESTAMP_BIT,
            Self::DeviceId(_) => Self::DEVICE_ID_BIT,
            Self::Value(field) => 1 << field.index(),
        }
    }
}

// The limit that the expectation writes out.
const _: () = assert!(DEVICE_ID_BYTES_MAX == 128);
