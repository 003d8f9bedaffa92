//! Columns: the timestamps of a window, or the values of one field, in as few bits as they need.
//!
//! Metrics are sent as decimal literals, so nearly all of their values are k/10ᵉ with a common e,
//! and the k of one window are near each other: each takes as many bits as the largest k − base
//! has. Where that does not give the value exactly, a *fix* does: a number to add to its bits,
//! which is small if the sender rounded a sum, as in 94.79799999999999. A value far from the others
//! costs a fix rather than bits of all. Where all this takes more than the bits of the values
//! themselves, they are stored instead: any double comes back bit by bit.
//!
//! ```text
//! e and width: 2   base: 1–10   fixes: 1, then place and number   k − base: width bits each
//! ```
//!
//! Timestamps are stored by their distances, as integers or, if all are whole seconds, in these.

use super::StateError;
use super::bytes::{Reader, put_signed, put_unsigned};
use super::packed::{best_width, offset, put_bits, take_bits, width_min};

/// The largest e: a finer value is hardly a measured one.
const EXPONENT_MAX: usize = 9;

/// The powers of ten up to [`EXPONENT_MAX`].
const POWERS: [f64; EXPONENT_MAX + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// In the place of e: the values' own bits follow.
const RAW: u16 = 15;

/// The bits of the head that are e.
const EXPONENT_BITS: u32 = 4;

/// The largest |k|. Up to here, adding [`ROUNDER`] rounds to an integer.
const K_MAX: f64 = (1_u64 << 51) as f64;

/// A number whose last bit is worth 1.
const ROUNDER: f64 = 1.5 * (1_u64 << 52) as f64;

/// The largest |k| of a value that may have a small fix. Doubles there are at least 2¹² times as
/// dense as the k, so a value is hardly so near to one by chance.
const NEAR_K_MAX: f64 = (1_u64 << 40) as f64;

/// The largest small fix.
const NEAR_MAX: u64 = 32;

/// The bits of the fix of a double that is not near.
const FIX_BITS: usize = 11 * 8;

/// A field with so many values that are not near, if they are also half of those seen, is no
/// decimal.
const FAR_MAX: usize = 8;

/// The usual bits of the fix of a timestamp.
const STEP_FIX_BITS: usize = 4 * 8;

/// Values that are tried together, as most need neither a fix nor a finer e.
const EXACT: usize = 8;

/// A fix that has yet to be computed.
const UNKNOWN: i64 = i64::MAX;

/// Milliseconds of a second, and the exponent of that.
const SECOND: (i64, u16) = (1_000, 3);

/// The memory for encoding columns, which can be used for several.
#[derive(Debug, Default)]
pub(super) struct Columns {
    values: Vec<f64>,
    /// The numbers k.
    numbers: Vec<i64>,
    /// The places of the values that are not exactly what their number says, and what to add to
    /// their bits.
    fixes: Vec<(usize, i64)>,
}

impl Columns {
    /// Appends the values of a field.
    pub(super) fn put_values(&mut self, values: impl Iterator<Item = f64>, out: &mut Vec<u8>) {
        self.values.clear();
        self.values.extend(values);
        let (start, count) = (out.len(), self.values.len());
        if let Some(exponent) = self.find_numbers() {
            let exponent = self.coarsen(exponent);
            let power = POWERS.get(exponent).copied().unwrap_or(1.0);
            let Self { values, numbers, fixes } = self;
            let actual = values.iter().map(|value| value.to_bits().cast_signed());
            let column = Column { exponent: exponent as u16, fix_bits: FIX_BITS, numbers, fixes };
            column.put(actual, |k| predicted(k, power), out);
            if out.len() - start <= 2 + 8 * count {
                return;
            }
            out.truncate(start);
        }
        out.extend(RAW.to_le_bytes());
        self.values.iter().for_each(|value| out.extend(value.to_bits().to_le_bytes()));
    }

    /// Appends timestamps in milliseconds, the oldest first.
    pub(super) fn put_times(
        &mut self,
        times: impl Iterator<Item = i64> + Clone,
        out: &mut Vec<u8>,
    ) {
        let Some(oldest) = times.clone().next() else {
            return;
        };
        put_signed(out, oldest);
        let steps =
            times.clone().skip(1).zip(times.clone()).map(|(later, time)| later.wrapping_sub(time));
        let (second, whole) = SECOND;
        let Self { numbers, fixes, .. } = self;
        fixes.clear();
        numbers.clear();
        let mut times = times;
        times.next();
        let mut before = oldest;
        numbers.extend(times.map(|time| time.wrapping_sub(std::mem::replace(&mut before, time))));
        let are_whole = numbers.iter().all(|step| step % second == 0);
        let exponent = if are_whole { whole } else { 0 };
        if are_whole {
            numbers.iter_mut().for_each(|step| *step /= second);
        }
        let unit = if are_whole { second } else { 1 };
        let column = Column { exponent, fix_bits: STEP_FIX_BITS, numbers, fixes };
        column.put(steps, |k| k.wrapping_mul(unit), out);
    }

    /// Finds an e and the numbers k of the values, with their fixes. Returns `None` if most values
    /// are no decimals.
    fn find_numbers(&mut self) -> Option<usize> {
        let Self { values, numbers, fixes } = self;
        fixes.clear();
        numbers.clear();
        numbers.reserve(values.len());
        let (mut exponent, mut power, mut far) = (0, 1.0, 0);
        for (values, first) in values.chunks(EXACT).zip((0..).step_by(EXACT)) {
            if let Some(exact) = values.first_chunk().and_then(|it| exact_numbers(it, power)) {
                numbers.extend_from_slice(&exact);
                continue;
            }
            for (&value, place) in values.iter().zip(first..) {
                let mut found = number(value, power);
                if found.is_none() {
                    let mut finer = POWERS.iter().enumerate().skip(exponent + 1);
                    let finer =
                        finer.find_map(|(e, power)| Some((e, *power, number(value, *power)?)));
                    if let Some((finer, finer_power, better)) = finer
                        && scale(numbers, finer - exponent)
                    {
                        (exponent, power, found) = (finer, finer_power, Some(better));
                    }
                }
                let (k, fix) = found.unwrap_or((0, UNKNOWN));
                numbers.push(k);
                if fix != 0 {
                    fixes.push((place, fix));
                    far += usize::from(fix == UNKNOWN);
                    if far > FAR_MAX && 2 * far > place {
                        return None;
                    }
                }
            }
        }
        if far > 0 {
            self.set_far();
        }
        Some(exponent)
    }

    /// Sets the numbers of the values that are no decimals to that of one that is.
    #[cold]
    fn set_far(&mut self) {
        let Self { numbers, fixes, .. } = self;
        let mut far = fixes.iter().filter(|(_, fix)| *fix == UNKNOWN).map(|(place, _)| *place);
        let mut others = numbers.iter().enumerate();
        let other = others.find(|(place, _)| far.next() != Some(*place)).map(|(_, k)| *k);
        for (place, _) in fixes.iter().filter(|(_, fix)| *fix == UNKNOWN) {
            if let (Some(k), Some(other)) = (numbers.get_mut(*place), other) {
                *k = other;
            }
        }
    }

    /// Makes e smaller if few values need it to be so large: these get a fix instead. Returns it.
    fn coarsen(&mut self, exponent: usize) -> usize {
        let Self { numbers, fixes, .. } = self;
        // A decimal digit takes 3⅓ bits of each value.
        let saved_bits = |digits: usize, fine: usize| {
            (digits * 10 * numbers.len()).checked_sub(fine * 3 * FIX_BITS).filter(|it| *it > 0)
        };
        let too_fine = (1..).find(|fine| saved_bits(exponent, *fine).is_none());
        let mut fine = numbers.iter().filter(|k| **k % 10 != 0);
        if too_fine.is_some_and(|too_fine| fine.nth(too_fine - 1).is_some()) {
            return exponent;
        }
        let fine = |unit: i64| numbers.iter().filter(|k| **k % unit != 0).count();
        let coarser = |digits| Some((saved_bits(digits, fine(unit(digits)))?, digits));
        let Some((_, digits)) = (1..=exponent).filter_map(coarser).max() else {
            return exponent;
        };
        let unit = unit(digits);
        for (place, k) in numbers.iter_mut().enumerate() {
            if *k % unit != 0 {
                fixes.push((place, UNKNOWN));
            }
            *k /= unit;
        }
        exponent - digits
    }
}

/// A column of numbers.
struct Column<'a> {
    exponent: u16,
    /// The bits that a fix takes.
    fix_bits: usize,
    numbers: &'a mut [i64],
    fixes: &'a mut Vec<(usize, i64)>,
}

impl Column<'_> {
    /// Appends the column. What a number stands for is predicted; `actual` is what it has to be, as
    /// bits or as an integer.
    #[inline(always)]
    fn put(
        self,
        actual: impl Iterator<Item = i64>,
        predict: impl Fn(i64) -> i64,
        out: &mut Vec<u8>,
    ) {
        let Self { exponent, fix_bits, numbers, fixes } = self;
        let first = numbers.first().copied().unwrap_or_default();
        let [base, top] =
            numbers.iter().fold([first; 2], |[base, top], k| [base.min(*k), top.max(*k)]);
        let width = best_width(numbers, [base, top], fix_bits);
        let is_outside = |k: i64| offset(k, base).checked_shr(width).unwrap_or_default() != 0;
        if is_outside(top) || fixes.iter().any(|(_, fix)| *fix == UNKNOWN) {
            fixes.clear();
            for ((place, actual), k) in actual.enumerate().zip(numbers.iter_mut()) {
                if is_outside(*k) {
                    *k = base;
                }
                let fix = actual.wrapping_sub(predict(*k));
                fixes.extend((fix != 0).then_some((place, fix)));
            }
        }
        out.extend((exponent | (width as u16) << EXPONENT_BITS).to_le_bytes());
        put_signed(out, base);
        put_unsigned(out, fixes.len() as u64);
        for (place, fix) in fixes {
            put_unsigned(out, *place as u64);
            put_signed(out, *fix);
        }
        put_bits(numbers, base, width, out);
    }
}

/// Returns the k of a value, and the fix that it needs; `None` if it is not near any k/10ᵉ.
#[inline(always)]
fn number(value: f64, power: f64) -> Option<(i64, i64)> {
    let scaled = value * power;
    let whole = (scaled + ROUNDER) - ROUNDER;
    let fix = value.to_bits().wrapping_sub((whole / power).to_bits()).cast_signed();
    let is_near = fix.unsigned_abs() <= NEAR_MAX && scaled.abs() <= NEAR_K_MAX;
    // Neither is true of NaN.
    let is_number = scaled.abs() <= K_MAX && fix == 0 || is_near;
    is_number.then_some((whole as i64, fix))
}

/// Returns the k of values that need no fix; `None` if one of them does, or is not near any k/10ᵉ.
#[inline(always)]
fn exact_numbers(values: &[f64; EXACT], power: f64) -> Option<[i64; EXACT]> {
    let (mut wrong, mut are_small) = (0, true);
    let numbers = values.map(|value| {
        let (scaled, bits) = (value * power, value.to_bits());
        let rounded = scaled + ROUNDER;
        wrong |= bits ^ ((rounded - ROUNDER) / power).to_bits();
        are_small &= scaled.abs() <= K_MAX;
        rounded.to_bits().wrapping_sub(ROUNDER.to_bits()).cast_signed()
    });
    (wrong == 0 && are_small).then_some(numbers)
}

/// Returns the bits of k/10ᵉ.
#[inline(always)]
fn predicted(k: i64, power: f64) -> i64 {
    (k as f64 / power).to_bits().cast_signed()
}

/// Returns 10 to the power of `digits`.
fn unit(digits: usize) -> i64 {
    POWERS.get(digits).map_or(1, |power| *power as i64)
}

/// Multiplies all by a power of ten. Returns false, and leaves them, if one would be too large.
fn scale(numbers: &mut [i64], digits: usize) -> bool {
    let unit = unit(digits);
    let max = (K_MAX as i64 / unit).cast_unsigned();
    let fit = numbers.iter().all(|k| k.unsigned_abs() <= max);
    if fit {
        numbers.iter_mut().for_each(|k| *k *= unit);
    }
    fit
}

/// Reads the values of a field, so many.
pub(super) fn read_values(reader: &mut Reader<'_>, count: usize) -> Result<Vec<f64>, StateError> {
    let head = u16::from_le_bytes(reader.array()?);
    if head == RAW {
        let (values, _) = reader.take(8 * count)?.as_chunks();
        return Ok(values.iter().copied().map(f64::from_le_bytes).collect());
    }
    let (exponent, width) = parts(head);
    let power = *POWERS.get(exponent).ok_or(StateError::Malformed)?;
    let bits = read_numbers(reader, count, width, |k| predicted(k, power))?;
    Ok(bits.into_iter().map(|bits| f64::from_bits(bits.cast_unsigned())).collect())
}

/// Reads timestamps, so many, the oldest first.
pub(super) fn read_times(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, StateError> {
    let Some(steps) = count.checked_sub(1) else {
        return Ok(Vec::new());
    };
    let mut time = reader.signed()?;
    let (exponent, width) = parts(u16::from_le_bytes(reader.array()?));
    let (second, whole) = SECOND;
    let unit = match exponent {
        0 => 1,
        _ if exponent == usize::from(whole) => second,
        _ => return Err(StateError::Malformed),
    };
    let mut times = read_numbers(reader, steps, width, |k| k.wrapping_mul(unit))?;
    for step in &mut times {
        time = std::mem::replace(step, time).wrapping_add(time);
    }
    times.push(time);
    Ok(times)
}

/// Returns e and the width.
fn parts(head: u16) -> (usize, u32) {
    let exponent = head & ((1 << EXPONENT_BITS) - 1);
    (exponent.into(), (head >> EXPONENT_BITS).into())
}

/// Reads a column of numbers, so many, after its head. Returns what they stand for.
fn read_numbers(
    reader: &mut Reader<'_>,
    count: usize,
    width: u32,
    predict: impl Fn(i64) -> i64,
) -> Result<Vec<i64>, StateError> {
    if !(width_min(count)..=64).contains(&width) {
        return Err(StateError::Malformed);
    }
    let base = reader.signed()?;
    let mut fixes = *reader;
    let fixed = reader.at_most(count)?;
    for _ in 0..fixed {
        reader.unsigned()?;
        reader.signed()?;
    }
    let offsets = take_bits(reader, count, width)?;
    let mut numbers: Vec<_> =
        offsets.map(|offset| predict(base.wrapping_add(offset.cast_signed()))).collect();
    for _ in 0..fixes.at_most(count)? {
        let place = fixes.at_most(count)?;
        let number = numbers.get_mut(place).ok_or(StateError::Malformed)?;
        *number = number.wrapping_add(fixes.signed()?);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bytes of a column, which come back bit by bit.
    fn bytes_of(values: &[f64]) -> usize {
        let mut out = Vec::new();
        Columns::default().put_values(values.iter().copied(), &mut out);
        let mut reader = Reader(&out);
        let read = read_values(&mut reader, values.len()).unwrap();
        let bits = |values: &[f64]| values.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read), bits(values));
        assert!(reader.0.is_empty());
        out.len()
    }

    #[test]
    fn decimals_take_the_bits_of_their_range() {
        // A hundred steps are seven bits. The head and the base take five bytes.
        let decimals = |power: f64| -> Vec<_> {
            (0..50).map(|at| f64::from(at * 37 % 101 + 4_000) / power).collect()
        };
        for power in POWERS {
            assert_eq!(bytes_of(&decimals(power)), 5 + (50_usize * 7).div_ceil(8), "{power}");
        }
        assert_eq!(bytes_of(&[41.5; 50]), 5);
        // A value that does not fit costs a fix, wherever it stands.
        let usual = bytes_of(&decimals(10.0));
        for place in [0, 25, 49] {
            for (other, most) in [
                (1e12, 12),
                (-0.0, 12),
                (1.0 / 3.0, 12),
                (f64::NAN, 12),
                (400.123_456_7, 12),
                (400.7 + 1e-13, 3),
            ] {
                let mut values = decimals(10.0);
                values[place] = other;
                let more = bytes_of(&values) - usual;
                assert!((1..=most).contains(&more), "{other} at {place}: {more}");
            }
        }
    }

    #[test]
    fn what_is_no_decimal_takes_its_own_bits() {
        let mut random = fastrand::Rng::with_seed(7);
        let values: Vec<_> = (0..50).map(|_| random.f64()).collect();
        assert_eq!(bytes_of(&values), 2 + 8 * 50);
        for values in [&[][..], &[f64::NAN], &[-0.0; 3]] {
            assert!(bytes_of(values) <= 2 + 8 * values.len());
        }
    }

    #[test]
    fn timestamps_take_the_bits_of_their_jitter() {
        let bytes_of = |times: &[i64]| {
            let mut out = Vec::new();
            Columns::default().put_times(times.iter().copied(), &mut out);
            let mut reader = Reader(&out);
            assert_eq!(read_times(&mut reader, times.len()), Ok(times.to_vec()));
            assert!(reader.0.is_empty());
            out.len()
        };
        let start = 1_700_000_000_123;
        let times = |step, jitter: i64| -> Vec<_> {
            (0..50).map(|at| start + step * at + at * 37 % jitter).collect()
        };
        // The first one takes six bytes, the head and the base six at most.
        assert!(bytes_of(&times(10_000, 1)) <= 6 + 6);
        assert!(bytes_of(&times(10_000, 8)) <= 6 + 6 + (49_usize * 4).div_ceil(8));
        let mut with_gap = times(10_000, 1);
        with_gap.iter_mut().skip(20).for_each(|time| *time += 86_400_000);
        assert!(bytes_of(&with_gap) <= 6 + 6 + 5);
        for times in [&[][..], &[i64::MIN], &[i64::MIN, i64::MAX, 0, i64::MIN]] {
            assert!(bytes_of(times) <= 5 + 11 * times.len());
        }
    }
}
