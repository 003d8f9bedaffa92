//! Events: validated metrics of one device each, borrowed from the request that brought them.

percore::named_enum! {
    /// The two measured fields of an event.
    pub enum Field {
        /// CPU use in per cent of one core; several cores add up to more than 100.
        Cpu = "cpu",
        /// Requests per second.
        Rps = "rps",
    }
}

/// An event that passed every rule of the API.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Event<'a> {
    /// The device that sent it: 1 to 128 bytes of `A-Z a-z 0-9 . _ : -`.
    pub device_id: Option<&'a [u8]>,
    /// The timestamp as it is written in keys, in digits: the integer that was sent, or else the
    /// coarsest of milliseconds, microseconds and nanoseconds since 1970 that is exact. If none was
    /// sent, the server assigned one that it assigns only once.
    pub timestamp: &'a [u8],
    /// The same time in milliseconds since 1970, whatever unit it was sent in.
    pub timestamp_ms: i64,
    /// The values, in the order of [`Field::ALL`]; finite and in range.
    pub values: [f64; 2],
    /// The values' JSON literals, as they were sent; ASCII.
    pub literals: [&'a [u8]; 2],
}
