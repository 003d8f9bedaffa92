//! Other fields than two required ones: any number of them, absent ones, and all that is finite.

use std::sync::LazyLock;

use corepulse::analytics::moments::Moments;
use corepulse::analytics::summary::FieldSummary;
use corepulse::analytics::{Analytics, AnalyticsSettings, Arrived};
use corepulse::metric::event::Event;
use corepulse::metric::id_hash::IdHasher;
use corepulse::schema::{FieldOptions, FieldSet, Schema};
use percore::clock::Now;
use proptest::prelude::*;

use super::compare::{Comparison, compare};
use super::{nab, noise, settings};

/// Returns a schema of so many required and optional fields. Every third field has a least
/// deviation.
fn schema(required: usize, optional: usize) -> &'static Schema {
    let field = |number: usize| FieldOptions {
        name: format!("f{number}"),
        is_required: number < required,
        range: None,
        least_deviation: if number % 3 == 2 { 1.5 } else { 0.0 },
    };
    let fields: Vec<_> = (0..required + optional).map(field).collect();
    let names = ["device_id", "timestamp"].map(str::to_owned);
    Schema::leak(&fields, [&names[..1], &names[1..], &names[..1]])
}

/// The schemas that properties are tried with.
static SCHEMAS: LazyLock<Vec<&Schema>> = LazyLock::new(|| {
    let shapes = [(1, 0), (0, 1), (0, 3), (1, 3), (8, 0), (4, 12), (0, 16), (16, 0)];
    let others = shapes.map(|(required, optional)| schema(required, optional));
    others.into_iter().chain([Schema::standard()]).collect()
});

/// Returns the event with these of its values; the first one if it would have none.
fn row(schema: &Schema, present: u16, values: &[f64]) -> Vec<Option<f64>> {
    let present = present | schema.required_set().bits();
    let bits = if present & (0xffff >> (16 - schema.fields().len())) == 0 { 1 } else { present };
    let is_present = |field: usize| bits >> field & 1 == 1;
    let fields = schema.fields().iter().map(|field| field.index()).zip(values);
    fields.map(|(field, &value)| is_present(field).then_some(value)).collect()
}

/// Any value whose square is finite: ordinary ones, magnitudes far apart, repetitions.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => -100.0..100.0_f64,
        3 => Just(21.5),
        1 => Just(0.0),
        1 => -1e12..1e12_f64,
        1 => (-150.0..150.0_f64).prop_map(|power| 10_f64.powf(power)),
        1 => (-150.0..150.0_f64).prop_map(|power| -10_f64.powf(power)),
    ]
}

/// Sets of fields: any, few, and one alone.
fn present() -> impl Strategy<Value = u16> {
    let bit = || (0..16_u16).prop_map(|bit| 1 << bit);
    prop_oneof![any::<u16>(), (bit(), bit(), bit()).prop_map(|(a, b, c)| a | b | c), bit()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_fields_with_any_gaps(
        schema in (0..SCHEMAS.len()).prop_map(|at| SCHEMAS[at]),
        events in prop::collection::vec(
            (0..3_usize, present(), prop::array::uniform16(value()), 0..10_u8), 1..120),
        window in 1..60_usize,
        share in 0.0..1.0_f64,
        cooldown in 0..40_usize,
        threshold in 0.5..4.0_f64,
    ) {
        let min_samples = 1 + (share * (window - 1) as f64) as usize;
        let settings =
            AnalyticsSettings { schema, window, threshold, min_samples, cooldown, ..settings() };
        let mut comparison = Comparison::new(settings, 3);
        comparison.check_all();
        for (device, present, values, turn) in events {
            comparison.take(device, &row(schema, present, &values));
            if turn == 0 {
                comparison.check_all();
            }
        }
        comparison.check_all();
    }
}

#[test]
fn real_devices_of_eight_and_of_sixteen_fields() {
    let columns = [
        "ec2_cpu_utilization_24ae8d",
        "ec2_cpu_utilization_825cc2",
        "rds_cpu_utilization_cc0c53",
        "elb_request_count_8c0756",
        "ec2_network_in_257a54",
    ]
    .map(nab);
    let value = |at: usize, field: usize| columns[field % 5][at + field * 50];
    let eight: Vec<[f64; 8]> =
        (0..900).map(|at| std::array::from_fn(|field| value(at, field))).collect();
    let seen = compare(AnalyticsSettings { schema: schema(8, 0), ..settings() }, &eight);
    assert_eq!(seen.verdicts, 8 * (900 - 16));
    assert!(seen.points > 100 && seen.episodes > 20, "{seen:?}");

    // Three of sixteen come: always the same ones of a device, but for one in a hundred.
    let schema = schema(0, 16);
    let mut comparison = Comparison::new(AnalyticsSettings { schema, ..settings() }, 5);
    for at in 0..2500 {
        let (device, at) = (at % 5, at / 5);
        let usual = 0b10_0001_0001 << device;
        let present = if at % 100 == 99 { u16::MAX } else { usual };
        let values: Vec<f64> = (0..16).map(|field| value(at, field)).collect();
        comparison.take(device, &row(schema, present, &values));
    }
    comparison.check_all();
    let seen = comparison.counts();
    assert!(seen.points > 50 && seen.episodes > 20, "{seen:?}");
}

/// Applies rows to one device, and returns the summary of a field after each.
fn summaries(schema: &'static Schema, rows: &[Vec<f64>], field: usize) -> Vec<FieldSummary> {
    let ids = IdHasher::default();
    let analytics = Analytics::new(AnalyticsSettings { schema, ..settings() }, 1, ids.clone());
    let present = FieldSet::from_bits(0xffff >> (16 - schema.fields().len()));
    let take = |values: &Vec<f64>| {
        let event = Event { device_id: Some(b"d"), present, values, ..Event::default() };
        let arrived = Arrived { event, hash: ids.hash_of(&event), index: 0 };
        analytics.writer(0, Now::default(), 1).apply(&[arrived], &mut Vec::new());
        analytics.device("d", Now::default()).unwrap().fields[field].unwrap()
    };
    rows.iter().map(take).collect()
}

#[test]
fn the_numbers_of_a_field_are_the_same_to_the_bit_whatever_is_beside_it() {
    let (own, beside) = (nab("ec2_cpu_utilization_825cc2"), nab("elb_request_count_8c0756"));
    let rows = |fields: usize, field: usize| -> Vec<Vec<f64>> {
        (0..500)
            .map(|at| {
                (0..fields).map(|of| if of == field { own[at] } else { beside[at] }).collect()
            })
            .collect()
    };
    // None of these fields has a least deviation.
    let alone = summaries(schema(1, 0), &rows(1, 0), 0);
    assert!(alone.iter().any(|summary| summary.anomaly));
    for (required, optional, field) in [
        (0, 1, 0),
        (2, 0, 1),
        (3, 0, 0),
        (8, 0, 7),
        (16, 0, 15),
        (4, 12, 3),
        (4, 12, 15),
        (0, 16, 7),
    ] {
        let fields = required + optional;
        let found = summaries(schema(required, optional), &rows(fields, field), field);
        assert_eq!(found, alone, "field {field} of {required} and {optional}");
    }
}

#[test]
fn moments_of_a_column_are_the_same_to_the_bit_in_any_width() {
    fn check<const N: usize>(count: usize, noise: &mut impl FnMut() -> f64) {
        let rows: Vec<[f64; N]> = (0..count)
            .map(|_| std::array::from_fn(|field| noise() * 1e3_f64.powi(field as i32)))
            .collect();
        let wide = Moments::of(&rows).unwrap();
        for field in 0..N {
            let column: Vec<[f64; 1]> = rows.iter().map(|row| [row[field]]).collect();
            let Moments { mean: [mean], stddev: [stddev] } = Moments::of(&column).unwrap();
            assert_eq!((wide.mean[field], wide.stddev[field]), (mean, stddev), "{field} of {N}");
        }
    }
    let mut noise = noise(5);
    for count in [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 49, 50, 51, 255, 256, 257, 1000] {
        check::<1>(count, &mut noise);
        check::<2>(count, &mut noise);
        check::<3>(count, &mut noise);
        check::<8>(count, &mut noise);
        check::<16>(count, &mut noise);
    }
}

#[test]
fn values_too_large_for_a_deviation_raise_no_alarm_and_leave_nothing_behind() {
    for huge in [1e154, 1e160, 1e200, 1e300, f64::MAX] {
        let mut noise = noise(6);
        // They come by turns, so that none is further from the mean than the others.
        let mut column: Vec<f64> =
            (0..150_u32).map(|at| if at % 2 == 0 { huge } else { -huge }).collect();
        let calm: Vec<f64> = (0..80).map(|_| 20.0 + noise()).collect();
        column.extend(&calm);
        let rows: Vec<Vec<f64>> = column.iter().map(|value| vec![*value]).collect();
        for schema in [schema(1, 0), schema(0, 1)] {
            let found = summaries(schema, &rows, 0);
            assert!(found[..150].iter().all(|summary| !summary.anomaly), "{huge:e}");
            assert!(found.iter().all(|summary| summary.z_score.is_none_or(f64::is_finite)));
            let calm: Vec<Vec<f64>> = calm.iter().map(|value| vec![*value]).collect();
            let afresh = summaries(schema, &calm, 0);
            // From the first on after which the sums were computed anew, with no value left that
            // was too large. Each stands in the same place of the window, or the sums would be
            // rounded in another order.
            assert!(found[150 + 51..] == afresh[51..], "{huge:e}");
            let scores = |summary: &FieldSummary| summary.z_score.unwrap();
            let (with, without) = (scores(&found[150 + 50]), scores(&afresh[50]));
            assert!((with - without).abs() < 1e-12, "{huge:e}: {with} {without}");
        }
    }
}
