//! Kinds of requests, which a generator sends.

use clap::ValueEnum;

/// One way to send metrics. A batch has 1,000 events unless it says otherwise, all with different
/// keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// One metric of 51 bytes a request, without a device.
    Single,
    /// One metric of a device a request.
    Device,
    /// Sixteen requests of [`Self::Single`] at once.
    Pipelined,
    /// A batch as lines of JSON.
    Ndjson,
    /// A batch of 100 events as lines of JSON: with these the open loop reaches half of what a core
    /// takes, which are more single events than it can send.
    Hundred,
    /// A batch as one array of JSON.
    Array,
    /// A batch as lines of JSON, compressed.
    Gzip,
    /// A batch in line protocol.
    LineProtocol,
    /// A batch as lines of JSON, of eight fields.
    Eight,
}

/// The fields of an event: the name, what stands before the digits that change, how many these are,
/// and what stands behind them.
const FIELDS: [(&str, &str, usize, &str); 8] = [
    ("cpu", "4", 1, ".0"),
    ("rps", "10", 2, ".5"),
    ("memory", "4", 1, ".25"),
    ("disk_free", "4", 1, ".25"),
    ("load", "4", 1, ".25"),
    ("temperature", "4", 1, ".25"),
    ("humidity", "4", 1, ".25"),
    ("battery", "4", 1, ".25"),
];

impl Scenario {
    /// Those that are measured where none is named.
    pub const USUAL: [Self; 4] = [Self::Single, Self::Device, Self::Pipelined, Self::Ndjson];

    /// Returns its name in tables and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Device => "single, device id",
            Self::Pipelined => "pipelined ×16",
            Self::Ndjson => "NDJSON, 1,000 events",
            Self::Hundred => "NDJSON, 100 events",
            Self::Array => "array, 1,000 events",
            Self::Gzip => "gzip NDJSON, 1,000 events",
            Self::LineProtocol => "line protocol, 1,000 events",
            Self::Eight => "NDJSON, 1,000 events of eight fields",
        }
    }

    /// Returns how many requests a connection sends before it waits for all their answers.
    pub const fn requests_per_turn(self) -> usize {
        if matches!(self, Self::Pipelined) { 16 } else { 1 }
    }

    /// Returns how many events a request has.
    pub const fn events_per_request(self) -> usize {
        match self {
            Self::Single | Self::Device | Self::Pipelined => 1,
            Self::Hundred => 100,
            _ => 1000,
        }
    }

    /// Returns true if its events have a device id.
    pub const fn has_devices(self) -> bool {
        !matches!(self, Self::Single | Self::Pipelined)
    }

    /// Returns the fields of its events.
    pub fn fields(
        self,
    ) -> impl Iterator<Item = &'static (&'static str, &'static str, usize, &'static str)> {
        FIELDS.iter().take(if self == Self::Eight { 8 } else { 2 })
    }

    /// Returns the arguments that the server needs to take its events.
    pub fn arguments(self) -> Vec<String> {
        if self != Self::Eight {
            return Vec::new();
        }
        let fields: Vec<_> = self.fields().map(|(name, ..)| format!("{name}=0..1e12")).collect();
        vec!["--fields".to_owned(), fields.join(",")]
    }
}
