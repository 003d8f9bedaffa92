//! Rounds of questions: who has asked what, and who has answered.
//!
//! Questions that come within ten milliseconds are asked in one round, and equal ones once. None
//! joins a round that has begun: its answers could lack what was acknowledged since.

use std::collections::{BTreeMap, BTreeSet};

use super::answers::{Asker, Said};
use super::directory::Incarnation;
use crate::limits::{FLEET_ANSWER_MS, FLEET_COLLECT_MS, FLEET_QUESTIONS_MAX};

const ANSWER_NS: u64 = FLEET_ANSWER_MS * 1_000_000;
const COLLECT_NS: u64 = FLEET_COLLECT_MS * 1_000_000;

/// A question of a client, on its way to the fleet's thread.
pub(super) struct Question {
    pub(super) text: Vec<u8>,
    pub(super) asker: Asker,
}

/// The questions of one round.
pub(super) struct Round {
    pub(super) number: u64,
    /// Each with those who asked it.
    pub(super) questions: Vec<(Vec<u8>, Vec<Asker>)>,
    /// The members that were asked and have not answered; `None` before they were asked.
    pub(super) awaited: Option<BTreeSet<Incarnation>>,
    pub(super) said: BTreeMap<Incarnation, Said>,
    /// The words of this member itself, by the entry that went with the census.
    pub(super) own: Option<Said>,
    begun_ns: u64,
}

impl Round {
    /// Returns true if nobody is waited for any more.
    pub(super) fn is_over(&self, now_ns: u64) -> bool {
        let all_said = self.awaited.as_ref().is_some_and(BTreeSet::is_empty);
        all_said || now_ns >= self.ends_ns()
    }

    /// Returns its questions.
    pub(super) fn texts(&self) -> Vec<Vec<u8>> {
        self.questions.iter().map(|(question, _)| question.clone()).collect()
    }

    /// Returns the time at which it ends in any case.
    pub(super) const fn ends_ns(&self) -> u64 {
        self.begun_ns.saturating_add(ANSWER_NS)
    }
}

/// The rounds that are not over, and the questions for the next one.
#[derive(Default)]
pub(super) struct Rounds {
    begun: Vec<Round>,
    next: Vec<(Vec<u8>, Vec<Asker>)>,
    /// The earliest time of the next round.
    next_ns: u64,
    last_number: u64,
    /// The time of the first question of the next round.
    first_ns: u64,
}

impl Rounds {
    /// Adds a question to the next round.
    pub(super) fn add(&mut self, question: Question, now_ns: u64) {
        let Question { text, asker } = question;
        if self.next.is_empty() {
            self.first_ns = now_ns;
        }
        match self.next.iter_mut().find(|(known, _)| *known == text) {
            Some((_, askers)) => askers.push(asker),
            None => self.next.push((text, vec![asker])),
        }
    }

    /// Returns the time at which the next round is to begin, if there is something to ask.
    pub(super) fn begins_ns(&self) -> Option<u64> {
        (!self.next.is_empty()).then_some(self.next_ns)
    }

    /// Begins a round. Its time counts from the first of its questions.
    pub(super) fn begin(&mut self, now_ns: u64) {
        let rest = self.next.split_off(self.next.len().min(FLEET_QUESTIONS_MAX));
        let questions = std::mem::replace(&mut self.next, rest);
        if questions.is_empty() {
            return;
        }
        self.last_number += 1;
        self.next_ns = now_ns.saturating_add(COLLECT_NS);
        self.begun.push(Round {
            number: self.last_number,
            questions,
            awaited: None,
            said: BTreeMap::new(),
            own: None,
            begun_ns: self.first_ns,
        });
    }

    /// Returns true if there are rounds whose members are still to be asked.
    pub(super) fn has_unasked(&self) -> bool {
        self.begun.iter().any(|round| round.awaited.is_none())
    }

    /// Notes for the rounds whose members are still to be asked what this member says itself, as
    /// the census begins after which they are.
    pub(super) fn answer(&mut self, say: impl Fn(&[Vec<u8>]) -> Said) {
        for round in self.begun.iter_mut().filter(|round| round.awaited.is_none()) {
            round.own = Some(say(&round.texts()));
        }
    }

    /// Lets those rounds await these members whose members are still to be asked. Returns their
    /// numbers and questions. Those that have begun since the census did wait for the next: it may
    /// lack who has come meanwhile.
    pub(super) fn ask(&mut self, awaited: &BTreeSet<Incarnation>) -> Vec<(u64, Vec<Vec<u8>>)> {
        let is_due = |round: &&mut Round| round.awaited.is_none() && round.own.is_some();
        let asked = self.begun.iter_mut().filter(is_due).map(|round| {
            round.awaited = Some(awaited.clone());
            (round.number, round.texts())
        });
        asked.collect()
    }

    /// Adds what a member said. Returns false if nobody waits for it.
    pub(super) fn add_said(&mut self, number: u64, from: Incarnation, said: Said) -> bool {
        let Some(round) = self.begun.iter_mut().find(|round| round.number == number) else {
            return false;
        };
        let is_awaited = round.awaited.as_mut().is_some_and(|awaited| awaited.remove(&from));
        if is_awaited && said.answers.len() == round.questions.len() {
            round.said.insert(from, said);
        }
        is_awaited
    }

    /// Takes a round that is over.
    pub(super) fn take_over(&mut self, now_ns: u64) -> Option<Round> {
        let at = self.begun.iter().position(|round| round.is_over(now_ns))?;
        Some(self.begun.remove(at))
    }

    /// Takes all rounds, and the questions for the next one as one more.
    pub(super) fn take_all(&mut self, now_ns: u64) -> Vec<Round> {
        while !self.next.is_empty() {
            self.begin(now_ns);
        }
        std::mem::take(&mut self.begun)
    }

    /// Returns the number of rounds that have begun.
    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.begun.len()
    }

    /// Returns the time at which the first round ends in any case.
    pub(super) fn ends_ns(&self) -> Option<u64> {
        self.begun.iter().map(Round::ends_ns).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::directory::Totals;

    fn answer(rounds: &mut Rounds) {
        rounds.answer(|questions| said(questions.len()));
    }

    fn add(rounds: &mut Rounds, question: &[u8], now_ns: u64) {
        let (text, asker) = (question.to_vec(), Box::new(|_| ()));
        rounds.add(Question { text, asker }, now_ns);
    }

    fn said(answers: usize) -> Said {
        Said { at_us: 0, totals: Totals::default(), answers: vec![vec![1]; answers] }
    }

    #[test]
    fn equal_questions_are_asked_once_and_none_joins_late() {
        let mut rounds = Rounds::default();
        assert_eq!(rounds.begins_ns(), None);
        for question in [b"a", b"b", b"a"] {
            add(&mut rounds, question, 5);
        }
        assert_eq!(rounds.begins_ns(), Some(0));
        rounds.begin(7);
        add(&mut rounds, b"a", 8);
        assert_eq!(rounds.begins_ns(), Some(7 + COLLECT_NS));
        assert_eq!(rounds.ask(&BTreeSet::new()), [], "no census began after it");
        answer(&mut rounds);
        assert_eq!(rounds.ask(&BTreeSet::new()), [(1, vec![b"a".to_vec(), b"b".to_vec()])]);
        assert!(!rounds.has_unasked());
        let askers: Vec<_> =
            rounds.begun[0].questions.iter().map(|(_, askers)| askers.len()).collect();
        assert_eq!(askers, [2, 1]);
        assert_eq!(rounds.ends_ns(), Some(5 + ANSWER_NS));
    }

    #[test]
    fn a_round_ends_with_its_last_answer_or_in_time() {
        let mut rounds = Rounds::default();
        add(&mut rounds, b"a", 0);
        rounds.begin(0);
        let (one, two) = (Incarnation(1), Incarnation(2));
        assert!(!rounds.add_said(1, one, said(1)), "nobody was asked yet");
        answer(&mut rounds);
        rounds.ask(&[one, two].into());
        assert!(rounds.add_said(1, one, said(1)));
        assert!(!rounds.add_said(1, one, said(1)), "it has answered");
        assert!(!rounds.add_said(9, two, said(1)), "there is no such round");
        assert!(rounds.take_over(ANSWER_NS - 1).is_none());
        // Another number of answers than of questions is none.
        assert!(rounds.add_said(1, two, said(2)));
        let round = rounds.take_over(1).unwrap();
        assert_eq!(round.said.keys().collect::<Vec<_>>(), [&one]);
        add(&mut rounds, b"a", 50);
        rounds.begin(60);
        assert!(rounds.take_over(50 + ANSWER_NS - 1).is_none());
        assert!(rounds.take_over(50 + ANSWER_NS).is_some());
    }

    #[test]
    fn very_many_questions_take_several_rounds() {
        let mut rounds = Rounds::default();
        for number in 0..FLEET_QUESTIONS_MAX + 1 {
            add(&mut rounds, number.to_string().as_bytes(), 0);
        }
        rounds.begin(0);
        assert!(rounds.begins_ns().is_some());
        let sizes: Vec<_> = rounds.take_all(1).iter().map(|round| round.questions.len()).collect();
        assert_eq!(sizes, [FLEET_QUESTIONS_MAX, 1]);
    }
}
