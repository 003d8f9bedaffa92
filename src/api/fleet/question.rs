//! Questions between members, as JSON. A member of another version may not know one: then it says
//! nothing, and is missing in the answer.

use serde::{Deserialize, Serialize};

use crate::analytics::anomaly::FindingKind;
use crate::api::json::{append, read};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(in crate::api) enum Question {
    /// The part of `/analyze`.
    Analyze,
    /// One device.
    Device {
        /// Its id.
        id: String,
        /// True if the values of its windows are wanted.
        values: bool,
    },
    /// The timestamp of a device's last event.
    Latest {
        /// Its id.
        id: String,
    },
    /// A page of devices.
    Devices {
        /// The query, as of `GET /devices`.
        query: String,
    },
    /// Findings of both kinds.
    Anomalies {
        /// The most of them.
        limit: usize,
        /// Each member, with the number of its last one that was seen. Without it the newest are
        /// wanted.
        since: Option<Vec<(u64, u64)>>,
    },
    /// Findings of one kind. This is a question of its own, as a member that does not know of kinds
    /// would pass over that word, and answer with both.
    AnomaliesOfKind {
        /// The kind.
        #[serde(with = "KindName")]
        kind: FindingKind,
        /// The most of them.
        limit: usize,
        /// Each member, with the number, in that kind, of its last one that was seen.
        since: Option<Vec<(u64, u64)>>,
    },
    /// The part of `/stats`.
    Stats {
        /// The seconds of its history.
        history: usize,
    },
}

/// The names of kinds in questions.
#[derive(Serialize, Deserialize)]
#[serde(remote = "FindingKind", rename_all = "snake_case")]
enum KindName {
    Anomaly,
    Novelty,
}

impl Question {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text = Vec::new();
        append(&mut text, self);
        text
    }

    pub(super) fn decode(text: &[u8]) -> Option<Self> {
        read(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_read_back_and_others_are_unknown() {
        for question in [
            Question::Analyze,
            Question::Device { id: "d".to_owned(), values: true },
            Question::Latest { id: "d".to_owned() },
            Question::Devices { query: "sort=z&after=z~ff~a%3A".to_owned() },
            Question::Anomalies { limit: 3, since: None },
            Question::Anomalies { limit: 3, since: Some(vec![(u64::MAX, 7)]) },
            Question::AnomaliesOfKind { kind: FindingKind::Novelty, limit: 3, since: None },
            Question::AnomaliesOfKind {
                kind: FindingKind::Anomaly,
                limit: 3,
                since: Some(vec![(7, u64::MAX)]),
            },
            Question::Stats { history: 300 },
        ] {
            assert_eq!(Question::decode(&question.encode()), Some(question));
        }
        for unknown in ["", "{}", r#"{"ask":"more"}"#, r#"{"ask":"device"}"#, "null"] {
            assert_eq!(Question::decode(unknown.as_bytes()), None, "{unknown}");
        }
    }

    /// A member of 0.2.0 knows a question by `ask`, and passes over members that it does not know.
    #[test]
    fn a_kind_is_asked_for_in_words_that_older_members_do_not_know() {
        let (kind, limit, since) = (FindingKind::Novelty, 3, None);
        let question = Question::AnomaliesOfKind { kind, limit, since };
        let expected = r#"{"ask":"anomalies_of_kind","kind":"novelty","limit":3,"since":null}"#;
        assert_eq!(String::from_utf8(question.encode()).unwrap(), expected);
        let known = Question::Anomalies { limit: 3, since: None }.encode();
        assert_eq!(known, br#"{"ask":"anomalies","limit":3,"since":null}"#);
    }
}
