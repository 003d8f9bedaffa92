//! Any values and stamps, in any order: a score is always one, the state stays finite, and it
//! comes back from its bytes.

use crate::noise::{ON, QUIET};
use corepulse::analytics::novelty::judgement::{EventTime, Quantity};
use corepulse::analytics::novelty::local_day::LocalDay;
use corepulse::analytics::novelty::series_bands::SeriesBands;
use proptest::prelude::*;

fn values() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -100.0..100.0,
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => prop::sample::select(vec![
            0.0, -0.0, 1e30, -1e30, f64::MAX, f64::MIN, f64::INFINITY, f64::NEG_INFINITY, f64::NAN,
            f64::MIN_POSITIVE, 5e-324, 1e-30, 1e15,
        ]),
    ]
}

fn steps() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => 0..600_000_i64,
        1 => -10_000_000..10_000_000_i64,
        1 => any::<i64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn whatever_comes_a_score_is_one_and_the_state_is_finite(
        runs in prop::collection::vec((values(), steps(), 1..60_usize), 1..40),
        start in any::<i64>(),
        is_quiet in any::<bool>(),
    ) {
        let sensitivity = if is_quiet { QUIET } else { ON };
        let (mut bands, mut ms) = (SeriesBands::new(), start);
        for (value, step, count) in runs {
            for _ in 0..count {
                ms = ms.wrapping_add(step);
                let at = EventTime { ms, hour: LocalDay::UTC.hour(ms) };
                let before = bands.clone();
                let judgement = bands.push(&sensitivity, value, at);
                prop_assert!((0.0..=1.0).contains(&judgement.score), "{judgement:?}");
                let is_alert = judgement.score >= sensitivity.threshold();
                prop_assert_eq!(judgement.alert.is_some(), is_alert);
                if !value.is_finite() {
                    prop_assert_eq!(&bands, &before);
                }
            }
            for quantity in Quantity::ALL {
                let banded = bands.banded(quantity);
                prop_assert!(banded.is_none_or(|it| it.low <= it.high && it.now.is_finite()));
            }
            // A state that is not finite is none that may be decoded.
            let mut bytes = Vec::new();
            bands.encode(&mut bytes);
            let (decoded, rest) = SeriesBands::decode(&bytes).expect("a state");
            prop_assert_eq!((&decoded, rest.len()), (&bands, 0));
            for cut in 0..bytes.len() {
                prop_assert!(SeriesBands::decode(&bytes[..cut]).is_none());
            }
        }
    }

    #[test]
    fn bytes_that_are_no_state_are_refused_or_harmless(
        mut bytes in prop::collection::vec(any::<u8>(), 600),
        plain in any::<bool>(),
        values in prop::collection::vec(values(), 100),
    ) {
        if plain {
            // Small numbers, which are valid more often.
            bytes.iter_mut().skip(3).step_by(4).for_each(|byte| *byte = 0);
        }
        if let Some((mut bands, _)) = SeriesBands::decode(&bytes) {
            for (number, value) in values.into_iter().enumerate() {
                let ms = number as i64 * 60_000;
                let judgement = bands.push(&ON, value, EventTime { ms, hour: 3 });
                prop_assert!((0.0..=1.0).contains(&judgement.score));
            }
        }
    }
}

/// Bytes of a state before its numbers in single precision, and how many of these there are before
/// the hours.
const NUMBERS: (usize, usize) = (37, 20);

/// Averages come to zero, and not to rest at the smallest numbers of the format, with which a
/// processor computes many times as slowly.
#[test]
fn averages_that_decay_come_to_zero() {
    let mut bands = SeriesBands::new();
    let mut random = fastrand::Rng::with_seed(3);
    for minute in 0..600_000 {
        let value = if minute < 5_000 { 50.0 + random.f64() } else { 50.0 };
        let ms = minute * 60_000;
        bands.push(&ON, value, EventTime { ms, hour: LocalDay::UTC.hour(ms) });
    }
    let mut bytes = Vec::new();
    bands.encode(&mut bytes);
    let (start, count) = NUMBERS;
    let (numbers, _) = bytes[start..start + 4 * count].as_chunks();
    let numbers: Vec<f32> = numbers.iter().copied().map(f32::from_le_bytes).collect();
    assert!(numbers.iter().all(|number| !number.is_subnormal()), "{numbers:?}");
    assert_eq!(bands.banded(Quantity::Share).map(|share| share.now), Some(0.0));
    // The bands of what the series did are still there.
    assert!(bands.banded(Quantity::Usual).is_some_and(|usual| usual.high - usual.low > 0.01));
}
