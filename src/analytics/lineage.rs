//! Lineage: how two states of one device are made one, so that no event is lost or counted twice.
//!
//! The events of a device are one sequence, and one instance at a time appends to it. If a copy of
//! its state was taken from an instance that could not be asked, that one may go on, and so may the
//! copy: the sequence has forked. So the copy begins a *branch*, with a name that nobody else has.
//! A branch is appended to in one place only; any state has its first events up to some number.
//! Hence the numbers alone tell what one state has that another has not.
//!
//! Pure: of a state it sees counts and forks, and not what an event is.

use std::ops::Range;

/// The forks that a state remembers; of more, the events of the oldest branch count as those of the
/// root. Each stands for an instance that died, or was out of touch.
pub const FORKS_MAX: usize = 16;

/// The branch that needs no fork: that of a device which was new when all had been asked.
pub const ROOT: u64 = 0;

/// The counts of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Accepted events.
    pub accepted: u64,
    /// Anomalies.
    pub points: u64,
    /// Episodes.
    pub episodes: u64,
}

impl Counted {
    /// The counts of a device without events.
    pub const NONE: Self = Self { accepted: 0, points: 0, episodes: 0 };

    /// Returns what was counted since then.
    pub const fn since(self, then: Self) -> Self {
        Self {
            accepted: self.accepted.saturating_sub(then.accepted),
            points: self.points.saturating_sub(then.points),
            episodes: self.episodes.saturating_sub(then.episodes),
        }
    }

    /// Returns the sums of both.
    pub const fn plus(self, more: Self) -> Self {
        Self {
            accepted: self.accepted.saturating_add(more.accepted),
            points: self.points.saturating_add(more.points),
            episodes: self.episodes.saturating_add(more.episodes),
        }
    }
}

/// The place in the events of a state from which on they belong to a branch, until the next fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The branch.
    pub branch: u64,
    /// The events before it.
    pub accepted: u64,
    /// The anomalies before it.
    pub points: u64,
    /// The episodes before it.
    pub episodes: u64,
}

impl Fork {
    /// Returns the fork at which a branch begins after so much.
    pub const fn new(branch: u64, counted: Counted) -> Self {
        let Counted { accepted, points, episodes } = counted;
        Self { branch, accepted, points, episodes }
    }

    /// Returns what was counted before it.
    pub const fn counted(self) -> Counted {
        Counted { accepted: self.accepted, points: self.points, episodes: self.episodes }
    }
}

/// A state as its lineage sees it.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Its counts.
    pub counted: Counted,
    /// Its forks, in order.
    pub forks: &'a [Fork],
}

/// A part of a state's events: those of one branch that follow each other.
#[derive(Clone, Copy, Debug)]
struct Segment {
    branch: u64,
    from: Counted,
    to: Counted,
}

impl Segment {
    const fn counted(&self) -> Counted {
        self.to.since(self.from)
    }
}

impl Line<'_> {
    /// Returns the forks of a copy of this state that goes on as this branch.
    pub fn branched(self, branch: u64) -> Vec<Fork> {
        shortened(self.forks.iter().copied().chain([Fork::new(branch, self.counted)]).collect())
    }

    /// Returns the branch that is appended to.
    fn branch(&self) -> u64 {
        self.forks.last().map_or(ROOT, |last| last.branch)
    }

    fn segments(&self) -> impl Iterator<Item = Segment> {
        let root = Fork::new(ROOT, Counted::NONE);
        let ends = self.forks.iter().map(|fork| fork.counted()).chain([self.counted]);
        let begins = [root].into_iter().chain(self.forks.iter().copied());
        begins.zip(ends).map(|(fork, to)| Segment { branch: fork.branch, from: fork.counted(), to })
    }

    /// Returns what this state has of a branch.
    fn has_of(&self, branch: u64) -> Counted {
        let of = self.segments().filter(|segment| segment.branch == branch);
        of.fold(Counted::NONE, |sum, segment| sum.plus(segment.counted()))
    }

    /// Returns the parts of this state that another one has not.
    fn beyond(&self, other: &Line<'_>) -> Vec<Segment> {
        let mut met: Vec<(u64, Counted)> = Vec::new();
        let mut beyond = Vec::new();
        for segment in self.segments() {
            let known = met.iter_mut().find(|(branch, _)| *branch == segment.branch);
            let before = known.as_ref().map_or(Counted::NONE, |(_, before)| *before);
            let after = before.plus(segment.counted());
            match known {
                Some((_, before)) => *before = after,
                None => met.push((segment.branch, after)),
            }
            let missing = after.since(other.has_of(segment.branch));
            // Of this part, the end that the other one has not.
            let missing = least(missing, segment.counted());
            if missing.accepted > 0 {
                beyond.push(Segment { from: segment.to.since(missing), ..segment });
            }
        }
        beyond
    }
}

fn least(one: Counted, other: Counted) -> Counted {
    Counted {
        accepted: one.accepted.min(other.accepted),
        points: one.points.min(other.points),
        episodes: one.episodes.min(other.episodes),
    }
}

/// One of two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that is held here.
    Own,
    /// The one that came.
    Base,
}

/// The way to make two states one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The state whose events all come first.
    pub first: Side,
    /// The events of the other one that come after those, by their numbers there, from 0 on.
    pub extra: Vec<Range<u64>>,
    /// The counts of the result.
    pub counted: Counted,
    /// The forks of the result.
    pub forks: Vec<Fork>,
}

/// Returns the way to make one of the state that is held here and one that came. The result has
/// what either has, once; to join the same state again changes nothing. What is missing is appended
/// to the longer one. The result goes on with the branch of the state that is held here, as the
/// other one may be a copy.
pub fn relate(own: Line<'_>, base: Line<'_>) -> Relation {
    let (of_own, of_base) = (own.beyond(&base), base.beyond(&own));
    let is_own_first =
        of_base.is_empty() || !of_own.is_empty() && own.counted.accepted > base.counted.accepted;
    let (first, line, beyond) =
        if is_own_first { (Side::Own, own, of_base) } else { (Side::Base, base, of_own) };
    let (mut counted, mut forks) = (line.counted, line.forks.to_vec());
    for segment in &beyond {
        if forks.last().map_or(ROOT, |last| last.branch) != segment.branch {
            forks.push(Fork::new(segment.branch, counted));
        }
        counted = counted.plus(segment.counted());
    }
    // What is appended from here on belongs to the branch that is appended to here alone.
    if own.branch() != forks.last().map_or(ROOT, |last| last.branch) {
        forks.push(Fork::new(own.branch(), counted));
    }
    let extra = beyond.iter().map(|segment| segment.from.accepted..segment.to.accepted).collect();
    Relation { first, extra, counted, forks: shortened(forks) }
}

/// Returns as many of the forks as are remembered, without those that no event follows.
fn shortened(mut forks: Vec<Fork>) -> Vec<Fork> {
    let next: Vec<_> = forks.iter().skip(1).map(|fork| Some(fork.accepted)).chain([None]).collect();
    let mut next = next.into_iter();
    forks.retain(|fork| next.next().flatten() != Some(fork.accepted));
    forks.drain(..forks.len().saturating_sub(FORKS_MAX));
    forks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A state whose events are known by their numbers. Each is a point if its number is even, and
    /// an episode if it is a multiple of four.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct State {
        events: Vec<u32>,
        forks: Vec<Fork>,
    }

    fn counted(events: &[u32]) -> Counted {
        let multiples = |of| events.iter().filter(|event| event.is_multiple_of(of)).count() as u64;
        Counted { accepted: multiples(1), points: multiples(2), episodes: multiples(4) }
    }

    impl State {
        fn line(&self) -> Line<'_> {
            Line { counted: counted(&self.events), forks: &self.forks }
        }

        fn join(&self, base: &Self) -> Self {
            let relation = relate(self.line(), base.line());
            let (first, second) =
                if relation.first == Side::Own { (self, base) } else { (base, self) };
            let range =
                |range: &Range<u64>| &second.events[range.start as usize..range.end as usize];
            let extra = relation.extra.iter().flat_map(range);
            let events: Vec<_> = first.events.iter().chain(extra).copied().collect();
            let all_forks = self.forks.len().max(base.forks.len()).max(relation.forks.len());
            assert!(all_forks >= FORKS_MAX || relation.counted == counted(&events));
            Self { events, forks: relation.forks }
        }
    }

    const INSTANCES: usize = 5;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// An instance hears so many events; without a state it begins one, asking nobody.
        Hear(usize, u32),
        /// It saves a copy.
        Save(usize),
        /// An instance takes what another one saved without its knowledge, and joins it.
        Take(usize, usize),
        /// The second instance gives its state to the first, which joins it if it has one.
        Give(usize, usize),
        /// An instance dies, and comes back with nothing.
        Die(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let at = || 0..INSTANCES;
        let step = prop_oneof![
            4 => (at(), 1..4_u32).prop_map(|(at, events)| Step::Hear(at, events)),
            2 => at().prop_map(Step::Save),
            1 => (at(), at()).prop_map(|(to, from)| Step::Take(to, from)),
            2 => (at(), at()).prop_map(|(to, from)| Step::Give(to, from)),
            1 => at().prop_map(Step::Die),
        ];
        prop::collection::vec(step, 0..40)
    }

    #[derive(Default)]
    struct World {
        heard: u32,
        branches: u64,
        held: [Option<State>; INSTANCES],
        saved: [Option<State>; INSTANCES],
        may_have_forgotten: bool,
    }

    impl World {
        fn hold(&mut self, at: usize, state: State) {
            self.may_have_forgotten |= state.forks.len() >= FORKS_MAX;
            let joined = match self.held[at].take() {
                Some(own) => {
                    let joined = own.join(&state);
                    self.may_have_forgotten |= joined.forks.len() >= FORKS_MAX;
                    let again = joined.join(&state);
                    assert!(self.may_have_forgotten || again == joined, "joined again");
                    joined
                }
                None => state,
            };
            self.may_have_forgotten |= joined.forks.len() >= FORKS_MAX;
            self.held[at] = Some(joined);
        }

        fn step(&mut self, step: Step) {
            match step {
                Step::Hear(at, events) => {
                    self.branches += 1;
                    let branch = self.branches;
                    let state = self.held[at].get_or_insert_with(|| State {
                        events: Vec::new(),
                        forks: vec![Fork::new(branch, Counted::NONE)],
                    });
                    state.events.extend(self.heard..self.heard + events);
                    self.heard += events;
                }
                Step::Save(at) => self.saved[at].clone_from(&self.held[at]),
                Step::Take(to, from) => {
                    let Some(saved) = self.saved[from].clone() else {
                        return;
                    };
                    self.branches += 1;
                    let forks = saved.line().branched(self.branches);
                    self.hold(to, State { events: saved.events, forks });
                }
                Step::Give(to, from) => {
                    if to != from
                        && let Some(state) = self.held[from].take()
                    {
                        self.hold(to, state);
                    }
                }
                Step::Die(at) => self.held[at] = None,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        /// When all are joined, in any order, each event that any of them had is there once.
        #[test]
        fn nothing_is_lost_or_doubled(steps in steps(), last in 0..INSTANCES) {
            let mut world = World::default();
            steps.into_iter().for_each(|step| world.step(step));
            let all = world.held.iter().flatten();
            let mut all: Vec<u32> = all.flat_map(|state| state.events.clone()).collect();
            all.sort_unstable();
            all.dedup();
            for at in 1..INSTANCES {
                world.step(Step::Give(last, (last + at) % INSTANCES));
            }
            prop_assume!(!world.may_have_forgotten);
            let mut events: Vec<u32> =
                world.held.iter().flatten().flat_map(|state| state.events.clone()).collect();
            events.sort_unstable();
            prop_assert_eq!(events, all);
        }
    }

    fn state(events: impl IntoIterator<Item = u32>, forks: &[(u64, usize)]) -> State {
        let events: Vec<_> = events.into_iter().collect();
        let fork = |(branch, at): &(u64, usize)| Fork::new(*branch, counted(&events[..*at]));
        let forks = forks.iter().map(fork).collect();
        State { events, forks }
    }

    #[test]
    fn what_is_missing_is_appended() {
        // One went on from its third event, and so did who took a copy of it then.
        let (own, base) = (state(0..5, &[]), state([0, 1, 2, 10, 11, 12], &[(7, 3)]));
        let joined = state([0, 1, 2, 10, 11, 12, 3, 4], &[(7, 3), (ROOT, 6)]);
        assert_eq!(own.join(&base), joined);
        assert_eq!(joined.join(&base), joined);
        // From then on each appends to what was its own.
        let joined = state([0, 1, 2, 10, 11, 12, 3, 4], &[(7, 3), (ROOT, 6), (7, 8)]);
        assert_eq!(base.join(&own), joined);
        // A beginning adds nothing, and what goes on replaces it.
        assert_eq!(own.join(&state(0..3, &[])), own);
        assert_eq!(own.join(&state(0..9, &[])), state(0..9, &[]));
        // Who began alone has nothing in common.
        let alone = state([20, 21], &[(8, 0)]);
        assert_eq!(alone.join(&own), state([0, 1, 2, 3, 4, 20, 21], &[(8, 5)]));
        assert_eq!(own.join(&alone), state([0, 1, 2, 3, 4, 20, 21], &[(8, 5), (ROOT, 7)]));
    }

    #[test]
    fn no_counts_are_too_much() {
        let line = |counted, forks| Line { counted, forks };
        let most = Counted { accepted: u64::MAX, points: u64::MAX, episodes: u64::MAX };
        let forks = [Fork::new(7, most), Fork::new(ROOT, Counted::NONE)];
        let relation = relate(line(most, &forks), line(Counted::NONE, &forks));
        assert_eq!(relation.first, Side::Own);
        let _ = relate(line(Counted::NONE, &forks), line(most, &[]));
    }
}
