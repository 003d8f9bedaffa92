//! Questions of a member to the others and of the others to it, and what becomes of the answers.

use std::sync::Arc;

use super::super::answers::{Answers, Said, peer_reports};
use super::super::directory::{Entry, Incarnation, PROTOCOL};
use super::super::mail::Message;
use super::super::rounds::{Question, Round};
use super::Member;
use crate::limits::{FLEET_ANSWER_MS, FLEET_QUESTIONS_MAX};
use crate::store::redis::error::RedisError;
use percore::clock::Now;

const ANSWER_US: i64 = FLEET_ANSWER_MS as i64 * 1000;

impl Member {
    /// Takes a question of a client.
    pub(in super::super) fn ask(&mut self, question: Question, now: Now) {
        self.rounds.add(question, now.mono_ns);
    }

    /// Takes a message from the mailbox.
    pub(in super::super) fn on_mail(&mut self, bytes: &[u8], now: Now) {
        match Message::decode(bytes) {
            Some(Message::Ask { questions, .. }) if questions.len() > FLEET_QUESTIONS_MAX => {
                self.status.unreadable.add(1);
            }
            Some(Message::Ask { mailbox, round, until_us, questions, .. }) => {
                let now = Now { wall_us: self.now_us(now), ..now };
                // Who asked while this process was frozen waits no more. In doubt it may have been
                // folded, and must not write before it has looked.
                if now.wall_us <= until_us && self.lease.is_sure(now.mono_ns) {
                    self.answer(&mailbox, round, now, &questions);
                }
            }
            Some(Message::Answer { from, round, at_us, totals, answers }) => {
                self.directory.hear(from, at_us, &totals);
                self.rounds.add_said(round, from, Said { at_us, totals, answers });
            }
            None => self.status.unreadable.add(1),
        }
    }

    /// Takes whether messages can be heard: without their answers the others cannot be asked.
    pub(in super::super) fn on_hearing(&mut self, heard: &Result<(), RedisError>, now: Now) {
        self.is_deaf = heard.is_err();
        self.own.moves = heard.is_ok();
        if let Err(error) = heard {
            self.tell(error, now);
        }
    }

    /// Answers questions. The counters are in the directory before the answer is in the mailbox: so
    /// no later answer of the fleet has less, even if this process dies in between.
    fn answer(&mut self, mailbox: &str, round: u64, now: Now, questions: &[Vec<u8>]) {
        self.status.asked.add(questions.len() as u64);
        let (entry, message) = self.own.answer(round, questions, now);
        self.first_write.get_or_insert(self.outbox.len());
        self.outbox.push(self.keys.write(self.own.me, &entry));
        self.outbox.extend(self.keys.post(mailbox, &message));
    }

    /// Asks the members that are there now what the rounds are about. One that says that it cannot
    /// hear is not asked, and so is without an answer: nobody would empty its mailbox, which those
    /// who go on asking would keep from its end.
    pub(super) fn ask_members(&mut self, live: &[Incarnation], now_us: i64) {
        let entries =
            live.iter().filter_map(|peer| Some((*peer, self.directory.entries.get(peer)?)));
        let can_answer =
            |(_, entry): &(Incarnation, &Entry)| entry.protocol == PROTOCOL && entry.moves;
        let peers: Vec<_> = entries.filter(can_answer).collect();
        let awaited = peers.iter().map(|(peer, _)| *peer).collect();
        for (round, questions) in self.rounds.ask(&awaited) {
            let (from, mailbox) = (self.own.me, self.own.mailbox.clone());
            let until_us = now_us + ANSWER_US;
            let message = Message::Ask { from, mailbox, round, until_us, questions };
            for (_, entry) in &peers {
                self.outbox.extend(self.keys.post(&entry.mailbox, &message));
            }
        }
    }

    /// Gives the answers of a round to those who asked.
    pub(super) fn finish(&mut self, round: Round, now: Now) {
        let now_us = self.now_us(now);
        let texts = round.texts();
        // Without a census after the question, nobody knows whether somebody has come.
        let own = round.own.filter(|_| round.awaited.is_some());
        let is_settled = self.lease.is_settled(now.mono_ns) && !self.is_deaf;
        let may_be_complete = own.is_some() && is_settled;
        let own = own.unwrap_or_else(|| self.own.say(&texts, Now { wall_us: now_us, ..now }));
        for (at, (_, askers)) in round.questions.into_iter().enumerate() {
            let mut members = vec![self.own.report(&own, at)];
            members.extend(peer_reports(&self.directory, self.own.me, &round.said, at, now_us));
            let complete = may_be_complete && members.iter().all(|member| member.answer.is_some());
            let gone = self.directory.totals_of_gone(self.own.me, now_us);
            let answers = Arc::new(Answers { members, complete, gone, now_us });
            let count = if complete { &self.status.complete } else { &self.status.incomplete };
            count.add(askers.len() as u64);
            askers.into_iter().for_each(|asker| asker(Some(Arc::clone(&answers))));
        }
    }
}
