//! Measurements of several rounds, summed up by server.

use crate::measurement::Measurement;

/// The middle and the ends of some numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle, or half-way between the two in the middle.
    pub median: f64,
    smallest: f64,
    largest: f64,
}

impl Spread {
    /// Sums up numbers; of none, all are NaN.
    pub fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = numbers.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        let median = f64::midpoint(at(last / 2), at(last.div_ceil(2)));
        Self { median, smallest: at(0), largest: at(last) }
    }

    /// Writes the median, and in brackets the smallest and the largest.
    pub fn text(self, digits: usize) -> String {
        let Self { median, smallest, largest } = self;
        format!("{median:.digits$} ({smallest:.digits$}–{largest:.digits$})")
    }
}

/// All measurements of one server under the same conditions.
#[derive(Debug)]
pub struct Group<'m> {
    pub conditions: String,
    pub server: &'m str,
    /// In the order of the rounds.
    pub own: Vec<&'m Measurement>,
    /// Those of the first server of the conditions, with which the others are compared.
    base: Vec<&'m Measurement>,
}

impl<'m> Group<'m> {
    /// Groups measurements by conditions and server, in the order in which they first come.
    pub fn all(measurements: &'m [Measurement]) -> Vec<Self> {
        let names: Vec<String> = measurements.iter().map(Measurement::conditions).collect();
        let all_of = |name: &str, server: &str| -> Vec<&'m Measurement> {
            let same = names.iter().zip(measurements).filter(|(other, _)| *other == name);
            same.map(|(_, m)| m).filter(|m| m.server == server).collect()
        };
        let mut groups: Vec<Self> = Vec::new();
        for (name, Measurement { server, .. }) in names.iter().zip(measurements) {
            if groups.iter().any(|group| group.conditions == *name && group.server == server) {
                continue;
            }
            let first = groups.iter().find(|group| group.conditions == *name);
            let base = all_of(name, first.map_or(server, |first| first.server));
            groups.push(Self { conditions: name.clone(), server, own: all_of(name, server), base });
        }
        // Together, however rounds mixed them.
        groups.sort_by_key(|group| names.iter().position(|name| *name == group.conditions));
        groups
    }

    /// Sums up a value over the rounds.
    pub fn spread(&self, value: impl Fn(&Measurement) -> f64) -> Spread {
        Spread::of(self.own.iter().map(|measurement| value(measurement)))
    }

    /// Sums up a value of this server and the first one in the same round.
    pub fn beside_base(&self, value: impl Fn(&Measurement, &Measurement) -> f64) -> Spread {
        let pairs = self.own.iter().flat_map(|own| self.base.iter().map(move |base| (own, base)));
        let same = pairs.filter(|(own, base)| own.round == base.round);
        Spread::of(same.map(|(own, base)| value(own, base)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_number_has_two_in_the_middle() {
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0].into_iter()).text(1), "2.5 (1.0–4.0)");
    }
}
