//! Series of the Numenta Anomaly Benchmark, read by the decoder of the server: files of
//! `timestamp,value` rows.

use std::fs;
use std::io::{Error, Result};
use std::path::Path;

use corepulse::analytics::novelty::judgement::{EventTime, Judgement, Sensitivity};
use corepulse::analytics::novelty::local_day::LocalDay;
use corepulse::analytics::novelty::series_bands::SeriesBands;
use corepulse::metric::decode::Decoder;
use corepulse::schema::{FieldOptions, Schema};
use percore::clock::Now;

/// Rows of a body: no more events may be in one.
const ROWS: usize = 5_000;

/// The events of a series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) values: Vec<f64>,
    pub(crate) times: Vec<EventTime>,
}

/// Returns the schema of such a file.
pub(crate) fn schema() -> &'static Schema {
    let value = FieldOptions {
        name: "value".to_owned(),
        is_required: true,
        range: None,
        least_deviation: 0.0,
    };
    let [device, time] = ["device_id", "timestamp"].map(|name| vec![name.to_owned()]);
    Schema::leak(&[value], [&device, &time, &device])
}

impl Series {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or has a row that the server would refuse.
    pub(crate) fn read(path: &Path, schema: &'static Schema) -> Result<Self> {
        let text = fs::read_to_string(path)
            .map_err(|error| Error::other(format!("{}: {error}", path.display())))?;
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        let rows: Vec<&str> = lines.collect();
        let mut decoder = Decoder::new(schema);
        let mut series = Self { values: Vec::new(), times: Vec::new() };
        for rows in rows.chunks(ROWS) {
            let body = format!("{header}\n{}\n", rows.join("\n"));
            let batch = decoder.decode_table(body.as_bytes(), Now { mono_ns: 0, wall_us: NOW_US });
            let batch = batch.map_err(|error| Error::other(error.to_string()))?;
            for event in batch.iter() {
                let event = event.map_err(|rejection| Error::other(rejection.to_string()))?;
                series.values.extend(event.values.first());
                let ms = event.timestamp_ms;
                series.times.push(EventTime { ms, hour: LocalDay::UTC.hour(ms) });
            }
        }
        Ok(series)
    }

    /// Returns the events with their times.
    pub(crate) fn events(&self) -> impl Iterator<Item = (f64, EventTime)> {
        self.values.iter().copied().zip(self.times.iter().copied())
    }

    /// Returns the judgement of each event.
    pub(crate) fn judged(&self, sensitivity: &Sensitivity) -> Vec<Judgement> {
        let mut bands = SeriesBands::new();
        self.events().map(|(value, time)| bands.push(sensitivity, value, time)).collect()
    }
}

/// A time after all of the series, in microseconds.
const NOW_US: i64 = 1_700_000_000_000_000;
