//! Lineage: how two states of one device are made one, so that no event is lost or counted twice.
//!
//! The events of a device are one sequence, unless a copy of its state was taken from an instance
//! that could not be asked, and that went on. Then there are two states with a common beginning. A
//! [`Fork`] in a state says which beginning of another instance's events it has, and [`relate`]
//! finds what two states have in common: from there on, the events of one are appended to the
//! other.
//!
//! Pure: of a state it sees counts and forks, and not what an event is.

/// Forks that a state remembers; of more, the oldest are forgotten. Each stands for an instance
/// that was thought to be gone, or was out of reach, and did not come back yet.
pub const FORKS_MAX: usize = 4;

/// The instance of a fork at 0: the window was begun without knowing whether there was one.
pub const NOBODY: u64 = 0;

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

/// A state has all events of an instance up to the time when that had counted so many. The instance
/// may have gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The instance, or [`NOBODY`].
    pub inc: u64,
    /// The events that it had accepted then.
    pub accepted: u64,
    /// The anomalies that it had counted then.
    pub points: u64,
    /// The episodes that it had counted then.
    pub episodes: u64,
}

impl Fork {
    /// The fork of a window that was begun without knowing whether there was one.
    pub const BEGUN_ALONE: Self = Self::new(NOBODY, Counted::NONE);

    /// Returns the fork from an instance that had counted so much.
    pub const fn new(inc: u64, counted: Counted) -> Self {
        let Counted { accepted, points, episodes } = counted;
        Self { inc, accepted, points, episodes }
    }

    /// Returns what the instance had counted.
    pub const fn counted(self) -> Counted {
        Counted { accepted: self.accepted, points: self.points, episodes: self.episodes }
    }
}

/// A state as its lineage sees it.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The instance that holds the state, or held it last.
    pub owner: u64,
    /// Its counts.
    pub counted: Counted,
    /// Its forks, the newest last.
    pub forks: &'a [Fork],
}

impl Line<'_> {
    /// Returns the forks of the state when `me` gets it, and had none. If it is a copy that was
    /// taken without its owner's knowledge, that is a fork.
    pub fn forks_at(self, me: u64, is_copy: bool) -> Vec<Fork> {
        let now = is_copy.then(|| Fork::new(self.owner, self.counted));
        union(self.forks.iter().copied().chain(now), |fork| fork.inc != me)
    }

    /// Returns what this state has of an instance's events.
    fn has_of(&self, inc: u64) -> Option<Counted> {
        self.forks.iter().rfind(|fork| fork.inc == inc).map(|fork| fork.counted())
    }

    fn is_begun_alone(&self) -> bool {
        self.has_of(NOBODY).is_some()
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
    /// The last events of the other state, so many, come after those.
    pub extra: Counted,
    /// The forks of the result, the newest last, at most [`FORKS_MAX`].
    pub forks: Vec<Fork>,
}

/// Returns the way to make one of the state that is held here and one that came.
///
/// 1. Own has base up to some event: base's later events are appended to own.
/// 2. Base has own up to some event: own's later events are appended to base.
/// 3. Both have a third instance's events up to some event: own's events after the earlier of the
///    two are appended to base.
/// 4. One of them was begun alone: all of it is appended to the other; own, if both were.
/// 5. Else one of them is the beginning of the other, which stays as it is.
///
/// If several of the first three hold, the one counts that tells of most events: it was noted last.
/// To join the same base again changes nothing.
pub fn relate(own: Line<'_>, base: Line<'_>) -> Relation {
    if let Some((first, common)) = common(own, base) {
        if first == Side::Own && base.counted.accepted <= common.accepted {
            return Relation { first, extra: Counted::NONE, forks: own.forks.to_vec() };
        }
        let second = if first == Side::Own { base } else { own };
        return joined(first, second.counted.since(common), own, base);
    }
    match (own.is_begun_alone(), base.is_begun_alone()) {
        (true, _) => joined(Side::Base, own.counted, own, base),
        (false, true) => joined(Side::Own, base.counted, own, base),
        _ if own.counted.accepted >= base.counted.accepted => longer(Side::Own, own, base),
        _ => longer(Side::Base, own, base),
    }
}

/// Returns the state that comes first, and the counts of the second at the last event that both
/// have; `None` if their forks do not tell.
fn common(own: Line<'_>, base: Line<'_>) -> Option<(Side, Counted)> {
    let own_has = own.has_of(base.owner).map(|common| (Side::Own, common));
    let base_has = base.has_of(own.owner).map(|common| (Side::Base, common));
    let third = own.forks.iter().filter(|fork| ![NOBODY, base.owner].contains(&fork.inc));
    let both_have = third.filter_map(|fork| {
        let (of_own, of_base) = (fork.counted(), base.has_of(fork.inc)?);
        let is_less = of_base.accepted < of_own.accepted;
        Some((Side::Base, if is_less { of_base } else { of_own }))
    });
    let mut found: Option<(Side, Counted)> = None;
    for next in own_has.into_iter().chain(base_has).chain(both_have) {
        if found.is_none_or(|(_, most)| next.1.accepted > most.accepted) {
            found = Some(next);
        }
    }
    found
}

/// Returns the relation of two states of which one is the beginning of the other. Whoever held the
/// base may have gone on.
fn longer(first: Side, own: Line<'_>, base: Line<'_>) -> Relation {
    let line = if first == Side::Own { own } else { base };
    let forks = Line { owner: base.owner, counted: base.counted, forks: line.forks };
    Relation { first, extra: Counted::NONE, forks: forks.forks_at(own.owner, true) }
}

/// Returns a relation whose result has all events of both states, and so all that either has of
/// other instances.
fn joined(first: Side, extra: Counted, own: Line<'_>, base: Line<'_>) -> Relation {
    let is_alone = own.is_begun_alone() && base.is_begun_alone();
    let now = Fork::new(base.owner, base.counted);
    let forks = own.forks.iter().chain(base.forks).chain([&now]).copied();
    let forks = union(forks, |fork| fork.inc != own.owner && (fork.inc != NOBODY || is_alone));
    Relation { first, extra, forks }
}

/// Returns one fork for each instance, that of most events, the newest last.
fn union(forks: impl Iterator<Item = Fork>, is_open: impl Fn(&Fork) -> bool) -> Vec<Fork> {
    let mut union: Vec<Fork> = Vec::with_capacity(2 * FORKS_MAX + 1);
    for fork in forks.filter(is_open) {
        let earlier = union.iter().position(|earlier| earlier.inc == fork.inc);
        let earlier = earlier.map(|at| union.remove(at));
        union.push(earlier.filter(|it| it.accepted > fork.accepted).unwrap_or(fork));
    }
    union.drain(..union.len().saturating_sub(FORKS_MAX));
    union
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

    impl State {
        fn line(&self, owner: u64) -> Line<'_> {
            Line { owner, counted: counted(&self.events), forks: &self.forks }
        }

        /// Returns this state, held by `me`, joined with one that came.
        fn join(&self, me: u64, base: &Self, owner: u64) -> Self {
            let Relation { first, extra, forks } = relate(self.line(me), base.line(owner));
            let (first, second) = if first == Side::Own { (self, base) } else { (base, self) };
            let extra_events = &second.events[second.events.len() - extra.accepted as usize..];
            assert_eq!(extra, counted(extra_events));
            let events = [&first.events[..], extra_events].concat();
            assert!(forks.len() <= FORKS_MAX);
            Self { events, forks }
        }
    }

    fn counted(events: &[u32]) -> Counted {
        let multiples = |of| events.iter().filter(|event| event.is_multiple_of(of)).count() as u64;
        Counted { accepted: multiples(1), points: multiples(2), episodes: multiples(4) }
    }

    const INSTANCES: usize = 5;

    const fn inc(at: usize) -> u64 {
        at as u64 + 1
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// An instance that has the device hears so many events.
        Hear(usize, u32),
        /// It saves a copy.
        Save(usize),
        /// An instance takes the last copy that the main one saved, without its knowledge, and is
        /// the main one from now on.
        Take(usize),
        /// The second instance gives its state to the first, which joins it if it has one.
        Give(usize, usize),
        /// An instance that never had the device begins a window without asking anyone.
        BeginAlone(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let at = || 0..INSTANCES;
        let step = prop_oneof![
            4 => (at(), 1..4_u32).prop_map(|(at, events)| Step::Hear(at, events)),
            2 => at().prop_map(Step::Save),
            1 => at().prop_map(Step::Take),
            2 => (at(), at()).prop_map(|(to, from)| Step::Give(to, from)),
            1 => at().prop_map(Step::BeginAlone),
        ];
        prop::collection::vec(step, 0..40)
    }

    /// Instances that give and take the state of one device. One is the *main* one, which the
    /// others find if they ask; each of the others has been taken for dead, or began alone.
    struct World {
        heard: u32,
        held: [Option<State>; INSTANCES],
        saved: [Option<State>; INSTANCES],
        had: [bool; INSTANCES],
        main: usize,
    }

    impl World {
        fn new() -> Self {
            let none = [const { None }; INSTANCES];
            let mut world =
                Self { heard: 0, held: none.clone(), saved: none, had: [false; _], main: 0 };
            world.hold(0, State::default());
            world
        }

        fn hold(&mut self, at: usize, state: State) {
            self.saved[at] = Some(state.clone());
            self.held[at] = Some(state);
            self.had[at] = true;
        }

        fn step(&mut self, step: Step) {
            match step {
                Step::Hear(at, events) => {
                    if let Some(state) = &mut self.held[at] {
                        state.events.extend(self.heard..self.heard + events);
                        self.heard += events;
                    }
                }
                Step::Save(at) => self.saved[at].clone_from(&self.held[at]),
                Step::Take(at) => {
                    let (None, Some(saved)) = (&self.held[at], &self.saved[self.main]) else {
                        return;
                    };
                    let forks = saved.line(inc(self.main)).forks_at(inc(at), true);
                    let events = saved.events.clone();
                    self.hold(at, State { events, forks });
                    self.main = at;
                }
                Step::Give(to, from) if to != from && [to, from].contains(&self.main) => {
                    let Some(base) = self.held[from].take() else {
                        return;
                    };
                    let state = if let Some(own) = self.held[to].take() {
                        let joined = own.join(inc(to), &base, inc(from));
                        let again = joined.join(inc(to), &base, inc(from));
                        assert_eq!(again, joined, "joined again");
                        joined
                    } else {
                        let forks = base.line(inc(from)).forks_at(inc(to), false);
                        State { events: base.events, forks }
                    };
                    self.saved[from] = None;
                    self.hold(to, state);
                    self.main = to;
                }
                Step::BeginAlone(at) if !self.had[at] => {
                    self.hold(at, State { events: Vec::new(), forks: vec![Fork::BEGUN_ALONE] });
                }
                Step::Give(..) | Step::BeginAlone(_) => {}
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// When all who went on have joined, each event is in the device's sequence once.
        #[test]
        fn nothing_is_lost_or_doubled(steps in steps()) {
            let mut world = World::new();
            for step in steps {
                world.step(step);
            }
            for at in 0..INSTANCES {
                if world.held[at].is_some() {
                    world.step(Step::Give(at, world.main));
                }
            }
            let others = (0..INSTANCES).filter(|at| *at != world.main);
            prop_assert!(others.map(|at| &world.held[at]).all(Option::is_none));
            let mut events = world.held[world.main].take().unwrap().events;
            events.sort_unstable();
            prop_assert_eq!(events, (0..world.heard).collect::<Vec<_>>());
        }
    }

    fn state(events: impl IntoIterator<Item = u32>, forks: &[(u64, u32)]) -> State {
        let fork = |(inc, accepted)| Fork::new(inc, counted(&(0..accepted).collect::<Vec<_>>()));
        State {
            events: events.into_iter().collect(),
            forks: forks.iter().copied().map(fork).collect(),
        }
    }

    #[test]
    fn each_rule_puts_the_events_in_its_order() {
        let join = |own: State, base: State| {
            let joined = own.join(1, &base, 2);
            let forks: Vec<_> = joined.forks.iter().map(|it| (it.inc, it.accepted)).collect();
            (joined.events, forks)
        };
        // 1. Own took base's copy at 3.
        let (own, base) = (state([0, 1, 2, 10, 11], &[(2, 3)]), state(0..5, &[]));
        assert_eq!(join(own.clone(), base), (vec![0, 1, 2, 10, 11, 3, 4], vec![(2, 5)]));
        assert_eq!(join(own.clone(), state(0..3, &[])), (own.events.clone(), vec![(2, 3)]));
        // 2. Base took own's copy at 3.
        let (own, base) = (state(0..5, &[(7, 1)]), state([0, 1, 2, 10], &[(1, 3)]));
        assert_eq!(join(own, base), (vec![0, 1, 2, 10, 3, 4], vec![(7, 1), (2, 4)]));
        // 3. Both took a third one's copy: at the same event, own earlier, own later.
        let own = |count| state((0..count).chain([10]), &[(7, count)]);
        let base = |count| state((0..count).chain([20]), &[(7, count)]);
        let expected = |count| vec![(7, count), (2, 4)];
        assert_eq!(join(own(3), base(3)), (vec![0, 1, 2, 20, 10], expected(3)));
        assert_eq!(join(own(2), base(3)), (vec![0, 1, 2, 20, 10], expected(3)));
        assert_eq!(join(own(4), base(3)), (vec![0, 1, 2, 20, 3, 10], expected(4)));
        // 4. One began alone, or both.
        let alone = |from| state(from..from + 2, &[(NOBODY, 0)]);
        assert_eq!(join(alone(10), state(0..3, &[])), (vec![0, 1, 2, 10, 11], vec![(2, 3)]));
        assert_eq!(join(state(0..3, &[]), alone(10)), (vec![0, 1, 2, 10, 11], vec![(2, 2)]));
        let both = join(alone(10), alone(20));
        assert_eq!(both, (vec![20, 21, 10, 11], vec![(NOBODY, 0), (2, 2)]));
        // 5. One is the beginning of the other.
        let longer = state(0..4, &[(8, 2)]);
        let shorter = state(0..3, &[]);
        let expected = |count| (vec![0, 1, 2, 3], vec![(8, 2), (2, count)]);
        assert_eq!(join(longer.clone(), shorter.clone()), expected(3));
        assert_eq!(join(shorter, longer), expected(4));
    }

    #[test]
    fn what_was_noted_last_tells_what_two_have_in_common() {
        // Own joined base at 3, and gave it to base as a copy at 6; both went on.
        let (own, base) =
            (state((0..6).chain([10]), &[(2, 3)]), state((0..6).chain([20]), &[(1, 6)]));
        assert_eq!(own.join(1, &base, 2).events, [0, 1, 2, 3, 4, 5, 20, 10]);
        assert_eq!(base.join(2, &own, 1).events, [0, 1, 2, 3, 4, 5, 20, 10]);
    }

    #[test]
    fn the_oldest_of_too_many_forks_are_forgotten_and_none_is_of_oneself() {
        let own = state(0..9, &[(11, 1), (12, 2), (13, 3), (14, 4)]);
        let base = state(0..8, &[(12, 1), (1, 7), (15, 5)]);
        let joined = own.join(1, &base, 2);
        let forks: Vec<_> = joined.forks.iter().map(|it| (it.inc, it.accepted)).collect();
        assert_eq!(forks, [(14, 4), (12, 2), (15, 5), (2, 8)]);
        assert_eq!(own.line(3).forks_at(12, true).len(), FORKS_MAX);
        let taken = state(0..9, &[(1, 1), (12, 2)]);
        let forks = taken.line(3).forks_at(12, true);
        assert_eq!(forks, state([], &[(1, 1), (3, 9)]).forks);
        assert_eq!(taken.line(3).forks_at(12, false), forks[..1]);
    }
}
