//! The bytes of a series' state, some 700 of a series that has known all hours: plain numbers in
//! little endian, and of the hours only those that have had events.

use super::judgement::HOURS;
use super::series_bands::SeriesBands;
use super::stillness::Stillness;

/// The largest number that a state may have: some times the largest value.
const NUMBER_MAX: f32 = 1e31;

/// The bits of a reason. The side of an incident stands above them in one byte.
const REASON_BITS: u8 = 2;

/// The sides that an incident may have, by their numbers in the bytes.
const SIDES: [i8; 3] = [0, 1, -1];

/// A reader of bytes that may be anything.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// Returns the next number, if it is one that a state may have.
    fn number(&mut self) -> Option<f32> {
        self.array().map(f32::from_le_bytes).filter(|number| number.abs() <= NUMBER_MAX)
    }

    /// Returns the next number, if it may be a size.
    fn size(&mut self) -> Option<f32> {
        self.number().filter(|number| *number >= 0.0)
    }

    fn numbers<const N: usize>(&mut self) -> Option<[f32; N]> {
        let mut numbers = [0.0; N];
        for number in &mut numbers {
            *number = self.number()?;
        }
        Some(numbers)
    }
}

impl SeriesBands {
    /// Appends the state.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.base.to_le_bytes());
        out.extend(self.last_ms.to_le_bytes());
        out.extend(self.alert_ms.to_le_bytes());
        for count in [self.events, self.alert_events, self.alerts] {
            out.extend(count.to_le_bytes());
        }
        let side = SIDES.iter().position(|side| *side == self.incident).unwrap_or_default();
        out.push(self.reason | (side as u8) << REASON_BITS);
        let scalars = [self.score, self.level, self.deviation, self.unforgotten];
        let bands = [self.low, self.high, self.typical, self.now];
        let numbers = scalars.iter().chain(bands.as_flattened());
        numbers.for_each(|number| out.extend(number.to_le_bytes()));
        let known = (0..HOURS).filter(|hour| self.seen.get(*hour).is_some_and(|seen| *seen > 0));
        let set = known.fold(0_u64, |set, hour| set | 1 << hour);
        out.extend(set.to_le_bytes());
        for ([usual, deviation], seen) in self.hours.iter().zip(self.seen) {
            if seen > 0 {
                out.extend(usual.to_le_bytes());
                out.extend(deviation.to_le_bytes());
                out.push(seen);
            }
        }
    }

    /// Returns the state at the beginning of these bytes, and what follows it; `None` if there is
    /// none that a series can have.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut reader = Reader(bytes);
        let mut state = Self::new();
        state.base = f64::from_le_bytes(reader.array()?);
        state.last_ms = i64::from_le_bytes(reader.array()?);
        state.alert_ms = i64::from_le_bytes(reader.array()?);
        for count in [&mut state.events, &mut state.alert_events, &mut state.alerts] {
            *count = u32::from_le_bytes(reader.array()?);
        }
        let [reason] = reader.array()?;
        state.reason = reason & ((1 << REASON_BITS) - 1);
        state.incident = *SIDES.get(usize::from(reason >> REASON_BITS))?;
        state.score = reader.size()?;
        state.level = reader.number()?;
        state.deviation = reader.size()?;
        state.unforgotten = reader.size()?;
        state.low = reader.numbers()?;
        state.high = reader.numbers()?;
        state.typical = reader.numbers()?;
        state.now = reader.numbers()?;
        let set = u64::from_le_bytes(reader.array()?);
        let places = state.hours.iter_mut().zip(&mut state.seen);
        for (hour, ([usual, deviation], seen)) in places.enumerate() {
            if set >> hour & 1 == 1 {
                *usual = reader.number()?;
                *deviation = reader.size()?;
                [*seen] = reader.array().filter(|[seen]| *seen > 0)?;
            }
        }
        let is_valid = f64::from(NUMBER_MAX) >= state.base.abs()
            && set >> HOURS == 0
            && state.score <= 1.0
            && state.alert_events <= state.events
            && state.typical.iter().all(|typical| *typical >= 0.0)
            && state.low.iter().zip(state.high).all(|(low, high)| *low <= high);
        is_valid.then_some((state, reader.0))
    }
}

impl Stillness {
    /// Appends the state.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.value.to_le_bytes());
        out.extend(self.run.to_le_bytes());
    }

    /// Returns the state at the beginning of these bytes, and what follows it.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut reader = Reader(bytes);
        let value = f64::from_le_bytes(reader.array()?);
        let run = u32::from_le_bytes(reader.array()?);
        value.is_finite().then_some((Self { value, run }, reader.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_without_events_has_no_numbers() {
        let mut state = SeriesBands::new();
        state.hours[3] = [1.5, 0.5];
        state.seen[3] = 1;
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        assert_eq!(SeriesBands::decode(&bytes), Some((state, &[][..])));
        *bytes.last_mut().unwrap() = 0;
        assert_eq!(SeriesBands::decode(&bytes), None);
    }
}
