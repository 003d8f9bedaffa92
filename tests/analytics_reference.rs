//! The analytics against a naive reference in twice the precision, after every event.
//!
//! The tolerances are those of the design: mean and standard deviation within 1e-9 of max(1, the
//! largest value in the window), scores within 1e-9 of max(1, |z|) and 1e-14 of the largest value
//! in standard deviations; verdicts are equal except within that tolerance of the threshold.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

#[path = "reference/compare.rs"]
mod compare;
#[path = "reference/double_double.rs"]
mod double_double;
#[path = "reference/fields.rs"]
mod fields;
#[path = "reference/series.rs"]
mod series;

use compare::compare;
use corepulse::analytics::AnalyticsSettings;
use corepulse::analytics::moments::Moments;
use corepulse::schema::Schema;
use proptest::prelude::*;

fn settings() -> AnalyticsSettings {
    AnalyticsSettings {
        schema: Schema::standard(),
        window: 50,
        threshold: 2.0,
        min_samples: 16,
        cooldown: 50,
        devices_max: 10,
        device_ttl_ns: u64::MAX,
        device_limit: None,
        judge_duplicates: true,
    }
}

fn nab(name: &str) -> Vec<f64> {
    let path = format!("{}/tests/data/nab/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    let mut rows = csv::Reader::from_path(path).unwrap();
    rows.records().map(|row| row.unwrap()[1].parse().unwrap()).collect()
}

/// Noise of a fixed seed: the same events in every run.
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut random = fastrand::Rng::with_seed(seed);
    move || random.f64()
}

#[test]
fn real_devices() {
    let requests = nab("elb_request_count_8c0756");
    let network = nab("ec2_network_in_257a54");
    for cpu in ["ec2_cpu_utilization_825cc2", "rds_cpu_utilization_cc0c53"] {
        let cpu = nab(cpu);
        for rps in [&requests, &network] {
            let events: Vec<_> = cpu.iter().zip(rps).map(|(&cpu, &rps)| [cpu, rps]).collect();
            assert_eq!(events.len(), 4032);
            let seen = compare(settings(), &events);
            assert_eq!((seen.verdicts, seen.undecided), (2 * (4032 - 16), 0));
            assert!(seen.points > 200 && seen.episodes > 20, "{seen:?}");
            assert!(seen.episodes < seen.points, "{seen:?}");
        }
    }
}

#[test]
fn windows_of_other_sizes() {
    let (cpu, rps) = (nab("ec2_cpu_utilization_24ae8d"), nab("elb_request_count_8c0756"));
    let events: Vec<_> = cpu.iter().zip(&rps).take(1500).map(|(&c, &r)| [c, r]).collect();
    for (window, min_samples, cooldown) in [(1, 1, 0), (2, 2, 1), (7, 3, 5), (49, 49, 0)] {
        let settings =
            AnalyticsSettings { window, min_samples, cooldown, threshold: 2.5, ..settings() };
        assert!(compare(settings, &events).points > 0);
    }
    let settings = AnalyticsSettings { window: 1000, cooldown: 1000, ..settings() };
    assert!(compare(settings, &events).points > 50);
}

#[test]
fn constant_series_and_then_a_step() {
    for constant in [91.958, 0.1, 1.0 / 3.0, 999_999.9, 0.0] {
        let mut events = vec![[constant, constant * 1e6]; 120];
        assert_eq!(compare(settings(), &events).points, 0);
        let step = |value: f64| value + value.max(1.0) * 1e-12;
        events.push([step(constant), step(constant * 1e6)]);
        events.push([constant + 1e-3, constant * 1e6 + 1e4]);
        events.extend([[constant, constant * 1e6]; 60]);
        assert!(compare(settings(), &events).points > 0, "{constant}");
    }
}

#[test]
fn level_shifts() {
    let mut noise = noise(1);
    let events: Vec<_> = (0..1200_u32)
        .map(|at| {
            let level = f64::from(at / 150);
            [level * 1e5 + noise(), 10_f64.powf(level * 1.7) + noise()]
        })
        .collect();
    assert!(compare(settings(), &events).points > 14);
}

#[test]
fn spikes_of_1e12_leave_nothing_behind() {
    // Deviations from next to nothing to ordinary, around values near one.
    for spread in [0.0, 1e-9, 1e-6, 1e-3, 1.0] {
        let mut noise = noise(2);
        let events: Vec<_> = (0..700)
            .map(|at| {
                let spike = at % 120 == 80 || at % 333 == 100;
                let cpu = if spike { 1e6 } else { 1.0 + spread * noise() };
                let rps = if spike { 1e12 } else { 1.0 + spread * noise() };
                [cpu, rps]
            })
            .collect();
        assert!(compare(settings(), &events).points >= 14, "{spread}");
        for window in [16, 51] {
            compare(AnalyticsSettings { window, ..settings() }, &events);
        }
    }
}

#[test]
fn tiny_deviations_around_large_values() {
    let mut noise = noise(3);
    for (level, spread) in [(1e12, 1e-3), (1e12, 1.0), (1e12 - 1.0, 1e4), (1e9, 1e-6), (1e5, 1e-9)]
    {
        let events: Vec<_> = (0..400)
            .map(|_| [(level * 1e-6) + spread * 1e-6 * noise(), level - spread * noise()])
            .collect();
        assert!(compare(settings(), &events).verdicts > 700);
    }
}

#[test]
fn the_largest_windows_keep_nine_digits_of_the_deviation() {
    // A pass is shifted by the first value: here it is as far from the others as possible.
    let mut noise = noise(4);
    for count in [51, 255, 1000, 10_000] {
        for (first, level, spread) in [(1e12, 1.0, 1.0), (0.0, 1e12, 1e-2), (5e11, 5e11, 1e-3)] {
            let mut values = vec![[first; 2]];
            values.extend((1..count).map(|_| [level + spread * noise(), level * noise()]));
            let moments = Moments::of(&values).unwrap();
            for field in 0..2 {
                let column: Vec<f64> = values.iter().map(|values| values[field]).collect();
                let (mean, stddev) = series::moments(&column);
                let (mean, stddev) = (mean.nearest(), stddev.nearest());
                let place = format!("{count} of {level}, {moments:?}, {mean}, {stddev}");
                assert!((moments.stddev[field] - stddev).abs() <= 1e-9 * stddev, "{place}");
                assert!((moments.mean[field] - mean).abs() <= 1e-14 * 1e12, "{place}");
            }
        }
    }
}

/// Any value in range: ordinary ones, the borders, magnitudes far apart, repetitions.
fn values() -> impl Strategy<Value = Vec<[f64; 2]>> {
    let one = |max: f64| {
        prop_oneof![
            6 => 0.0..100.0_f64,
            2 => Just(91.958),
            1 => Just(0.0),
            1 => Just(max),
            2 => 0.0..max,
            2 => (-300.0..max.log10()).prop_map(|power| 10_f64.powf(power)),
        ]
    };
    prop::collection::vec((one(1e6), one(1e12)).prop_map(|(cpu, rps)| [cpu, rps]), 1..250)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_values_in_range(
        events in values(),
        window in 1..80_usize,
        share in 0.0..1.0_f64,
        cooldown in 0..60_usize,
        threshold in 0.5..4.0_f64,
    ) {
        let min_samples = 1 + (share * (window - 1) as f64) as usize;
        compare(
            AnalyticsSettings { window, threshold, min_samples, cooldown, ..settings() },
            &events,
        );
    }
}
