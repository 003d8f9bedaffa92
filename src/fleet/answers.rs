//! Answers of a fleet: what each replica says to a question, and whether all of them did.

use std::collections::BTreeMap;
use std::sync::Arc;

pub use super::directory::Totals;
use super::directory::{Directory, Incarnation, MemberState};
use percore::clock::Now;

/// The answers to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The members, the one that was asked first.
    pub members: Vec<MemberReport>,
    /// True if every event that was acknowledged before the question is in the answers.
    pub complete: bool,
    /// The sums of the counters of those who are gone.
    pub gone: Totals,
    /// Fleet time at the end, in microseconds since 1970.
    pub now_us: i64,
}

/// The report of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberReport {
    /// A number of this life of it.
    pub number: u64,
    /// Its name.
    pub instance: String,
    /// The version of its program.
    pub version: String,
    /// Its state in the directory.
    pub state: MemberState,
    /// The time of the figures, in fleet time.
    pub as_of_us: i64,
    /// Its counters at that time.
    pub totals: Totals,
    /// Its answer. Without one it is missing.
    pub answer: Option<Vec<u8>>,
}

/// The words of a member in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) at_us: i64,
    pub(super) totals: Totals,
    /// The answers, in the order of the questions.
    pub(super) answers: Vec<Vec<u8>>,
}

/// Returns the reports of the other members on the question of this place in a round: of those who
/// did not answer, what the directory has. One that did not leave is listed for a minute longer
/// than it was heard of.
pub(super) fn peer_reports(
    directory: &Directory,
    me: Incarnation,
    said: &BTreeMap<Incarnation, Said>,
    question: usize,
    now_us: i64,
) -> impl Iterator<Item = MemberReport> {
    let listed = directory.entries.iter();
    let listed = listed.filter(move |(peer, entry)| **peer != me && entry.is_expected(now_us));
    listed.map(move |(peer, entry)| {
        let said = said.get(peer);
        let answer = said.and_then(|said| said.answers.get(question));
        MemberReport {
            number: peer.0,
            instance: entry.instance.clone(),
            version: entry.version.clone(),
            state: entry.state(now_us),
            as_of_us: said.map_or(entry.seen_us, |said| said.at_us),
            totals: directory.rest_of(*peer, said.map_or(&entry.totals, |said| &said.totals)),
            answer: answer.filter(|answer| !answer.is_empty()).cloned(),
        }
    })
}

impl Answers {
    /// Returns the counters of all members and of those who are gone.
    pub fn totals(&self) -> Totals {
        let mut totals = self.gone.clone();
        // Those of the lapsed are among the gone.
        let live = self.members.iter().filter(|member| member.state == MemberState::Live);
        live.for_each(|member| totals.add(&member.totals));
        totals
    }

    /// Returns the names of the members without an answer.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let missing = self.members.iter().filter(|member| member.answer.is_none());
        missing.map(|member| member.instance.as_str())
    }
}

/// The function that gets the answers, or none if the question is not asked. Those who ask the same
/// share them: pages of devices are long, and thousands may ask at once.
pub type Asker = Box<dyn FnOnce(Option<Arc<Answers>>) + Send>;

/// The server behind a member: it answers questions from its own memory.
pub trait Responder: Send {
    /// Returns its counters, each of which only grows but for `pending`.
    fn totals(&self) -> Totals;

    /// Renews the lease on the windows of its devices, by what was sent at `sent_ns`: until
    /// `until_ns` the others are sure to count on it.
    fn renew_lease(&self, sent_ns: u64, until_ns: u64, now: Now);

    /// Returns the answer to a question, as the member of this number; nothing if it does not know
    /// the question. The wall clock of `now` is fleet time.
    fn answer(&self, question: &[u8], member: u64, now: Now) -> Vec<u8>;
}
