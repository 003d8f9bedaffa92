//! Messages between replicas: questions, and the answers to them.
//!
//! A message is a line of JSON, and behind it the texts whose lengths the line has: answers are
//! long, and are not to be escaped a second time. The fleet does not know what the texts mean.

use serde::{Deserialize, Serialize};

use super::directory::{Incarnation, Totals};
use super::json;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Questions of one replica.
    Ask {
        /// The replica that asks.
        from: Incarnation,
        /// The last part of the key of its mailbox.
        mailbox: String,
        /// A number of its own.
        round: u64,
        /// The fleet time after which nobody waits for the answers.
        until_us: i64,
        /// The questions.
        questions: Vec<Vec<u8>>,
    },
    /// The answers to the questions of a round, in their order.
    Answer {
        /// The replica that answers.
        from: Incarnation,
        /// The round.
        round: u64,
        /// The time of the answers, in fleet time.
        at_us: i64,
        /// The counters at that time.
        totals: Totals,
        /// The answers; an empty one is none.
        answers: Vec<Vec<u8>>,
    },
}

/// The line of a message.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Ask { from: String, mailbox: String, round: u64, until_us: i64, lengths: Vec<usize> },
    Answer { from: String, round: u64, at_us: i64, totals: Totals, lengths: Vec<usize> },
}

impl Message {
    /// Writes the message.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (line, texts) = match self {
            Self::Ask { from, mailbox, round, until_us, questions } => {
                let (from, mailbox) = (from.to_string(), mailbox.clone());
                let lengths = lengths(questions);
                let (round, until_us) = (*round, *until_us);
                (Line::Ask { from, mailbox, round, until_us, lengths }, questions)
            }
            Self::Answer { from, round, at_us, totals, answers } => {
                let (from, totals) = (from.to_string(), totals.clone());
                let lengths = lengths(answers);
                let (round, at_us) = (*round, *at_us);
                (Line::Answer { from, round, at_us, totals, lengths }, answers)
            }
        };
        let mut bytes = json::write(&line);
        bytes.push(b'\n');
        texts.iter().for_each(|text| bytes.extend_from_slice(text));
        bytes
    }

    /// Reads a message; `None` if it is none that this version knows.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let end = memchr::memchr(b'\n', bytes)?;
        let (line, texts) = bytes.split_at_checked(end)?;
        let texts = texts.get(1..)?;
        Some(match json::read(line)? {
            Line::Ask { from, mailbox, round, until_us, lengths } => Self::Ask {
                from: from.parse().ok()?,
                mailbox,
                round,
                until_us,
                questions: split(texts, &lengths)?,
            },
            Line::Answer { from, round, at_us, totals, lengths } => Self::Answer {
                from: from.parse().ok()?,
                round,
                at_us,
                totals,
                answers: split(texts, &lengths)?,
            },
        })
    }
}

fn lengths(texts: &[Vec<u8>]) -> Vec<usize> {
    texts.iter().map(Vec::len).collect()
}

/// Returns the texts of these lengths, which are all there is.
fn split(mut bytes: &[u8], lengths: &[usize]) -> Option<Vec<Vec<u8>>> {
    let mut texts = Vec::new();
    for length in lengths {
        let (text, rest) = bytes.split_at_checked(*length)?;
        texts.push(text.to_vec());
        bytes = rest;
    }
    bytes.is_empty().then_some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn messages() -> impl Strategy<Value = Message> {
        let texts = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5);
        (any::<(u64, u64, i64, bool)>(), "[ -~]{0,20}", texts).prop_map(
            |((from, round, us, asks), mailbox, texts)| {
                let from = Incarnation(from);
                if asks {
                    return Message::Ask { from, mailbox, round, until_us: us, questions: texts };
                }
                let mut totals = Totals::default();
                totals.set(&mailbox, round);
                Message::Answer { from, round, at_us: us, totals, answers: texts }
            },
        )
    }

    proptest! {
        #[test]
        fn messages_read_back(message in messages()) {
            prop_assert_eq!(Message::decode(&message.encode()), Some(message));
        }

        #[test]
        fn no_bytes_are_too_much(
            message in messages(),
            at in any::<prop::sample::Index>(),
            by in any::<u8>(),
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = Message::decode(&bytes);
            let mut spoilt = message.encode();
            let at = at.index(spoilt.len());
            spoilt[at] = by;
            let _ = Message::decode(&spoilt);
            prop_assert_eq!(Message::decode(&spoilt[..at]), None);
        }
    }

    #[test]
    fn lengths_are_those_of_the_texts() {
        let line = r#"{"kind":"ask","from":"0000000000000001","mailbox":"","round":1,"until_us":0"#;
        for (lengths, texts, is_whole) in [
            ("[]", "", true),
            ("[1,2]", "abb", true),
            ("[1,2]", "ab", false),
            ("[1]", "ab", false),
            ("[18446744073709551615]", "ab", false),
            ("[-1]", "ab", false),
        ] {
            let message = format!("{line},\"lengths\":{lengths}}}\n{texts}");
            assert_eq!(Message::decode(message.as_bytes()).is_some(), is_whole, "{message}");
        }
    }
}
