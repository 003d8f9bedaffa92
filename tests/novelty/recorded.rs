//! The six recorded series, alert by alert, and beside the naive twin.

use std::path::Path;

use crate::naive::compare;
use crate::noise::{ON, QUIET};
use crate::series::{Series, schema};
use corepulse::analytics::novelty::judgement::{Judgement, Sensitivity};
use corepulse::analytics::novelty::preset::Preset;

const FILES: [&str; 6] = [
    "ec2_cpu_utilization_24ae8d",
    "ec2_cpu_utilization_5f5533",
    "ec2_cpu_utilization_825cc2",
    "ec2_network_in_257a54",
    "elb_request_count_8c0756",
    "rds_cpu_utilization_cc0c53",
];

fn series(name: &str) -> Series {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nab");
    let series = Series::read(&folder.join(name).with_extension("csv"), schema()).unwrap();
    assert_eq!(series.values.len(), 4032);
    series
}

/// Returns each alert as `file row score reason`.
fn alerts(sensitivity: &Sensitivity) -> Vec<String> {
    let of_file = |file: &&str| {
        let judged = series(file).judged(sensitivity).into_iter().enumerate();
        let alert = |(row, judgement): (usize, Judgement)| {
            let quantity = judgement.alert?;
            Some(format!("{file} {row} {:.2} {}", judgement.score, quantity.name()))
        };
        judged.filter_map(alert).collect::<Vec<_>>()
    };
    FILES.iter().flat_map(of_file).collect()
}

#[test]
fn alerts_are_these() {
    for (name, sensitivity) in [("on", ON), ("quiet", QUIET)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/novelty/alerts").join(name);
        let expected = std::fs::read_to_string(path.with_extension("txt")).unwrap();
        let found = alerts(&sensitivity).join("\n") + "\n";
        assert_eq!(found, expected, "{name}: {found}");
    }
}

#[test]
fn the_twin_agrees() {
    for sensitivity in [ON, QUIET, Sensitivity { preset: Preset::HALF, excess: 1.0 }] {
        for file in FILES {
            let agreement = compare(series(file).events(), &sensitivity);
            assert_eq!(agreement.differing, 0, "{file}: {agreement:?}");
            assert!(agreement.borderline <= 1, "{file}: {agreement:?}");
        }
    }
}
