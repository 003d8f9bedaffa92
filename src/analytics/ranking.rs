//! Rankings: the first devices of an order, found in one pass without sorting all of them.
//!
//! Pure. A [`TopRanks`] keeps the best of what it is shown, so its memory is that of one page. The
//! order is total, as an id occurs once; so the next page begins behind the last [`Rank`] of this
//! one, whatever devices come and go.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashSet};

/// The order in which devices are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RankBy {
    /// By id, ascending.
    Id,
    /// Those that were seen last come first.
    LastSeen,
    /// Those with most anomalous values come first.
    Anomalies,
    /// Those whose last value is furthest from its mean come first: of the field of this index, or
    /// of any.
    Score(Option<usize>),
}

/// The place of a device in an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rank {
    /// The larger comes first; always 0 in the order of ids.
    pub key: u64,
    /// The id, ascending where keys are equal.
    pub id: Box<[u8]>,
}

impl Rank {
    /// Returns how a device with this key and id stands to this one: less is nearer to the start.
    fn compare_to(&self, key: u64, id: &[u8]) -> Ordering {
        self.key.cmp(&key).then_with(|| id.cmp(&self.id))
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        other.compare_to(self.key, &self.id)
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Returns the key of a score: the larger its distance from 0, the larger; 0 for none.
pub fn score_key(score: Option<f64>) -> u64 {
    // The bits of positive numbers ascend with them.
    score.map_or(0, |score| score.abs().to_bits() + 1)
}

/// A page of a list of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RankQuery {
    /// The order.
    pub by: RankBy,
    /// The start of the ids that are listed.
    pub prefix: Vec<u8>,
    /// The end of the page before, if there is one.
    pub after: Option<Rank>,
    /// The most devices of the page.
    pub limit: usize,
}

/// The devices of a page, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranking {
    /// Their places.
    pub ranks: Vec<Rank>,
    /// True if no device comes after them.
    pub is_last: bool,
    /// The devices of all pages.
    pub total: u64,
    /// The devices that were looked at.
    pub visited: u64,
}

/// The best devices so far, at most one more than the page has: that one tells whether others come
/// after it.
pub(super) struct TopRanks<'q> {
    query: &'q RankQuery,
    /// The last in the order on top.
    heap: BinaryHeap<Rank>,
    total: u64,
    visited: u64,
}

impl<'q> TopRanks<'q> {
    /// Returns none.
    pub(super) fn new(query: &'q RankQuery) -> Self {
        let heap = BinaryHeap::with_capacity(query.limit + 2);
        Self { query, heap, total: 0, visited: 0 }
    }

    /// Counts a device. Returns true if it belongs to the best so far.
    pub(super) fn admits(&mut self, key: u64, id: &[u8]) -> bool {
        self.visited += 1;
        if !id.starts_with(&self.query.prefix) {
            return false;
        }
        self.total += 1;
        let after = self.query.after.as_ref();
        if after.is_some_and(|after| after.compare_to(key, id) != Ordering::Greater) {
            return false;
        }
        let is_full = self.heap.len() > self.query.limit;
        let worst = self.heap.peek().filter(|_| is_full);
        worst.is_none_or(|worst| worst.compare_to(key, id) == Ordering::Less)
    }

    /// Adds a device that was admitted; the worst of too many makes room.
    pub(super) fn add(&mut self, key: u64, id: &[u8]) {
        self.heap.push(Rank { key, id: id.into() });
        if self.heap.len() > self.query.limit + 1 {
            self.heap.pop();
        }
    }

    /// Returns the page.
    pub(super) fn finish(self) -> Ranking {
        let Self { query, heap, total, visited } = self;
        let mut ranks = heap.into_sorted_vec();
        let is_last = ranks.len() <= query.limit;
        ranks.truncate(query.limit);
        // A device that expired and came back during the pass was met twice.
        let mut met = HashSet::with_capacity(ranks.len());
        let is_new = ranks.iter().map(|rank| met.insert(&rank.id)).collect::<Vec<_>>();
        let mut is_new = is_new.into_iter();
        ranks.retain(|_| is_new.next() == Some(true));
        Ranking { ranks, is_last, total, visited }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(by: RankBy, prefix: impl Into<Vec<u8>>, limit: usize) -> RankQuery {
        RankQuery { by, prefix: prefix.into(), after: None, limit }
    }

    fn pages(devices: &[(u64, String)], query: &RankQuery) -> Vec<Vec<(u64, String)>> {
        let mut pages = Vec::new();
        let mut query = query.clone();
        loop {
            let mut top = TopRanks::new(&query);
            for (key, id) in devices {
                if top.admits(*key, id.as_bytes()) {
                    top.add(*key, id.as_bytes());
                }
            }
            let ranking = top.finish();
            let text = |rank: &Rank| (rank.key, String::from_utf8(rank.id.to_vec()).unwrap());
            pages.push(ranking.ranks.iter().map(text).collect());
            query.after = ranking.ranks.last().cloned();
            if ranking.is_last {
                return pages;
            }
        }
    }

    proptest! {
        #[test]
        fn pages_are_those_of_a_whole_sort(
            devices in prop::collection::btree_map("[ab.]{1,4}", 0..4_u64, 0..40),
            prefix in "[ab]{0,2}",
            limit in 1..8_usize,
        ) {
            let devices: Vec<_> = devices.into_iter().map(|(id, key)| (key, id)).collect();
            let query = query(RankBy::Anomalies, prefix.clone(), limit);
            let mut expected: Vec<_> =
                devices.iter().filter(|(_, id)| id.starts_with(&prefix)).cloned().collect();
            expected.sort_by_key(|(key, id)| (u64::MAX - key, id.clone()));
            let pages = pages(&devices, &query);
            prop_assert!(pages.iter().rev().skip(1).all(|page| page.len() == limit));
            prop_assert_eq!(pages.concat(), expected);
        }
    }

    #[test]
    fn scores_are_ordered_by_their_distance() {
        let keys = [None, Some(0.0), Some(1e-300), Some(-2.0), Some(2.5), Some(-1e6)];
        assert!(keys.map(score_key).is_sorted());
        assert_eq!(score_key(Some(-2.0)), score_key(Some(2.0)));
    }

    #[test]
    fn what_is_met_twice_is_listed_once() {
        let query = query(RankBy::LastSeen, "", 5);
        let mut top = TopRanks::new(&query);
        for (key, id) in [(1, "a"), (2, "b"), (7, "a")] {
            assert!(top.admits(key, id.as_bytes()));
            top.add(key, id.as_bytes());
        }
        let ranks = top.finish().ranks;
        let found: Vec<_> = ranks.iter().map(|rank| (rank.key, &*rank.id)).collect();
        assert_eq!(found, [(7, &b"a"[..]), (2, b"b")]);
    }
}
