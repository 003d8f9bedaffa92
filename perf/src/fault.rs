//! What can become of a request other than a 202, counted by kind.

use serde_json::{Map, Value};

/// A kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There was no connection to send it over.
    Connect,
    /// The connection ended before its answer.
    Closed,
    /// No answer came in time.
    Silent,
    /// 503: the server has too much to do.
    Busy,
    /// Another status than 202 and 503.
    Refused,
    /// Something that is no answer, or a 202 that does not say what was accepted.
    Malformed,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Connect, Self::Closed, Self::Silent, Self::Busy, Self::Refused, Self::Malformed];

    /// As in the table and in the record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "no connection",
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::Busy => "503",
            Self::Refused => "other status",
            Self::Malformed => "malformed",
        }
    }
}

/// How many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults([u64; Fault::ALL.len()]);

impl Faults {
    /// Adds as many of a kind.
    pub fn add(&mut self, fault: Fault, count: u64) {
        for (kind, sum) in Fault::ALL.iter().zip(&mut self.0) {
            if *kind == fault {
                *sum += count;
            }
        }
    }

    /// Adds those of another part of the load.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }

    /// How many there are.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The kinds that there are any of.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let counted = Fault::ALL.into_iter().zip(self.0);
        counted.filter(|(_, count)| *count > 0).map(|(kind, count)| (kind.name(), count))
    }

    /// For a cell of a table: `0`, or how many of which.
    #[must_use]
    pub fn text(&self) -> String {
        if self.all() == 0 {
            return "0".to_owned();
        }
        let kinds: Vec<String> = self.kinds().map(|(kind, n)| format!("{n} {kind}")).collect();
        kinds.join(", ")
    }

    /// For a record: every kind, also those that there are none of.
    #[must_use]
    pub fn record(&self) -> Value {
        let counted = Fault::ALL.iter().zip(self.0);
        Value::Object(
            counted.map(|(kind, n)| (kind.name().to_owned(), n.into())).collect::<Map<_, _>>(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_add_up_by_kind() {
        let mut faults = Faults::default();
        assert_eq!(faults.text(), "0");
        faults.add(Fault::Busy, 2);
        let mut more = Faults::default();
        more.add(Fault::Busy, 1);
        more.add(Fault::Closed, 16);
        faults.merge(&more);
        assert_eq!((faults.all(), faults.text().as_str()), (19, "16 closed, 3 503"));
        let record = faults.record();
        assert_eq!((&record["503"], &record["silent"]), (&Value::from(3), &Value::from(0)));
    }
}
