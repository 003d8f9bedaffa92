//! Members of a metric's JSON object that have a meaning here.

use crate::limits::{CPU_MAX, DEVICE_ID_BYTES_MAX, RPS_MAX};
use crate::metric::event::Field;

/// A member of a metric's object. A *field* is one that holds a measured value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// The time of the measurement.
    Timestamp,
    /// The device that measured.
    DeviceId,
    /// A measured value.
    Value(Field),
}

impl Member {
    /// All members.
    const ALL: [Self; 4] =
        [Self::Timestamp, Self::DeviceId, Self::Value(Field::Cpu), Self::Value(Field::Rps)];

    /// The name in its canonical spelling.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timestamp => "timestamp",
            Self::DeviceId => "device_id",
            Self::Value(field) => field.name(),
        }
    }

    /// Returns what the value of this member must be, in the words of an error text.
    pub(super) const fn expectation(self) -> &'static str {
        match self {
            Self::Timestamp => "a number of s, ms, us or ns or an ISO 8601 time since 1970",
            Self::DeviceId => "1 to 128 bytes of A-Z a-z 0-9 . _ : -",
            Self::Value(Field::Cpu) => "a finite number from 0 to 1000000",
            Self::Value(Field::Rps) => "a finite number from 0 to 1000000000000",
        }
    }

    /// Returns the member whose canonical name is at `at`, quotes included, and the end of that
    /// name. Nearly all names are canonical, and comparing with a constant is cheaper than
    /// searching for the end of a string.
    #[inline]
    pub(super) fn at_canonical_name(text: &[u8], at: usize) -> Option<(Self, usize)> {
        let rest = text.get(at..)?;
        let member = match rest.get(1)? {
            b'c' if rest.starts_with(b"\"cpu\"") => Self::Value(Field::Cpu),
            b'r' if rest.starts_with(b"\"rps\"") => Self::Value(Field::Rps),
            b't' if rest.starts_with(b"\"timestamp\"") => Self::Timestamp,
            b'd' if rest.starts_with(b"\"device_id\"") => Self::DeviceId,
            _ => return None,
        };
        Some((member, at + member.name().len() + 2))
    }

    /// Returns the member of this name in any case, as the Go service matched names.
    pub(super) fn from_name(name: &[u8]) -> Option<Self> {
        let is = |member: &Self| name.eq_ignore_ascii_case(member.name().as_bytes());
        Self::ALL.into_iter().find(is)
    }

    /// Returns true if `null` stands for its absence.
    pub(super) const fn is_optional(self) -> bool {
        !matches!(self, Self::Value(_))
    }
}

// The limits that the expectations write out.
const _: () = assert!(CPU_MAX == 1e6 && RPS_MAX == 1e12 && DEVICE_ID_BYTES_MAX == 128);
