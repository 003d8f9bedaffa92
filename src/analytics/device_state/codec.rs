//! The encoding of a state: some 300 bytes for two fields and a window of fifty.
//!
//! ```text
//! version: 1   schema: 4   counts   times   last minute   windows   forks   recent anomalies
//! window: size, count, next   timestamps   for each field its state: 28, and its values
//! ```
//!
//! What the second judge knows stands behind that, under a version of its own: an instance without
//! it writes what instances read that have never heard of it.
//!
//! What stands around it, as a sum to check, is the matter of those who keep it. But whatever the
//! bytes are, reading them ends in a state or in an error, and takes no more memory than a multiple
//! of their length.

use super::bytes::{Reader, put_signed, put_unsigned};
use super::column::{self, Columns};
use super::ring::interleaved;
use super::{DeviceState, FieldState, MINUTE_BUCKETS, MinuteState, StateError, WindowState};
use crate::analytics::anomaly::Point;
use crate::analytics::lineage::{FORKS_MAX, Fork};
use crate::analytics::novelty::FieldNovelty;
use crate::analytics::novelty::series_bands::SeriesBands;
use crate::analytics::novelty::stillness::Stillness;
use crate::limits::{RECENT_ANOMALIES_MAX, WINDOW_MAX};
use crate::schema::Schema;

/// The version of the encoding, in its first byte. A release reads that of the one before as well.
const VERSION: u8 = 1;

/// The version of an encoding with what the second judge knows.
const VERSION_WITH_NOVELTY: u8 = 2;

/// The bits that say what is known of a field.
const HAS_BANDS: u8 = 1;
const HAS_STILLNESS: u8 = 2;

/// The bit of the bucket mask that says that there never was an anomaly.
const NO_MINUTE: u8 = 1 << MINUTE_BUCKETS;

/// An encoder of states, with the memory that it reuses.
#[derive(Debug)]
pub struct Encoder {
    fingerprint: u32,
    columns: Columns,
}

impl Encoder {
    /// Returns an encoder of the states of devices under this schema.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        Self { fingerprint: fingerprint(schema), columns: Columns::default() }
    }

    /// Appends the encoded state.
    pub fn encode(&mut self, state: &DeviceState, out: &mut Vec<u8>) {
        let has_novelty = !state.novelty.is_empty();
        out.push(if has_novelty { VERSION_WITH_NOVELTY } else { VERSION });
        out.extend_from_slice(&self.fingerprint.to_le_bytes());
        state.put(&mut self.columns, out);
    }
}

impl DeviceState {
    fn put(&self, columns: &mut Columns, out: &mut Vec<u8>) {
        put_unsigned(out, self.accepted);
        put_unsigned(out, self.points);
        put_unsigned(out, self.episodes);
        put_signed(out, self.seen_us);
        put_signed(out, self.timestamp.wrapping_sub(self.seen_ms()).cast_signed());
        self.last_minute.put(self.seen_us, out);
        if let Some(window) = &self.required {
            window.put(columns, out);
        }
        let fields = self.optional.iter().fold(0, |fields, (field, _)| fields | bit(*field));
        put_unsigned(out, fields);
        for (_, window) in &self.optional {
            window.put(columns, out);
        }
        put_unsigned(out, self.forks.len() as u64);
        for fork in &self.forks {
            out.extend_from_slice(&fork.branch.to_le_bytes());
            put_unsigned(out, fork.accepted);
            put_unsigned(out, fork.points);
            put_unsigned(out, fork.episodes);
        }
        put_unsigned(out, self.recent.len() as u64);
        for point in &self.recent {
            out.push(point.field.index() as u8);
            out.extend_from_slice(&point.timestamp_ms.to_le_bytes());
            for number in [point.value, point.mean, point.stddev, point.z] {
                out.extend_from_slice(&number.to_bits().to_le_bytes());
            }
        }
        if !self.novelty.is_empty() {
            put_unsigned(out, self.novelty.len() as u64);
            self.novelty.iter().for_each(|field| put_novelty(field, out));
        }
    }

    /// Returns the state that was encoded like this under the same schema.
    ///
    /// # Errors
    ///
    /// If the bytes are of another version or schema, or are no state.
    pub fn decode(bytes: &[u8], schema: &Schema) -> Result<Self, StateError> {
        let mut reader = Reader(bytes);
        let version = reader.byte()?;
        if ![VERSION, VERSION_WITH_NOVELTY].contains(&version) {
            return Err(StateError::Version);
        }
        if u32::from_le_bytes(reader.array()?) != fingerprint(schema) {
            return Err(StateError::Schema);
        }
        let mut state = Self::read(&mut reader, schema)?;
        if version == VERSION_WITH_NOVELTY {
            for _ in 0..reader.at_most(schema.fields().len())? {
                state.novelty.push(read_novelty(&mut reader)?);
            }
            let fields = || state.novelty.iter().map(|it| usize::from(it.field));
            if !fields().is_sorted_by(|a, b| a < b)
                || fields().any(|field| schema.field(field).is_none())
            {
                return Err(StateError::Malformed);
            }
        }
        if reader.0.is_empty() { Ok(state) } else { Err(StateError::Malformed) }
    }

    fn read(reader: &mut Reader<'_>, schema: &Schema) -> Result<Self, StateError> {
        let mut state = Self {
            accepted: reader.unsigned()?,
            points: reader.unsigned()?,
            episodes: reader.unsigned()?,
            seen_us: reader.signed()?,
            timestamp: reader.signed()?.cast_unsigned(),
            last_minute: MinuteState::default(),
            required: None,
            optional: Vec::new(),
            forks: Vec::new(),
            recent: Vec::new(),
            novelty: Vec::new(),
        };
        state.timestamp = state.timestamp.wrapping_add(state.seen_ms());
        state.last_minute = MinuteState::read(reader, state.seen_us)?;
        let required = schema.required().len();
        if required > 0 {
            state.required = Some(WindowState::read(reader, required)?);
        }
        let fields = reader.unsigned()?;
        let allowed = schema.optional().iter().fold(0, |all, field| all | 1 << field.index());
        if fields & !allowed != 0 {
            return Err(StateError::Malformed);
        }
        for field in (0..u8::MAX).take(schema.fields().len()).filter(|it| fields & bit(*it) != 0) {
            state.optional.push((field, WindowState::read(reader, 1)?));
        }
        for _ in 0..reader.at_most(FORKS_MAX)? {
            state.forks.push(Fork {
                branch: u64::from_le_bytes(reader.array()?),
                accepted: reader.unsigned()?,
                points: reader.unsigned()?,
                episodes: reader.unsigned()?,
            });
        }
        for _ in 0..reader.at_most(RECENT_ANOMALIES_MAX)? {
            state.recent.push(Point {
                field: schema.field(reader.byte()?.into()).ok_or(StateError::Malformed)?,
                timestamp_ms: i64::from_le_bytes(reader.array()?),
                value: reader.double()?,
                mean: reader.double()?,
                stddev: reader.double()?,
                z: reader.double()?,
            });
        }
        Ok(state)
    }

    /// Returns the milliseconds of `seen_us`, which the timestamp of an event is near.
    const fn seen_ms(&self) -> u64 {
        self.seen_us.div_euclid(1000).cast_unsigned()
    }
}

impl MinuteState {
    fn put(&self, seen_us: i64, out: &mut Vec<u8>) {
        if *self == Self::default() {
            out.push(NO_MINUTE);
            return;
        }
        let used = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        out.push(used.clone().fold(0, |mask, (bucket, _)| mask | 1 << bucket));
        used.for_each(|(_, count)| put_unsigned(out, u64::from(*count)));
        put_signed(out, seen_us.wrapping_sub(self.newest_us));
    }

    fn read(reader: &mut Reader<'_>, seen_us: i64) -> Result<Self, StateError> {
        let mut state = Self::default();
        let mask = reader.byte()?;
        if mask == NO_MINUTE {
            return Ok(state);
        }
        if mask > NO_MINUTE {
            return Err(StateError::Malformed);
        }
        for (bucket, count) in state.counts.iter_mut().enumerate() {
            if mask >> bucket & 1 == 1 {
                *count = u32::try_from(reader.unsigned()?).map_err(|_| StateError::Malformed)?;
            }
        }
        state.newest_us = seen_us.wrapping_sub(reader.signed()?);
        Ok(state)
    }
}

impl WindowState {
    fn put(&self, columns: &mut Columns, out: &mut Vec<u8>) {
        if !self.is_valid() {
            // No window has this size.
            put_unsigned(out, 0);
            return;
        }
        put_unsigned(out, self.size.into());
        put_unsigned(out, self.count() as u64);
        if self.count() == usize::from(self.size) {
            put_unsigned(out, self.next.into());
        }
        columns.put_times(self.times_in_order(), out);
        for (at, field) in self.fields.iter().enumerate() {
            let (doubles, packed) = field.bits();
            doubles.iter().for_each(|bits| out.extend_from_slice(&bits.to_le_bytes()));
            out.extend_from_slice(&packed.to_le_bytes());
            let events = self.values.chunks_exact(self.fields.len());
            let values = events.map(|values| values.get(at).copied().unwrap_or_default());
            columns.put_values(values, out);
        }
    }

    fn read(reader: &mut Reader<'_>, fields: usize) -> Result<Self, StateError> {
        let size = reader.at_most(WINDOW_MAX)?;
        let count = reader.at_most(size)?;
        let next = if count == size { reader.at_most(size)? } else { count };
        let mut times_ms = column::read_times(reader, count)?;
        let narrow = |number: usize| u16::try_from(number).map_err(|_| StateError::Malformed);
        let mut window = Self {
            size: narrow(size)?,
            next: narrow(next)?,
            times_ms: Vec::new(),
            values: Vec::new(),
            fields: Vec::with_capacity(fields),
        };
        times_ms.rotate_right(if count == size { next } else { 0 });
        window.times_ms = times_ms;
        let mut columns = Vec::with_capacity(fields);
        for _ in 0..fields {
            let mut doubles = [0; 3];
            for bits in &mut doubles {
                *bits = u64::from_le_bytes(reader.array()?);
            }
            let packed = u32::from_le_bytes(reader.array()?);
            window.fields.push(FieldState::from_bits(doubles, packed));
            columns.push(column::read_values(reader, count)?.into_iter());
        }
        window.values = match columns.as_mut_slice() {
            [column] => std::mem::take(column).collect(),
            columns => interleaved(columns, count * fields),
        };
        if window.is_valid() { Ok(window) } else { Err(StateError::Malformed) }
    }
}

fn put_novelty(novelty: &FieldNovelty, out: &mut Vec<u8>) {
    let FieldNovelty { field, bands, stillness } = novelty;
    let flag = |is_there: bool, flag| if is_there { flag } else { 0 };
    out.push(*field);
    out.push(flag(bands.is_some(), HAS_BANDS) | flag(stillness.is_some(), HAS_STILLNESS));
    bands.iter().for_each(|bands| bands.encode(out));
    stillness.iter().for_each(|stillness| stillness.encode(out));
}

fn read_novelty(reader: &mut Reader<'_>) -> Result<FieldNovelty, StateError> {
    let (field, flags) = (reader.byte()?, reader.byte()?);
    let mut novelty = FieldNovelty { field, bands: None, stillness: None };
    if flags & HAS_BANDS != 0 {
        let (bands, rest) = SeriesBands::decode(reader.0).ok_or(StateError::Malformed)?;
        (novelty.bands, reader.0) = (Some(bands), rest);
    }
    if flags & HAS_STILLNESS != 0 {
        let (stillness, rest) = Stillness::decode(reader.0).ok_or(StateError::Malformed)?;
        (novelty.stillness, reader.0) = (Some(stillness), rest);
    }
    if flags > HAS_BANDS | HAS_STILLNESS { Err(StateError::Malformed) } else { Ok(novelty) }
}

/// Returns the bit of a field in a set; none of one that does not exist.
fn bit(field: u8) -> u64 {
    1_u64.checked_shl(field.into()).unwrap_or_default()
}

/// Returns what tells schemas of other fields apart: the FNV-1a hash of the names of the fields,
/// each followed by a byte that says if it is required, which no name has.
fn fingerprint(schema: &Schema) -> u32 {
    let (offset, prime) = (0x811c_9dc5_u32, 0x0100_0193);
    let names = schema.fields().iter().map(|field| (field.name(), u8::from(field.is_required())));
    let bytes = names.flat_map(|(name, required)| name.bytes().chain([required]));
    bytes.fold(offset, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(prime))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::device_state::samples::{SCHEMAS, judged, states};
    use crate::schema::samples;
    use proptest::prelude::*;
    use std::fs;

    fn encoded(state: &DeviceState, schema: &Schema) -> Vec<u8> {
        let mut out = Vec::new();
        Encoder::new(schema).encode(state, &mut out);
        out
    }

    /// Returns all of a state in integers, so that what is no number is equal to itself.
    fn bits(state: &DeviceState) -> impl PartialEq + std::fmt::Debug {
        let window = |window: &WindowState| {
            let WindowState { size, next, times_ms, values, fields } = window.clone();
            let values: Vec<_> = values.into_iter().map(f64::to_bits).collect();
            (size, next, times_ms, values, fields)
        };
        let point = |point: &Point| {
            let numbers = [point.value, point.mean, point.stddev, point.z].map(f64::to_bits);
            (point.field, point.timestamp_ms, numbers)
        };
        (
            (state.counted(), state.seen_us, state.timestamp, state.last_minute),
            state.required.as_ref().map(window),
            state.optional.iter().map(|(field, it)| (*field, window(it))).collect::<Vec<_>>(),
            state.forks.clone(),
            state.recent.iter().map(point).collect::<Vec<_>>(),
            state.novelty.clone(),
        )
    }

    /// Returns the bytes of a state's vectors.
    fn heap_bytes(state: &DeviceState) -> usize {
        let windows = state.required.iter().chain(state.optional.iter().map(|(_, it)| it));
        let bytes = |it: &WindowState| {
            8 * (it.times_ms.capacity() + it.values.capacity())
                + size_of::<FieldState>() * it.fields.capacity()
        };
        windows.map(bytes).sum::<usize>()
            + size_of::<(u8, WindowState)>() * state.optional.capacity()
            + size_of::<Fork>() * state.forks.capacity()
            + size_of::<Point>() * state.recent.capacity()
    }

    /// Checks what has to hold of any bytes. Returns the state that they are.
    fn check(bytes: &[u8], schema: &Schema) -> Option<DeviceState> {
        let state = DeviceState::decode(bytes, schema).ok()?;
        let windows = state.required.iter().chain(state.optional.iter().map(|(_, it)| it));
        assert!(windows.clone().all(WindowState::is_valid));
        // Up to 256 events may take no bits, in each of 32 columns.
        assert!(heap_bytes(&state) <= 64 * bytes.len() + 2 * 32 * 256 * 8);
        let again = DeviceState::decode(&encoded(&state, schema), schema).unwrap();
        assert_eq!(bits(&again), bits(&state));
        Some(state)
    }

    proptest! {
        #[test]
        fn any_state_comes_back_bit_by_bit((schema, state) in states()) {
            let bytes = encoded(&state, schema);
            let decoded = check(&bytes, schema).unwrap();
            prop_assert_eq!(bits(&decoded), bits(&state));
            // It takes hardly more than its numbers.
            let windows = state.required.iter().chain(state.optional.iter().map(|(_, it)| it));
            let doubles: usize = windows.map(|it| it.values.len() + 2 * it.times_ms.len()).sum();
            let others = state.recent.len() * 41 + state.novelty.len() * 600;
            prop_assert!(bytes.len() <= 8 * doubles + 16 * 64 + others + 300);
        }

        #[test]
        fn spoilt_bytes_are_an_error_or_another_state(
            (schema, state) in states(),
            spoilt in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
            end in any::<prop::sample::Index>(),
        ) {
            let mut bytes = encoded(&state, schema);
            let malformed = Err(StateError::Malformed);
            let end = end.index(bytes.len());
            prop_assert_eq!(DeviceState::decode(&bytes[..end], schema), malformed.clone());
            let longer = [&bytes[..], &[0]].concat();
            prop_assert_eq!(DeviceState::decode(&longer, schema), malformed);
            for (at, byte) in spoilt {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            check(&bytes, schema);
        }

        #[test]
        fn no_bytes_panic(
            schema in prop::sample::select(&SCHEMAS[..]),
            bytes in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut whole = vec![VERSION];
            whole.extend(fingerprint(schema).to_le_bytes());
            whole.extend(&bytes);
            check(&whole, schema);
            check(&bytes, schema);
        }
    }

    #[test]
    fn every_part_of_a_real_state_is_an_error() {
        let events: Vec<_> = (0..60).map(|at| (1000 * at, [at as f64, 0.5])).collect();
        let state = judged(&events).last().unwrap();
        let bytes = encoded(&state, Schema::standard());
        for end in 0..bytes.len() {
            let part = DeviceState::decode(&bytes[..end], Schema::standard());
            assert_eq!(part, Err(StateError::Malformed), "{end}");
        }
        assert_eq!(DeviceState::decode(&bytes, Schema::standard()), Ok(state));
    }

    #[test]
    fn another_version_or_schema_is_told_apart_from_damage() {
        let state = judged(&[(0, [1.0, 2.0])]).last().unwrap();
        let mut bytes = encoded(&state, Schema::standard());
        for other in [samples::one_optional(), samples::three_optional(), samples::sixteen()] {
            assert_eq!(DeviceState::decode(&bytes, other), Err(StateError::Schema));
        }
        bytes[0] = 3;
        let decoded = DeviceState::decode(&bytes, Schema::standard());
        assert_eq!(decoded, Err(StateError::Version));
        let mut prints: Vec<_> = SCHEMAS.iter().map(|schema| fingerprint(schema)).collect();
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), SCHEMAS.len());
    }

    /// The encoding is read by other releases, and on other machines.
    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let events: Vec<_> =
            (0..5).map(|at| (1_700_000_000_000 + 1000 * at, [0.25 * at as f64, 7.0])).collect();
        let bytes = encoded(&judged(&events).last().unwrap(), Schema::standard());
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = [
            "012ea32a82050000d2c8da85838985060340320580a0abfef96203000200000000000000f87f",
            "0000000000000440000000000000fe3f0000f03f72000000808c6c4906000000000000f87f00",
            "0000000000000000000000000000000000000000000e00000000",
        ];
        assert_eq!(hex, expected.concat());
    }

    fn nab(name: &str) -> Vec<(i64, f64)> {
        let path = format!("{}/tests/data/nab/{name}.csv", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(path).unwrap();
        let value = |row: &str| row.split_once(',').unwrap().1.parse().unwrap();
        let rows = text.lines().skip(1).zip(0..);
        rows.map(|(row, at)| (1_397_088_240_000 + 300_000 * at, value(row))).collect()
    }

    #[test]
    fn real_windows_take_some_three_hundred_bytes() {
        let (requests, network) = (nab("elb_request_count_8c0756"), nab("ec2_network_in_257a54"));
        for (cpu, rps, usual, most) in [
            ("ec2_cpu_utilization_24ae8d", &requests, 250, 300),
            ("ec2_cpu_utilization_5f5533", &network, 400, 450),
            ("ec2_cpu_utilization_825cc2", &requests, 350, 450),
            ("rds_cpu_utilization_cc0c53", &network, 400, 450),
        ] {
            for jitter_ms in [0, 20] {
                let mut random = fastrand::Rng::with_seed(7);
                let mut event = |((time, cpu), (_, rps)): ((i64, f64), &(i64, f64))| {
                    (time + random.i64(0..=jitter_ms), [cpu, *rps])
                };
                let events: Vec<_> = nab(cpu).into_iter().zip(rps).map(&mut event).collect();
                let mut sizes: Vec<_> = judged(&events)
                    .skip(49)
                    .step_by(10)
                    .map(|state| {
                        let bytes = encoded(&state, Schema::standard());
                        assert_eq!(bits(&check(&bytes, Schema::standard()).unwrap()), bits(&state));
                        bytes.len()
                    })
                    .collect();
                sizes.sort_unstable();
                let [median, p90] = [50, 90].map(|percent| sizes[sizes.len() * percent / 100]);
                let largest = sizes.last().unwrap();
                println!("{cpu}, ±{jitter_ms} ms: {median} bytes, p90 {p90}, most {largest}");
                assert!(median <= usual && *largest <= most);
            }
        }
    }
}
