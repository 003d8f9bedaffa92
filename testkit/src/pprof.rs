//! As much of protobuf, and of pprof's `profile.proto`, as it takes to read a profile.

use std::collections::{BTreeMap, BTreeSet};

/// The contents of a profile.
#[derive(Debug, Default)]
pub struct Profile {
    /// Names of all functions.
    pub functions: BTreeSet<String>,
    /// Names of those that time was spent in itself.
    pub innermost: BTreeSet<String>,
    /// Values of the label `thread`.
    pub threads: BTreeSet<String>,
    /// The number of samples.
    pub samples: u64,
    /// Its duration.
    pub duration_ns: u64,
}

/// A field: its number, and a number or bytes.
type Field<'a> = (u64, u64, &'a [u8]);

impl Profile {
    /// Parses a message of the type `Profile`; anything strange is a failure.
    pub fn parse(bytes: &[u8]) -> Self {
        let all = fields(bytes);
        let of = |number: u64| all.iter().filter(move |field| field.0 == number);
        let strings: Vec<&str> =
            of(6).map(|field| std::str::from_utf8(field.2).expect("strings are UTF-8")).collect();
        assert_eq!(strings[0], "", "the first string is empty");
        let string = |at: u64| strings[usize::try_from(at).expect("an index")].to_owned();
        let functions: BTreeMap<u64, String> =
            of(5).map(|field| (number(field.2, 1), string(number(field.2, 2)))).collect();
        let locations: BTreeMap<u64, String> = of(4)
            .map(|field| {
                let line = fields(field.2).into_iter().find(|part| part.0 == 4).expect("a line");
                (number(field.2, 1), functions[&number(line.2, 1)].clone())
            })
            .collect();
        let mut profile = Self { duration_ns: number(bytes, 10), ..Self::default() };
        for sample in of(2) {
            let stack = repeated(sample.2, 1);
            profile.innermost.insert(locations[&stack[0]].clone());
            profile.samples += repeated(sample.2, 2)[0];
            for label in fields(sample.2).into_iter().filter(|part| part.0 == 3) {
                assert_eq!(string(number(label.2, 1)), "thread");
                profile.threads.insert(string(number(label.2, 2)));
            }
        }
        profile.functions = functions.into_values().collect();
        profile
    }
}

/// A number by its field, 0 where it is absent.
fn number(bytes: &[u8], of: u64) -> u64 {
    fields(bytes).iter().find(|field| field.0 == of).map_or(0, |field| field.1)
}

/// All numbers of a field, packed or not.
fn repeated(bytes: &[u8], of: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    for (_, single, mut packed) in fields(bytes).into_iter().filter(|field| field.0 == of) {
        if packed.is_empty() {
            numbers.push(single);
        }
        while !packed.is_empty() {
            numbers.push(varint(&mut packed));
        }
    }
    numbers
}

fn fields(mut rest: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest);
        match key & 7 {
            0 => fields.push((key >> 3, varint(&mut rest), &[][..])),
            2 => {
                let length = usize::try_from(varint(&mut rest)).expect("a length");
                let (bytes, after) = rest.split_at(length);
                fields.push((key >> 3, 0, bytes));
                rest = after;
            }
            other => panic!("no field of a profile is of wire type {other}"),
        }
    }
    fields
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first().expect("a varint has an end");
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a varint of more than ten bytes")
}
