//! The ledger: what has to be in an answer, and what cannot be.

use super::process::{Life, MS, Process, SECOND};
use crate::fleet::answers::Answers;
use crate::limits::FLEET_LAPSED_MS;

/// See the head of this file.
pub(super) struct Ledger {
    /// The accepted events that complete answers had, over time; each at least that of the last.
    told: Vec<(u64, u64)>,
    /// Redis has lost writes at these times.
    lost_ns: Vec<u64>,
    /// Members of whom nothing was heard for so long are not missed.
    missed_ns: u64,
    /// Redis and those who knew what it lost were gone at once.
    pub(super) is_blurred: bool,
    pub(super) complete: u64,
    pub(super) incomplete: u64,
    pub(super) lost: u64,
}

impl Ledger {
    pub(super) fn new(forget_us: i64) -> Self {
        let forget_ns = forget_us as u64 * 1000;
        Self {
            told: Vec::new(),
            lost_ns: Vec::new(),
            missed_ns: forget_ns.min(FLEET_LAPSED_MS * MS) - 1500 * MS,
            is_blurred: false,
            complete: 0,
            incomplete: 0,
            lost: 0,
        }
    }

    /// Notes that Redis has lost writes.
    pub(super) fn note_loss(&mut self, processes: &[Process], now_ns: u64) {
        self.lost_ns.push(now_ns);
        // What somebody wrote as his last was perhaps read by nobody.
        self.is_blurred |= processes.iter().any(|it| {
            let is_away = it.frozen_until_ns.max(it.cut_until_ns) > now_ns;
            let is_fresh = it.last_written_ns().is_some_and(|at_ns| now_ns < at_ns + 3 * SECOND);
            (!it.runs() || is_away) && is_fresh
        });
        // Who could tell Redis again is away.
        let is_well = |it: &Process| {
            let fresh = it.last_written_ns().is_some_and(|at_ns| now_ns < at_ns + 1500 * MS);
            it.life == Life::Runs && fresh
        };
        self.is_blurred |= !processes.iter().any(is_well);
    }

    /// Notes that a process is gone, for a while or for good, perhaps before it could write again
    /// what Redis has lost.
    pub(super) fn note_absence(&mut self, process: &Process, now_ns: u64) {
        let written_ns = process.last_written_ns().unwrap_or_default();
        let is_near = |lost_ns: &u64| now_ns < lost_ns + 4 * SECOND || written_ns <= *lost_ns;
        self.is_blurred |= self.lost_ns.iter().any(is_near);
    }

    /// Checks an answer that was given now.
    pub(super) fn check(
        &mut self,
        processes: &mut [Process],
        who: usize,
        (asked_ns, now_ns): (u64, u64),
        answers: &Answers,
    ) {
        let totals = answers.totals();
        let [accepted, stored, coalesced, dropped, pending, lost] =
            ["accepted", "stored", "coalesced", "dropped", "pending", "lost"]
                .map(|name| totals.get(name));
        let context = || format!("{who} asked at {asked_ns}, at {now_ns}: {answers:#?}");
        self.lost = self.lost.max(lost);
        assert_eq!(accepted, stored + coalesced + dropped + pending + lost, "{}", context());
        let all: u64 = processes.iter().map(|it| it.accepted_at(now_ns)).sum();
        assert!(accepted <= all, "{accepted} of {all}: counted twice, {}", context());
        let asker = &mut processes[who];
        if self.lost_ns.is_empty() && asker.told.0 <= asked_ns {
            let told = asker.told.1;
            assert!(accepted >= told, "{accepted} after {told} by the same, {}", context());
        }
        if accepted >= asker.told.1 {
            asker.told = (now_ns, accepted);
        }
        if !answers.complete {
            self.incomplete += 1;
            return;
        }
        self.complete += 1;
        assert_eq!(answers.missing().count(), 0);
        for process in processes.iter() {
            let report = answers.members.iter().find(|it| it.instance == process.name);
            let answer = report.and_then(|it| it.answer.as_deref());
            let text = answer.map(|answer| str::from_utf8(&answer[1..]).unwrap());
            let told = text.map(|text| text.parse::<u64>().unwrap());
            let due = process.accepted_at(asked_ns);
            assert!(
                told.is_none_or(|told| told >= due),
                "{due} of {}, {}",
                process.name,
                context()
            );
        }
        if self.is_blurred {
            return;
        }
        let after = self.told.partition_point(|(given_ns, _)| *given_ns <= asked_ns);
        let before = after.checked_sub(1).map_or(0, |last| self.told[last].1);
        assert!(accepted >= before, "{accepted} after {before}, {}", context());
        let due: u64 = processes.iter().map(|it| self.due(it, asked_ns, now_ns)).sum();
        assert!(accepted >= due, "{accepted} of at least {due}, {}", context());
        let most = self.told.last().map_or(0, |last| last.1).max(accepted);
        self.told.push((now_ns, most));
    }

    /// Returns the events of a process that a complete answer has.
    fn due(&self, process: &Process, asked_ns: u64, now_ns: u64) -> u64 {
        let written = process.written_at(asked_ns);
        let was_known = process.first_written_ns().is_some_and(|at_ns| at_ns <= asked_ns);
        let heard_ns = process.heard_ns(asked_ns);
        let lived = process.runs() || process.died_ns > asked_ns;
        let is_missed = now_ns < heard_ns + self.missed_ns;
        if was_known && lived && is_missed { process.accepted_at(asked_ns) } else { written }
    }

    /// Checks the answers at the end, when all is well again and nobody accepts events.
    pub(super) fn check_end(&self, processes: &[Process], now_ns: u64, answers: &Answers) {
        let is_killed = |name: &str| {
            let process = processes.iter().find(|it| it.name == name).unwrap();
            process.life == Life::Killed || self.is_blurred && !process.runs()
        };
        let context = || format!("at {now_ns}: {answers:#?}");
        assert!(answers.missing().all(is_killed), "{}", context());
        let is_whole = answers.missing().count() == 0;
        assert_eq!(answers.complete, is_whole, "{}", context());
        for process in processes.iter().filter(|it| it.runs()) {
            let report = answers.members.iter().find(|it| it.instance == process.name);
            assert!(report.is_some_and(|it| it.answer.is_some()), "{}", context());
        }
        let counted = |process: &Process| {
            if process.runs() { process.accepted_at(now_ns) } else { process.written_at(now_ns) }
        };
        let due: u64 = processes.iter().map(counted).sum();
        let accepted = answers.totals().get("accepted");
        assert!(accepted == due || self.is_blurred && accepted <= due, "{due}, {}", context());
    }
}
