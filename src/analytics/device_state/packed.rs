//! Numbers packed into as many bits each as the largest needs.

use super::StateError;
use super::bytes::Reader;
use crate::limits::WINDOW_MAX;

/// Events up to which equal numbers take no bits. A longer column takes at least one for each, so
/// that what is decoded has no more than 64 times its bytes.
pub(super) const EVENTS_WITHOUT_BITS: usize = 256;

// They are counted in 16 bits.
const _: () = assert!(WINDOW_MAX <= u16::MAX as usize);

/// Returns the distance of a number from the least one.
#[inline(always)]
pub(super) fn offset(k: i64, base: i64) -> u64 {
    k.wrapping_sub(base).cast_unsigned()
}

/// Returns the width with which the numbers, and fixes for those that do not fit it, take the
/// fewest bits. `base` is the least and `top` the greatest number.
pub(super) fn best_width(numbers: &[i64], [base, top]: [i64; 2], fix_bits: usize) -> u32 {
    let least = width_min(numbers.len());
    let whole = bits_of(offset(top, base)).max(least);
    let wider_than =
        |width: u32| numbers.iter().filter(|k| offset(**k, base) >> width != 0).count();
    let saved_bits = numbers.len() * (whole - least) as usize;
    // Nearly always, even of those that only the whole width fits there are too many to fix.
    if saved_bits <= fix_bits || saved_bits <= fix_bits * whole.checked_sub(1).map_or(0, wider_than)
    {
        return whole;
    }
    let mut counts = [0_u16; 65];
    for k in numbers {
        if let Some(count) = counts.get_mut(bits_of(offset(*k, base)) as usize) {
            *count += 1;
        }
    }
    let (mut wider, mut best, mut best_bits) = (0, whole, usize::MAX);
    for (width, count) in (0..whole + 1).zip(counts).rev() {
        let bits = numbers.len() * width as usize + fix_bits * wider;
        if width >= least && bits < best_bits {
            (best, best_bits) = (width, bits);
        }
        wider += usize::from(count);
    }
    best
}

/// Returns the bits of a number.
#[inline(always)]
const fn bits_of(number: u64) -> u32 {
    64 - number.leading_zeros()
}

/// Returns the least width of a column.
pub(super) const fn width_min(count: usize) -> u32 {
    (count > EVENTS_WITHOUT_BITS) as u32
}

/// Appends the distances of numbers from the least one, of so many bits each, the first from the
/// lowest bit on.
pub(super) fn put_bits(numbers: &[i64], base: i64, width: u32, out: &mut Vec<u8>) {
    if width > NARROW || numbers.len() < 8 {
        return put_wide_bits(numbers.iter().map(|k| offset(*k, base)), width, out);
    }
    let (start, bytes) = (out.len(), (numbers.len() * width as usize).div_ceil(8));
    // With room behind them, as eight numbers are written together, however many bits they have.
    out.resize(start + bytes + size_of::<u128>(), 0);
    let (eights, rest) = numbers.as_chunks();
    let mut last = [base; 8];
    last.iter_mut().zip(rest).for_each(|(last, k)| *last = *k);
    let mut at = start;
    for eight in eights.iter().chain([&last]) {
        let place = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
        if let Some(place) = place {
            *place = joined(eight.map(|k| offset(k, base)), width).to_le_bytes();
        }
        at += width as usize;
    }
    out.truncate(start + bytes);
}

/// The largest width of which eight numbers are joined in one.
const NARROW: u32 = 16;

/// Joins eight numbers of so many bits each, the first from the lowest bit on.
#[inline(always)]
fn joined([a, b, c, d, e, f, g, h]: [u64; 8], width: u32) -> u128 {
    let [ab, cd, ef, gh] = [a | b << width, c | d << width, e | f << width, g | h << width];
    let [low, high] = [ab | cd << (2 * width), ef | gh << (2 * width)];
    u128::from(low) | u128::from(high) << (4 * width)
}

/// Appends numbers of any width.
fn put_wide_bits(numbers: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    let (mut bits, mut filled) = (0_u128, 0);
    for number in numbers {
        bits |= u128::from(number) << filled;
        filled += width;
        if filled >= 64 {
            out.extend((bits as u64).to_le_bytes());
            bits >>= 64;
            filled -= 64;
        }
    }
    let rest = (bits as u64).to_le_bytes();
    out.extend(rest.iter().take(filled.div_ceil(8) as usize));
}

/// Returns so many numbers of so many bits each.
pub(super) fn take_bits<'a>(
    reader: &mut Reader<'a>,
    count: usize,
    width: u32,
) -> Result<impl Iterator<Item = u64> + use<'a>, StateError> {
    let mut bytes = reader.take((count * width as usize).div_ceil(8))?;
    let (mut bits, mut filled) = (0_u128, 0);
    let mask = u64::MAX.checked_shr(64 - width).unwrap_or_default();
    Ok((0..count).map(move |_| {
        if filled < width {
            let (word, rest) = bytes.split_at(bytes.len().min(8));
            let mut next = [0; 8];
            next.iter_mut().zip(word).for_each(|(to, from)| *to = *from);
            bits |= u128::from(u64::from_le_bytes(next)) << filled;
            (filled, bytes) = (filled + 64, rest);
        }
        let number = bits as u64 & mask;
        bits >>= width;
        filled -= width;
        number
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(
            numbers in prop::collection::vec(any::<u64>(), 0..99),
            base in any::<i64>(),
            width in 0..65_u32,
        ) {
            let mask = u64::MAX.checked_shr(64 - width).unwrap_or(0);
            let numbers: Vec<_> = numbers.into_iter().map(|number| number & mask).collect();
            let offsets: Vec<_> =
                numbers.iter().map(|number| base.wrapping_add(number.cast_signed())).collect();
            let mut out = Vec::new();
            put_bits(&offsets, base, width, &mut out);
            prop_assert_eq!(out.len(), (numbers.len() * width as usize).div_ceil(8));
            let mut reader = Reader(&out);
            let read: Vec<_> = take_bits(&mut reader, numbers.len(), width).unwrap().collect();
            prop_assert_eq!(read, numbers.clone());
            prop_assert!(reader.0.is_empty());
            if let Some((_, part)) = out.split_last() {
                prop_assert!(take_bits(&mut Reader(part), numbers.len(), width).is_err());
            }
        }

        /// No other width takes fewer bits.
        #[test]
        fn the_width_is_the_best_one(
            numbers in prop::collection::vec((any::<i64>(), 0..64_u32), 1..80),
            fix_bits in 1..100_usize,
        ) {
            let numbers: Vec<_> = numbers.into_iter().map(|(number, by)| number >> by).collect();
            let [base, top] = [*numbers.iter().min().unwrap(), *numbers.iter().max().unwrap()];
            let bits = |width: u32| {
                let wider = numbers.iter().filter(|k| bits_of(offset(**k, base)) > width).count();
                numbers.len() * width as usize + fix_bits * wider
            };
            let width = best_width(&numbers, [base, top], fix_bits);
            let best = (0..=64).map(bits).min().unwrap();
            prop_assert!(bits(width) <= best.max(fix_bits), "{width}");
        }
    }

    #[test]
    fn only_short_columns_take_no_bits() {
        assert_eq!(best_width(&[7; EVENTS_WITHOUT_BITS], [7, 7], 8), 0);
        assert_eq!(best_width(&[7; EVENTS_WITHOUT_BITS + 1], [7, 7], 8), 1);
    }
}
