//! The corpus of the benchmark: 58 series in seven groups, and the windows that people labelled.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Error, Result};
use std::ops::Range;
use std::path::Path;

use super::series::{Series, schema};

/// The published files, of which no other version may pass for them.
const FILES: usize = 58;
const ROWS: usize = 365_558;
const WINDOWS: usize = 116;

/// A series with its labels.
pub(super) struct Labelled {
    /// The group and the file.
    pub(super) name: String,
    pub(super) series: Series,
    /// The rows of each window.
    pub(super) windows: Vec<Range<usize>>,
}

impl Labelled {
    /// Returns the name of its group.
    pub(super) fn group(&self) -> &str {
        self.name.split_once('/').map_or("", |(group, _)| group)
    }
}

/// Reads the corpus in a folder.
pub(super) fn read(folder: &Path) -> Result<Vec<Labelled>> {
    let labels = folder.join("combined_windows.json");
    let labels = fs::read(&labels)
        .map_err(|error| Error::other(format!("{}: {error}", labels.display())))?;
    let labels: BTreeMap<String, Vec<[String; 2]>> = serde_json::from_slice(&labels)?;
    let schema = schema();
    let read = |(name, windows): (String, Vec<[String; 2]>)| {
        let path = folder.join(&name);
        let series = Series::read(&path, schema)?;
        let stamps = stamps(&path)?;
        let row = |stamp: &str| {
            let second = stamp.split('.').next().unwrap_or(stamp);
            let found = stamps.iter().position(|other| other == second);
            found.ok_or_else(|| Error::other(format!("{name}: no row of {stamp}")))
        };
        let windows = windows.iter().map(|[from, to]| Ok(row(from)?..row(to)? + 1));
        Ok(Labelled { windows: windows.collect::<Result<_>>()?, series, name })
    };
    let corpus = labels.into_iter().map(read).collect::<Result<Vec<_>>>()?;
    let rows = corpus.iter().map(|it| it.series.values.len()).sum();
    let windows = corpus.iter().map(|it| it.windows.len()).sum();
    let found: [usize; 3] = [corpus.len(), rows, windows];
    if found != [FILES, ROWS, WINDOWS] {
        let [files, rows, windows] = found;
        return Err(Error::other(format!(
            "{files} files of {rows} rows with {windows} windows, where {FILES} of {ROWS} with \
             {WINDOWS} were published",
        )));
    }
    Ok(corpus)
}

/// Returns the first cells of the rows of a file.
fn stamps(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path)?;
    let rows = text.lines().skip(1);
    Ok(rows.filter_map(|row| row.split(',').next()).map(str::to_owned).collect())
}
