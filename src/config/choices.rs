//! Flags whose value is one of a few names.

percore::named_enum! {
    /// `--engine`.
    pub enum Engine {
        /// Our own engine, one event loop per core.
        PerCore = "percore",
        /// `may_minihttp`, for comparison.
        MayMinihttp = "may-minihttp",
    }
}

impl Engine {
    /// Returns the descriptors of a connection: `may_minihttp` needs a duplicate of the socket.
    pub const fn descriptors_per_connection(self) -> u64 {
        match self {
            Self::PerCore => 1,
            Self::MayMinihttp => 2,
        }
    }
}

percore::named_enum! {
    /// `--store-overflow`.
    pub enum Overflow {
        /// Drops the oldest queued block.
        DropOldest = "drop-oldest",
        /// Refuses requests until the queue has room.
        Reject = "reject",
    }
}

percore::named_enum! {
    /// `--metrics-auth`: whether scrapers need a token.
    pub enum MetricsAuth {
        /// They need none.
        Off = "off",
        /// They need one that may read, or the admin token.
        On = "on",
    }
}

percore::named_enum! {
    /// `--ack`.
    pub enum Acknowledgement {
        /// Once the events are accepted.
        Accepted = "accepted",
        /// Once the store has confirmed them.
        Stored = "stored",
    }
}

percore::named_enum! {
    /// `--log-format`.
    pub enum LogFormat {
        /// `key=value` pairs, for people.
        Text = "text",
        /// One JSON object a line, for programs.
        Json = "json",
    }
}

percore::named_enum! {
    /// `--log-level`: the least serious lines that are written.
    pub enum LogLevel {
        /// Failures that end the server.
        Error = "error",
        /// Conditions that an operator should look at.
        Warn = "warn",
        /// The course of events.
        Info = "info",
        /// Each request with an error in it.
        Debug = "debug",
    }
}

percore::named_enum! {
    /// `--novelty`: the second judge, which tells what is new to a series.
    pub enum Novelty {
        /// It is not asked, and costs nothing.
        Off = "off",
        /// It tells what is new.
        On = "on",
        /// It tells the clearest only.
        Quiet = "quiet",
    }
}
