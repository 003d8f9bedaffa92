//! The parts of the protocol that runs have come through: no seed holds a rule that none needs.

use std::ptr;

use super::super::note::Said;

/// The parts that all seeds together come through.
const EXPECTED: [&str; 29] = [
    "cells: a branch begun",
    "cells: a copy taken",
    "cells: a gift taken",
    "cells: begun alone",
    "cells: joined",
    "cells: new",
    "mover: everything saved again",
    "mover: reconnected",
    "mover: stopped at once",
    "rule: odd copy",
    "rule: offer accepted",
    "rule: partial gift",
    "rule: several behind",
    "rule: stuck",
    "rule: take back",
    "said: absent",
    "said: ask",
    "said: busy",
    "said: follow",
    "said: gave",
    "said: offer",
    "said: taken",
    "said: unwanted",
    "said: want",
    "stage: asking",
    "stage: choosing",
    "stage: claiming",
    "stage: following",
    "stage: to ask",
];

/// Counts by what was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Coverage(Vec<(&'static str, u64)>);

impl Coverage {
    /// Counts what was seen.
    pub(super) fn see(&mut self, what: &'static str) {
        self.count(what, 1);
    }

    /// Counts a note that came.
    pub(super) fn see_note(&mut self, said: &Said) {
        self.see(match said {
            Said::Want { echo: 0, .. } => "said: want",
            Said::Want { .. } => "rule: offer accepted",
            Said::Ask { .. } => "said: ask",
            Said::Absent { .. } => "said: absent",
            Said::Busy { .. } => "said: busy",
            Said::Follow { .. } => "said: follow",
            Said::Offer { .. } => "said: offer",
            Said::Gave { .. } => "said: gave",
            Said::Taken { .. } => "said: taken",
            Said::Unwanted { .. } => "said: unwanted",
        });
    }

    /// Adds the counts of another run.
    pub(super) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            self.count(what, *count);
        }
    }

    fn count(&mut self, what: &'static str, more: u64) {
        // The same text is nearly always at the same place.
        match self.0.iter_mut().find(|(known, _)| ptr::eq(*known, what) || *known == what) {
            Some((_, count)) => *count += more,
            None => self.0.push((what, more)),
        }
    }

    /// Returns what was expected and not seen.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let is_seen = |what: &&str| self.0.iter().any(|(seen, _)| seen == what);
        EXPECTED.into_iter().filter(|what| !is_seen(what)).collect()
    }

    /// Prints the counts.
    pub(super) fn print(&self) {
        let mut counts = self.0.clone();
        counts.sort_unstable();
        counts.iter().for_each(|(what, count)| println!("{count:>12} {what}"));
    }
}
