//! The members of a fleet in an answer, and the parts that they told.

use serde::Serialize;

use crate::api::json::{Text, append};
use crate::fleet::answers::{Answers, MemberReport};
use crate::fleet::directory::MemberState;
use crate::metric::timestamp::Rfc3339;

/// The members of an answer that tell who has answered.
#[derive(Serialize)]
pub(super) struct FleetView<'a> {
    scope: &'static str,
    complete: bool,
    missing: Vec<&'a str>,
    as_of: Text<Rfc3339>,
    members: Vec<MemberView<'a>>,
}

/// One member.
#[derive(Serialize)]
struct MemberView<'a> {
    instance: &'a str,
    version: &'a str,
    state: &'static str,
    as_of: Text<Rfc3339>,
    accepted: u64,
}

impl<'a> FleetView<'a> {
    /// Returns the view of these answers.
    pub(super) fn new(answers: &'a Answers) -> Self {
        Self {
            scope: "fleet",
            complete: answers.complete,
            missing: answers.missing().collect(),
            as_of: Text(Rfc3339(answers.now_us / 1000)),
            members: answers.members.iter().map(MemberView::from).collect(),
        }
    }

    /// Returns the view of answers to which something may lack though all members told theirs.
    pub(super) fn lacking(self, lacks: bool) -> Self {
        Self { complete: self.complete && !lacks, ..self }
    }
}

impl<'a> From<&'a MemberReport> for MemberView<'a> {
    fn from(member: &'a MemberReport) -> Self {
        let state = match (member.state, &member.answer) {
            (MemberState::Live, Some(_)) => "live",
            (MemberState::Live, None) => "silent",
            (MemberState::Lapsed, _) => "lapsed",
            (MemberState::Left, _) => "left",
        };
        Self {
            instance: &member.instance,
            version: &member.version,
            state,
            as_of: Text(Rfc3339(member.as_of_us / 1000)),
            accepted: member.totals.get("accepted"),
        }
    }
}

/// Returns the JSON of a part.
pub(super) fn part(value: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::new();
    append(&mut json, value);
    json
}
