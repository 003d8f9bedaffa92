//! One metric of one device: validated, borrowed from the request that brought it.

/// The two measured fields of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Per cent of a core; many cores may sum up.
    Cpu,
    /// Requests per second.
    Rps,
}

impl Field {
    /// Both, in the order in which [`Event::values`] holds them.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Rps];

    /// The name in JSON and in metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Rps => "rps",
        }
    }

    /// The place in [`Event::values`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// One event that passed every rule of the API.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event<'a> {
    /// 1 to 128 bytes of `A-Z a-z 0-9 . _ : -`.
    pub device_id: Option<&'a [u8]>,
    /// The timestamp as it stands in keys, in digits: the integer as it was sent, or else the
    /// coarsest of milliseconds, microseconds and nanoseconds since 1970 that is exact. Where none
    /// was sent, one that the server gives once.
    pub timestamp: &'a [u8],
    /// The same moment in milliseconds since 1970, whatever unit it was sent in.
    pub timestamp_ms: i64,
    /// The values, in the order of [`Field::ALL`]; finite and in range.
    pub values: [f64; 2],
    /// The values' JSON literals, as they were sent; ASCII.
    pub literals: [&'a [u8]; 2],
}
