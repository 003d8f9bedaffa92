//! Scores the server's judges on the whole Numenta Anomaly Benchmark: `make nab`.
//!
//! The series go through the decoder and the detector of the server, row by row. The scorer is our
//! own; it is held to the published result of another detector, which must come out to the
//! hundredth. A score below what is asked for fails.

mod corpus;
mod judges;
#[path = "../../tests/novelty/naive.rs"]
mod naive;
mod scorer;
mod series;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use corepulse::analytics::novelty::judgement::Sensitivity;
use corepulse::analytics::novelty::preset::Preset;
use corepulse::analytics::novelty::series_bands::SeriesBands;
use corepulse::analytics::novelty::{EXCESS_ON, EXCESS_QUIET};

use corpus::Labelled;
use judges::Judge;
use naive::{Agreement, compare};
use scorer::{PROFILES, Tally};

/// Scores the server's judges on the Numenta Anomaly Benchmark.
#[derive(Debug, Parser)]
struct Options {
    /// The folder of the series and of `combined_windows.json`.
    folder: PathBuf,
}

/// The half of the series on which nothing was chosen for [`Preset::HALF`]: of each group in the
/// order of the hashes of their names every other one, of odd ones alternately.
const HELD_OUT: &str = include_str!("nab/held_out.txt");

/// A judge with what is asked of it.
struct Case {
    name: &'static str,
    judge: Judge,
    /// The least scores by profile.
    least: Option<[f64; 3]>,
    /// The least standard score on the held-out half.
    held_out: Option<f64>,
}

fn cases() -> [Case; 5] {
    let bands = |preset, excess| Judge::Bands(Sensitivity { preset, excess });
    let case = |name, judge| Case { name, judge, least: None, held_out: None };
    [
        case("two deviations of fifty values", Judge::Rule),
        case("windowed Gaussian", Judge::WindowedGaussian),
        Case {
            held_out: Some(66.0),
            ..case("numbers chosen on one half", bands(Preset::HALF, EXCESS_ON))
        },
        Case {
            least: Some([75.5, 69.0, 79.0]),
            ..case("--novelty on", bands(Preset::WHOLE, EXCESS_ON))
        },
        Case {
            least: Some([73.0, 69.0, 76.0]),
            ..case("--novelty quiet", bands(Preset::WHOLE, EXCESS_QUIET))
        },
    ]
}

/// The published result of the windowed Gaussian.
const PUBLISHED: [f64; 3] = [39.65, 20.87, 47.41];

/// Runs the program.
pub fn main() -> ExitCode {
    let Options { folder } = Options::parse();
    let corpus = match corpus::read(&folder) {
        Ok(corpus) => corpus,
        Err(error) => {
            eprintln!("nab: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut faults = Vec::new();
    for case in cases() {
        faults.extend(score(&case, &corpus));
    }
    faults.extend(twins(&corpus));
    cost(&corpus);
    for fault in &faults {
        eprintln!("nab: {fault}");
    }
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the scores of a judge. Returns what is not as it should be.
fn score(case: &Case, corpus: &[Labelled]) -> Vec<String> {
    let (mut total, mut held_out) = (Tally::default(), Tally::default());
    let mut groups: BTreeMap<&str, Tally> = BTreeMap::new();
    for labelled in corpus {
        let detected = case.judge.detected(&labelled.series);
        let tally = Tally::of(labelled.series.values.len(), &labelled.windows, &detected);
        *groups.entry(labelled.group()).or_default() += tally;
        total += tally;
        if HELD_OUT.lines().any(|name| name == labelled.name) {
            held_out += tally;
        }
    }
    println!("\n{:<32}standard  few FP  few FN    hits  false rows", case.name);
    for (group, tally) in &groups {
        println!("  {group:<30}{}", row(tally));
    }
    println!("  {:<30}{}", "held-out half", row(&held_out));
    println!("  {:<30}{}", "all", row(&total));

    let mut faults = Vec::new();
    let scores = PROFILES.each_ref().map(|profile| total.score(profile));
    if let Judge::WindowedGaussian = case.judge {
        let is_published =
            scores.iter().zip(PUBLISHED).all(|(score, published)| (score - published).abs() < 0.01);
        if !is_published {
            faults.push(format!("{}: {scores:.2?}, published {PUBLISHED:?}", case.name));
        }
    }
    for (score, least) in scores.iter().zip(case.least.iter().flatten()) {
        if score < least {
            faults.push(format!("{}: {score:.2}, at least {least} is asked for", case.name));
        }
    }
    let standard = held_out.score(&PROFILES[0]);
    if let Some(least) = case.held_out.filter(|least| standard < *least) {
        let name = case.name;
        faults.push(format!("{name}: {standard:.2} held out, at least {least} is asked for"));
    }
    let quiet = groups.get("artificialNoAnomaly").map_or(0, |tally| tally.false_rows);
    if matches!(case.judge, Judge::Bands(_)) && quiet > 0 {
        faults.push(format!("{}: {quiet} alerts where nothing is anomalous", case.name));
    }
    faults
}

fn row(tally: &Tally) -> String {
    let Tally { windows, hits, false_rows, .. } = tally;
    let scores = PROFILES.each_ref().map(|profile| match windows {
        0 => format!("{:>8}", "-"),
        _ => format!("{:>8.2}", tally.score(profile)),
    });
    format!("{}{:>8}{false_rows:>12}", scores.concat(), format!("{hits}/{windows}"))
}

/// Compares the detector with its twin in double precision. Returns what differs.
fn twins(corpus: &[Labelled]) -> Vec<String> {
    let mut faults = Vec::new();
    println!("\nthe twin in double precision");
    for case in cases() {
        let Judge::Bands(sensitivity) = case.judge else {
            continue;
        };
        let mut whole = Agreement::default();
        for Labelled { name, series, .. } in corpus {
            let agreement = compare(series.events(), &sensitivity);
            if agreement.differing > 0 {
                faults.push(format!("{}: {name}: {agreement:?}", case.name));
            }
            whole.alerts += agreement.alerts;
            whole.borderline += agreement.borderline;
        }
        let Agreement { alerts, borderline, .. } = whole;
        println!("  {:<30}{alerts} alerts of both, {borderline} borderline", case.name);
    }
    faults
}

/// Prints what an event costs, and the state of a series.
fn cost(corpus: &[Labelled]) {
    let sensitivity = Sensitivity { preset: Preset::WHOLE, excess: EXCESS_ON };
    let events: usize = corpus.iter().map(|labelled| labelled.series.values.len()).sum();
    let round = |_| {
        let began = Instant::now();
        let mut alerts = 0;
        for Labelled { series, .. } in corpus {
            let mut bands = SeriesBands::new();
            for (value, time) in series.events() {
                alerts += u32::from(bands.push(&sensitivity, value, time).alert.is_some());
            }
        }
        std::hint::black_box(alerts);
        began.elapsed().as_nanos() as f64 / events as f64
    };
    let best = (0..9).map(round).fold(f64::INFINITY, f64::min);
    let bytes = size_of::<SeriesBands>();
    println!("\n{bytes} bytes a series, {best:.1} ns an event and field (best of nine)");
}
