//! Draws a flamegraph of what `perf script` prints, from standard input to standard output.
//!
//! `perf/flamegraph` takes the samples and names the pictures.

use corepulse_perf::record;
use inferno::collapse::Collapse as _;
use inferno::collapse::perf::Folder;
use inferno::flamegraph::{self, Options};
use std::io;
use std::process::ExitCode;

/// Frames narrower than this share of the whole, in per cent, are left out: nobody could see them.
const WIDTH_PERCENT_MIN: f64 = 0.1;

fn main() -> ExitCode {
    record::end("draw-flamegraph", draw().map_err(|e| format!("the samples: {e}")))
}

fn draw() -> io::Result<()> {
    let mut folded = Vec::new();
    Folder::default().collapse(io::stdin().lock(), &mut folded)?;
    let mut options = Options::default();
    options.title = std::env::args().nth(1).unwrap_or_default();
    options.min_width = WIDTH_PERCENT_MIN;
    let drawn = flamegraph::from_reader(&mut options, folded.as_slice(), io::stdout().lock());
    drawn.map_err(io::Error::other)
}
