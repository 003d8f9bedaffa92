//! Number literals that are hard to round: at and beside the middle between two neighbours.

use std::ops::Range;

use proptest::prelude::*;

/// The digits of an integer, nine to a limb, the lowest first.
struct Integer(Vec<u64>);

const LIMB: u64 = 1_000_000_000;

impl Integer {
    fn times(&mut self, factor: u64) {
        let mut carry = 0;
        for limb in &mut self.0 {
            let product = *limb * factor + carry;
            (*limb, carry) = (product % LIMB, product / LIMB);
        }
        if carry > 0 {
            self.0.push(carry);
        }
    }

    fn digits(&self) -> String {
        let all: String = self.0.iter().rev().map(|limb| format!("{limb:09}")).collect();
        all.trim_start_matches('0').to_owned()
    }
}

/// The middle between the float of these bits and the next one: all its digits, and the power of
/// ten of the first.
fn middle(bits: u64) -> (String, i64) {
    let (fraction, exponent) = (bits & ((1 << 52) - 1), bits >> 52);
    let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
    // Of twice the mantissa and one, so that the power of two is one lower.
    let two = exponent.max(1) as i64 - 1076;
    let odd = 2 * mantissa + 1;
    let mut integer = Integer(vec![odd % LIMB, odd / LIMB]);
    for _ in 0..two.unsigned_abs() {
        integer.times(if two < 0 { 5 } else { 2 });
    }
    let digits = integer.digits();
    let magnitude = digits.len() as i64 - 1 + two.min(0);
    (digits, magnitude)
}

/// These digits, of which the first counts a certain power of ten, as a literal.
fn written(digits: &str, magnitude: i64, form: u8) -> String {
    let (first, rest) = digits.split_at(1);
    let count = digits.len() as i64;
    match form {
        0 if (0..count - 1).contains(&magnitude) => {
            let (whole, fraction) = digits.split_at(1 + magnitude as usize);
            format!("{whole}.{fraction}")
        }
        0 if (-60..0).contains(&magnitude) => {
            format!("0.{}{digits}", "0".repeat(magnitude.unsigned_abs() as usize - 1))
        }
        1 => format!("{digits}e{}", magnitude - count + 1),
        2 => format!("0.00{digits}E{:+}", magnitude + 3),
        _ if rest.is_empty() => format!("{first}e{magnitude}"),
        _ => format!("{first}.{rest}e{magnitude}"),
    }
}

/// Digits beside the middle between two neighbours in a range, or as much of it as is kept.
pub(crate) fn beside_a_middle(range: Range<f64>) -> impl Strategy<Value = String> {
    // Up to what is just too large.
    let end = range.end.to_bits() + (1 << 45);
    let bits = range.start.to_bits()..end.min(f64::INFINITY.to_bits());
    (bits, 1_usize..125, 0..4_u8, 0..4_u8).prop_map(|(bits, kept, turn, form)| {
        let (mut digits, magnitude) = middle(bits);
        digits.truncate(kept);
        match turn {
            // The middle itself, or just below it.
            0 => {}
            // Just above the middle.
            1 => digits.push('1'),
            2 => digits.push_str("0000000000000000000001"),
            // The last digit is another one.
            _ => {
                let last = digits.pop().unwrap_or('0');
                digits.push(if last == '9' { '8' } else { char::from(last as u8 + 1) });
            }
        }
        written(&digits, magnitude, form)
    })
}

/// Many digits, and exponents without measure.
pub(crate) fn long_or_extreme() -> impl Strategy<Value = String> {
    prop_oneof![
        "(0|[1-9][0-9]{0,60})\\.[0-9]{1,80}([eE][+-]?[0-9]{1,3})?",
        "0\\.0{1,120}[0-9]{1,20}",
        "[1-9]0{1,120}(\\.0{1,30})?(e-[0-9]{1,3})?",
        "[0-9](\\.[0-9]{1,20})?[eE][+-]?0{0,60}[0-9]{1,40}",
        "9{1,20}\\.9{1,100}",
    ]
}
