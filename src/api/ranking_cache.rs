//! The last rankings, kept for a moment, so that pollers of one list do not each walk all devices.
//!
//! A ranking is kept for some two thousand times as long as it takes to make: so a list that is
//! polled costs half a millisecond of each second, whoever polls it and however often. One of few
//! devices costs nothing worth keeping, and is always new.

use std::sync::Arc;

use crate::analytics::ranking::{RankQuery, Ranking};
use percore::clock::Now;
use percore::sync::Mutex;

/// The time for which a ranking is kept, for each device that was looked at for it. That takes some
/// 30 ns.
const KEPT_NS_PER_DEVICE: u64 = 60_000;

/// The most devices of which a ranking is not kept.
const FEW_DEVICES: u64 = 2_000;

/// The longest time, which a million devices need: the figures of a list are of the moment, but who
/// is on it would be of too long ago.
const KEPT_NS_MAX: u64 = 60_000_000_000;

/// The most rankings that are kept.
const RANKINGS_MAX: usize = 32;

/// The rankings of the last seconds.
#[derive(Debug, Default)]
pub struct RankingCache(Mutex<Vec<Entry>>);

#[derive(Debug)]
struct Entry {
    query: RankQuery,
    ranking: Arc<Ranking>,
    until_ns: u64,
}

impl RankingCache {
    /// Returns the ranking of a query: one that is kept, or what `make` returns.
    pub fn find_or_make(
        &self,
        query: &RankQuery,
        now: Now,
        make: impl FnOnce() -> Ranking,
    ) -> Arc<Ranking> {
        let mut entries = self.0.lock();
        entries.retain(|entry| entry.until_ns > now.mono_ns);
        if let Some(found) = entries.iter().find(|entry| entry.query == *query) {
            return Arc::clone(&found.ranking);
        }
        let ranking = Arc::new(make());
        if ranking.visited > FEW_DEVICES {
            let kept_ns = ranking.visited.saturating_mul(KEPT_NS_PER_DEVICE).min(KEPT_NS_MAX);
            if entries.len() == RANKINGS_MAX {
                entries.remove(0);
            }
            let until_ns = now.mono_ns.saturating_add(kept_ns);
            entries.push(Entry { query: query.clone(), ranking: Arc::clone(&ranking), until_ns });
        }
        ranking
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::ranking::RankBy;

    fn query(limit: usize) -> RankQuery {
        RankQuery { by: RankBy::Id, prefix: Vec::new(), after: None, limit }
    }

    const fn at(mono_ms: u64) -> Now {
        Now { mono_ns: mono_ms * 1_000_000, wall_us: 0 }
    }

    /// Returns true if the ranking was made anew.
    fn makes(cache: &RankingCache, limit: usize, now: Now, visited: u64) -> bool {
        let mut was_made = false;
        cache.find_or_make(&query(limit), now, || {
            was_made = true;
            Ranking { visited, ..Ranking::default() }
        });
        was_made
    }

    #[test]
    fn a_ranking_of_many_is_kept_and_one_of_few_is_not() {
        let cache = RankingCache::default();
        for (now, was_made) in
            [(0, true), (1, false), (5_999, false), (6_000, true), (6_001, false)]
        {
            assert_eq!(makes(&cache, 1, at(now), 100_000), was_made, "at {now}");
        }
        assert!(makes(&cache, 2, at(6_001), 100_000), "another page");
        assert!(makes(&cache, 3, at(6_001), FEW_DEVICES));
        assert!(makes(&cache, 3, at(6_001), FEW_DEVICES));
        assert!(makes(&cache, 4, at(0), u64::MAX));
        assert!(!makes(&cache, 4, at(59_999), u64::MAX));
        assert!(makes(&cache, 4, at(60_000), u64::MAX));
    }

    #[test]
    fn no_more_are_kept_than_some() {
        let cache = RankingCache::default();
        for limit in 1..=RANKINGS_MAX + 5 {
            assert!(makes(&cache, limit, at(0), 100_000));
        }
        assert_eq!(cache.0.lock().len(), RANKINGS_MAX);
        assert!(!makes(&cache, RANKINGS_MAX + 5, at(0), 100_000));
        assert!(makes(&cache, 1, at(0), 100_000));
    }
}
