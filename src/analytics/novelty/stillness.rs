//! A series that stands still: one value again and again, as of a sensor that has died.

/// The last value of a series, and how often it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stillness {
    /// The last value.
    pub(super) value: f64,
    /// Events of this value in succession.
    pub(super) run: u32,
}

impl Stillness {
    /// Takes the next value. Returns true if it is the one of so many in succession with which the
    /// series stands still: once, until another value has come.
    pub fn push(&mut self, value: f64, stuck_after: u32) -> bool {
        self.run = if self.run > 0 && self.value == value { self.run.saturating_add(1) } else { 1 };
        self.value = value;
        self.run == stuck_after
    }

    /// Puts off what [`Self::push`] has just told to the next event of the value.
    pub const fn put_off(&mut self) {
        self.run -= 1;
    }

    /// Returns how many events in succession had the last value.
    pub const fn run(&self) -> u32 {
        self.run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_stays_is_told_once_until_another_comes() {
        let mut still = Stillness::default();
        let values = [0.0, 0.0, -0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        let told: Vec<bool> = values.iter().map(|value| still.push(*value, 3)).collect();
        let expected = [2, 8].map(|at| told[at]);
        assert_eq!((expected, told.iter().filter(|told| **told).count()), ([true; 2], 2));
        assert_eq!(still.run(), 4);
    }

    #[test]
    fn what_is_put_off_is_told_by_the_next_event() {
        let mut still = Stillness::default();
        assert!(!still.push(1.0, 2) && still.push(1.0, 2));
        still.put_off();
        assert!(still.push(1.0, 2) && !still.push(1.0, 2));
        assert!(Stillness::default().push(1.0, 1));
    }

    #[test]
    fn it_is_told_once_however_long_it_lasts() {
        let mut still = Stillness { value: 1.0, run: u32::MAX - 1 };
        assert!(!still.push(1.0, 5) && !still.push(1.0, 5) && !still.push(1.0, 5));
        assert_eq!(still.run(), u32::MAX);
    }
}
