//! Requests without the token that they need: how many there are, and which peers may go on.
//!
//! A peer that fails too often is told to wait. One that has tried too many different tokens has
//! to: its tokens are not looked at for a while, the right one neither, or guessing would not be
//! slowed down at all. A device that keeps on sending the same wrong token guesses nothing.
//!
//! What is kept is bounded: so many addresses, of which one with many failures outlasts the others.
//! As long as nobody guesses, a good request reads one number that nobody writes.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::token_digest::TokenDigest;
use crate::gcra::{Dues, Pace, Paces};
use crate::limits::{FAILURES_MAX, FAILURES_SECONDS, GUESSES_MAX, GUESSES_SECONDS, GUESSING_PEERS};
use percore::peer_rules::network_of;
use percore::sync::Mutex;

percore::named_enum! {
    /// The reason why a request failed: the label `reason` of `corepulse_auth_failures_total`.
    pub enum Failure {
        /// It bears no token, or not in a way that is known.
        Missing = "missing",
        /// It bears a token that is none.
        Unknown = "unknown",
        /// It bears a token that may be used for other things only.
        Role = "role",
        /// Its token was not looked at, because of too many different ones before.
        Limited = "limited",
    }
}

/// Addresses of one set of the table.
const WAYS: usize = 8;

/// Sets of the table.
const SETS: usize = GUESSING_PEERS / WAYS;

/// Wrong tokens of an address that are remembered: so many devices may share one, as behind a
/// router that translates addresses, and send what was their token yesterday.
const REMEMBERED: usize = 64;

/// An address, with what is known of it.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    address: IpAddr,
    failures: Dues,
    guesses: Dues,
    /// The first bytes of the digests of its last wrong tokens.
    remembered: [u32; REMEMBERED],
    /// The place of the oldest of them.
    oldest: usize,
}

impl Suspect {
    /// A place that nobody has taken: no peer has this address.
    const NOBODY: Self = Self {
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        failures: [0; _],
        guesses: [0; _],
        remembered: [0; REMEMBERED],
        oldest: 0,
    };

    /// Returns true if a wrong token is another than the last ones, and remembers it.
    fn is_new(&mut self, guess: &TokenDigest) -> bool {
        let guess = guess.first_bytes();
        if self.remembered.contains(&guess) {
            return false;
        }
        if let Some(place) = self.remembered.get_mut(self.oldest) {
            *place = guess;
        }
        self.oldest = (self.oldest + 1) % REMEMBERED;
        true
    }
}

/// The failures of all peers.
pub struct Failures {
    counts: [AtomicU64; Failure::ALL.len()],
    /// The time until which the tokens of some address are not looked at.
    watched_until_ns: AtomicU64,
    /// The addresses, in sets by their hash.
    suspects: Mutex<Box<[Suspect]>>,
    key: RandomState,
    failure_paces: Paces,
    guess_paces: Paces,
}

impl Default for Failures {
    fn default() -> Self {
        let paces = |events, seconds| iter::once(Pace::new(events, seconds)).collect();
        Self {
            counts: Default::default(),
            watched_until_ns: AtomicU64::new(0),
            suspects: Mutex::new(vec![Suspect::NOBODY; SETS * WAYS].into_boxed_slice()),
            key: RandomState::new(),
            failure_paces: paces(FAILURES_MAX, FAILURES_SECONDS),
            guess_paces: paces(GUESSES_MAX, GUESSES_SECONDS),
        }
    }
}

impl std::fmt::Debug for Failures {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Failures").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Failures {
    /// Returns the nanoseconds for which the tokens of a peer are not looked at; 0 if they are.
    /// `peer` is asked only if there may be such a time.
    #[inline]
    pub fn wait_ns(&self, peer: impl FnOnce() -> Option<IpAddr>, now_ns: u64) -> u64 {
        if now_ns >= self.watched_until_ns.load(Ordering::Relaxed) {
            return 0;
        }
        let mut suspects = self.suspects.lock();
        self.find(&mut suspects, key(peer()), now_ns)
            .map_or(0, |suspect| self.guess_paces.wait_ns(&suspect.guesses, now_ns))
    }

    /// Counts a failure that says nothing of a peer's next request.
    pub fn count(&self, failure: Failure) {
        if let Some(count) = self.counts.get(failure.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a failure of a peer, with the wrong token if it was one. Returns the nanoseconds for
    /// which it should wait; 0 if it may go on.
    #[cold]
    pub fn add(
        &self,
        failure: Failure,
        guess: Option<&TokenDigest>,
        peer: Option<IpAddr>,
        now_ns: u64,
    ) -> u64 {
        self.count(failure);
        let mut suspects = self.suspects.lock();
        let Some(suspect) = self.find_or_replace(&mut suspects, key(peer), now_ns) else {
            return 0;
        };
        if guess.is_some_and(|guess| suspect.is_new(guess)) {
            if self.guess_paces.room(&suspect.guesses, now_ns) > 0 {
                self.guess_paces.spend(&mut suspect.guesses, now_ns, 1);
            }
            let wait_ns = self.guess_paces.wait_ns(&suspect.guesses, now_ns);
            if wait_ns > 0 {
                let until_ns = now_ns.saturating_add(wait_ns);
                self.watched_until_ns.fetch_max(until_ns, Ordering::Relaxed);
            }
        }
        let wait_ns = self.failure_paces.wait_ns(&suspect.failures, now_ns);
        if wait_ns == 0 {
            self.failure_paces.spend(&mut suspect.failures, now_ns, 1);
        }
        wait_ns
    }

    /// Returns the counts, in the order of [`Failure::ALL`].
    pub fn totals(&self) -> [u64; Failure::ALL.len()] {
        std::array::from_fn(|at| {
            self.counts.get(at).map_or(0, |count| count.load(Ordering::Relaxed))
        })
    }

    /// Returns the set of an address.
    fn set<'s>(&self, suspects: &'s mut [Suspect], address: IpAddr) -> &'s mut [Suspect] {
        let set = usize::try_from(self.key.hash_one(address)).unwrap_or_default() % SETS;
        suspects.get_mut(set * WAYS..(set + 1) * WAYS).unwrap_or_default()
    }

    /// Returns what is known of an address, if it owes something.
    fn find<'s>(
        &self,
        suspects: &'s mut [Suspect],
        address: IpAddr,
        now_ns: u64,
    ) -> Option<&'s mut Suspect> {
        let set = self.set(suspects, address).iter_mut();
        set.filter(|known| self.debt(known, now_ns) > 0).find(|known| known.address == address)
    }

    /// Returns what is known of an address, in the place of who owes least of its set.
    fn find_or_replace<'s>(
        &self,
        suspects: &'s mut [Suspect],
        address: IpAddr,
        now_ns: u64,
    ) -> Option<&'s mut Suspect> {
        let set = self.set(suspects, address);
        let known = set.iter().position(|known| known.address == address);
        if let Some(known) = known {
            return set.get_mut(known);
        }
        let least = set.iter_mut().min_by_key(|known| self.debt(known, now_ns))?;
        let (failures, guesses) =
            (self.failure_paces.ticks(now_ns), self.guess_paces.ticks(now_ns));
        *least = Suspect { address, failures, guesses, ..Suspect::NOBODY };
        Some(least)
    }

    /// Returns the number of failures that a suspect has not yet made good by waiting.
    fn debt(&self, suspect: &Suspect, now_ns: u64) -> u64 {
        let [failures, guesses] =
            [(&self.failure_paces, &suspect.failures), (&self.guess_paces, &suspect.guesses)]
                .map(|(paces, dues)| paces.room(dues, now_ns));
        u64::from(FAILURES_MAX + GUESSES_MAX).saturating_sub(failures + guesses)
    }
}

/// Returns the address by which a peer is known. All peers on Unix sockets are one, and so are
/// those of this machine by IPv6.
fn key(peer: Option<IpAddr>) -> IpAddr {
    peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), network_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn peer(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number)))
    }

    fn guess(number: u32) -> TokenDigest {
        TokenDigest::of(&number.to_be_bytes())
    }

    #[test]
    fn a_peer_that_fails_too_often_is_told_to_wait_but_its_tokens_are_looked_at() {
        let failures = Failures::default();
        let same = guess(1);
        for (failure, guess) in [(Failure::Role, None), (Failure::Unknown, Some(&same))] {
            let peer = peer(failure.index() as u32);
            let add = |now_ns| failures.add(failure, guess, peer, now_ns);
            assert!((0..FAILURES_MAX).all(|_| add(0) == 0));
            assert!((1..=SECOND_NS).contains(&add(0)));
            assert_eq!(failures.wait_ns(|| peer, 0), 0);
            // One a second may be made.
            assert!((2..20).all(|second| add(second * SECOND_NS) == 0));
        }
        let of = |failure: Failure| failures.totals()[failure.index()];
        let each = u64::from(FAILURES_MAX) + 19;
        let found = [of(Failure::Role), of(Failure::Unknown), of(Failure::Limited)];
        assert_eq!(found, [each, each, 0]);
    }

    #[test]
    fn who_guesses_has_to_wait_and_nobody_else_has() {
        let failures = Failures::default();
        let add = |number, now_ns| {
            failures.add(Failure::Unknown, Some(&guess(number)), peer(1), now_ns);
        };
        (1..GUESSES_MAX).for_each(|number| add(number, 0));
        assert_eq!(failures.wait_ns(|| panic!("nobody has to wait"), 0), 0);
        // The last ones again are no guesses.
        (GUESSES_MAX - 5..GUESSES_MAX).for_each(|number| add(number, 0));
        assert_eq!(failures.wait_ns(|| peer(1), 0), 0);
        add(GUESSES_MAX, 0);
        let wait_ns = failures.wait_ns(|| peer(1), 0);
        assert!((SECOND_NS..=2 * SECOND_NS).contains(&wait_ns), "{wait_ns}");
        assert_eq!(failures.wait_ns(|| peer(2), 0), 0);
        assert_eq!(failures.wait_ns(|| peer(1), wait_ns), 0);
        // After each time of waiting one more guess is looked at.
        let mut now_ns = wait_ns;
        for number in GUESSES_MAX + 1..GUESSES_MAX + 20 {
            add(number, now_ns);
            let wait_ns = failures.wait_ns(|| peer(1), now_ns);
            assert!(wait_ns > SECOND_NS, "{wait_ns}");
            now_ns += wait_ns;
        }
        assert_eq!(failures.wait_ns(|| peer(1), now_ns + 60 * SECOND_NS), 0);
    }

    /// Devices behind one address whose tokens were all replaced do not keep out those beside them
    /// for good: each wrong token is a guess once.
    #[test]
    fn many_devices_that_never_learn_do_not_count_as_guessing_for_ever() {
        let failures = Failures::default();
        let mut now_ns = 0;
        for _ in 0..20 {
            for device in 0..REMEMBERED as u32 {
                if failures.wait_ns(|| peer(1), now_ns) == 0 {
                    failures.add(Failure::Unknown, Some(&guess(device)), peer(1), now_ns);
                }
                now_ns += 100_000_000;
            }
        }
        for device in 0..REMEMBERED as u32 {
            failures.add(Failure::Unknown, Some(&guess(device)), peer(1), now_ns);
            assert_eq!(failures.wait_ns(|| peer(1), now_ns), 0, "{device}");
        }
    }

    #[test]
    fn an_address_is_that_of_a_network_where_a_peer_has_one() {
        let parse = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for (a, b, same) in [
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("2001:db8::1", "2001:db8::ffff:0:0:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(key(parse(a)) == key(parse(b)), same, "{a} {b}");
        }
        assert_ne!(key(None), key(peer(1)));
    }

    /// The many who fail once do not make room for the one who guesses.
    #[test]
    fn more_addresses_than_there_is_room_for_leave_the_worst() {
        let failures = Failures::default();
        for number in 0..GUESSES_MAX {
            failures.add(Failure::Unknown, Some(&guess(number)), peer(0), 0);
        }
        for number in 1..4 * GUESSING_PEERS as u32 {
            failures.add(Failure::Unknown, Some(&guess(number)), peer(number), 0);
        }
        assert!(failures.wait_ns(|| peer(0), 0) > 0);
        assert_eq!(failures.suspects.lock().len(), GUESSING_PEERS);
        let bytes = size_of::<Suspect>() * GUESSING_PEERS;
        assert!((1_200_000..1_500_000).contains(&bytes), "{bytes}");
    }
}
