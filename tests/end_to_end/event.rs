//! Events as a device sends them: literals, and their values.

use std::fmt::Write;

/// One metric as a device writes it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) device_id: Option<String>,
    /// A JSON literal: an integer or a string with its quotes.
    pub(crate) timestamp: String,
    /// As `/analyze` shows that moment.
    pub(crate) shown: String,
    /// Number literals of cpu and rps.
    pub(crate) literals: [String; 2],
    /// Their values.
    pub(crate) values: [f64; 2],
}

/// Names of the fields, in the order of [`Event::values`].
pub(crate) const FIELDS: [&str; 2] = ["cpu", "rps"];

impl Event {
    /// Of these values, at so many seconds after a certain moment.
    pub(crate) fn at(second: usize, device_id: Option<&str>, values: [f64; 2]) -> Self {
        let time = 1_750_000_000 + second;
        // 1750000000 is 2025-06-15 15:06:40 in UTC; tests stay within that day.
        let of_day = 15 * 3600 + 6 * 60 + 40 + second;
        assert!(of_day < 86_400);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        Self {
            device_id: device_id.map(str::to_owned),
            timestamp: time.to_string(),
            shown: format!("2025-06-15T{hour:02}:{minute:02}:{second:02}.000Z"),
            literals: values.map(|value| value.to_string()),
            values,
        }
    }

    pub(crate) fn json(&self) -> String {
        let mut text = String::from("{");
        if let Some(id) = &self.device_id {
            write!(text, "\"device_id\":\"{id}\",").unwrap();
        }
        let [cpu, rps] = &self.literals;
        let time = &self.timestamp;
        write!(text, "\"timestamp\":{time},\"cpu\":{cpu},\"rps\":{rps}}}").unwrap();
        text
    }
}

/// These events, one a line.
pub(crate) fn ndjson<'a>(events: impl IntoIterator<Item = &'a Event>) -> String {
    let lines = events.into_iter().map(|event| event.json() + "\n");
    lines.collect()
}

/// These events as an array.
pub(crate) fn array<'a>(events: impl IntoIterator<Item = &'a Event>) -> String {
    let elements: Vec<String> = events.into_iter().map(Event::json).collect();
    format!("[{}]", elements.join(","))
}
