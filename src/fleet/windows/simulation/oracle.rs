//! The oracle: what the guarantee promises of a run, for its faults.

use std::collections::{BTreeMap, BTreeSet};

use super::cells::{self, Verdict};
use super::{
    Device, FROZEN_MS_MAX, Fault, Life, MS, Process, SAVE_NS, SECOND, STORE_REPLY_MS_MAX,
    Simulation, WAIT_NS, WINDOW, WINDOW_WAIT_MS_MAX,
};

type Verdicts = BTreeMap<u32, Vec<Verdict>>;

/// Returns what is wrong with the order of a device's events, of which it is known who heard each
/// and when: those of one process are in order, and none waits for long.
fn check_order(
    all: &[u32],
    heard: &BTreeMap<u32, (usize, u64)>,
    longest_ns: u64,
) -> Option<String> {
    let mut last_of = BTreeMap::new();
    let mut newest_ns = 0;
    for event in all {
        let (of, at_ns) = heard.get(event)?;
        let last = last_of.insert(of, event);
        if last.is_some_and(|last| last > event) || at_ns + longest_ns < newest_ns {
            return Some(format!("{event} is out of order"));
        }
        newest_ns = newest_ns.max(*at_ns);
    }
    None
}

/// Returns the time for which an event waits at most: a moment, and as long again as the faults of
/// the run can hold a window up. In the end it is judged alone, unless its own process stands.
fn longest_wait_ns(faults: &[Fault]) -> u64 {
    // A batch that is under way is awaited before.
    let alone_ns = (WINDOW_WAIT_MS_MAX + STORE_REPLY_MS_MAX) * MS;
    let of = |fault: &Fault| match fault {
        Fault::Start | Fault::Rehash => 0,
        Fault::Break => SECOND / 2,
        Fault::Stop | Fault::FreezeShortly => SECOND,
        Fault::LoseMail | Fault::Slow => 3 * SECOND,
        _ => alone_ns,
    };
    let is_frozen = |fault: &&Fault| **fault == Fault::FreezeProcess;
    let frozen_ns = faults.iter().filter(is_frozen).count() as u64 * FROZEN_MS_MAX * MS;
    WAIT_NS + faults.iter().map(of).sum::<u64>().min(alone_ns) + frozen_ns
}

/// The events of a device's window, in order, as the one that has all of them knows it.
type Events = Vec<u32>;

/// Returns what is wrong with a run.
pub(super) fn check(simulation: &Simulation, faults: &[Fault]) -> Vec<String> {
    let mut wrong = simulation.wrong.clone();
    let is_exact = faults.iter().all(|fault| fault.is_exact());
    let longest_ns = longest_wait_ns(faults);
    let mut verdicts = Verdicts::new();
    for process in &simulation.processes {
        for verdict in &process.cells.borrow().verdicts {
            verdicts.entry(verdict.event).or_default().push(verdict.clone());
        }
    }
    for device in &simulation.devices {
        let mut found = Vec::new();
        let all = check_holders(simulation, device, &mut found);
        check_events(simulation, device, &all, &verdicts, longest_ns, &mut found);
        if is_exact {
            check_exactness(&all, &verdicts, &mut found);
            let heard = device.acknowledged.iter().map(|(event, of, at)| (*event, (*of, *at)));
            found.extend(check_order(&all, &heard.collect(), longest_ns));
        }
        let name = String::from_utf8_lossy(&device.id);
        wrong.extend(found.into_iter().map(|what| format!("{name}: {what}")));
    }
    wrong
}

/// Returns the events of a device, and appends what is wrong with those who hold it: one has all,
/// and others at most a part, in doubt.
fn check_holders(simulation: &Simulation, device: &Device, wrong: &mut Vec<String>) -> Events {
    let live = |it: &&Process| matches!(it.life, Life::Runs | Life::Leaves);
    let processes = simulation.processes.iter().filter(live);
    let holders: Vec<_> =
        processes.filter_map(|it| Some((it.me, it.cells.borrow().device(&device.id)?))).collect();
    if let Some((me, _)) = holders.iter().find(|(_, it)| it.events.is_none()) {
        wrong.push(format!("{me} still waits"));
    }
    // Who was out of touch may still have a part of what another one has, and be in doubt.
    let events = |it: &cells::Device| it.events.clone().unwrap_or_default();
    let all = holders.iter().map(|(_, it)| events(it)).max_by_key(Vec::len).unwrap_or_default();
    for (me, it) in &holders {
        let is_confirmed = it.is_confirmed;
        let others = events(it);
        if others != all && (is_confirmed || others.iter().any(|event| !all.contains(event))) {
            wrong.push(format!("there is another holder, {me}, confirmed: {is_confirmed}"));
        }
    }
    all
}

/// Appends what is wrong with a device's events: each is there and was judged, once and soon.
fn check_events(
    simulation: &Simulation,
    device: &Device,
    all: &[u32],
    verdicts: &Verdicts,
    longest_ns: u64,
    wrong: &mut Vec<String>,
) {
    let bereaving: Vec<_> = simulation.processes.iter().filter(|it| it.is_bereaving).collect();
    let save_ns = SAVE_NS + WINDOW_WAIT_MS_MAX * MS + 2 * SECOND;
    let set: BTreeSet<u32> = all.iter().copied().collect();
    if set.len() != all.len() {
        wrong.push("there are events twice".to_owned());
    }
    for (event, of, at_ns) in &device.acknowledged {
        let was_lost_by = |it: &&Process| {
            let is_unsaved = *at_ns + save_ns >= it.died_ns;
            let mut lost = simulation.memory_lost_ns.iter();
            *at_ns <= it.died_ns && (is_unsaved || lost.any(|ns| ns + save_ns >= it.died_ns))
        };
        let may_be_lost =
            simulation.lost_with_memory.contains(event) || bereaving.iter().any(was_lost_by);
        if !set.contains(event) && !may_be_lost && !all.is_empty() {
            wrong.push(format!("{event} is lost, heard by p{of} at {} ms", at_ns / MS));
        }
        let judged = verdicts.get(event).map_or(&[][..], Vec::as_slice);
        if judged.len() > 1 {
            wrong.push(format!("{event} was judged {} times", judged.len()));
        }
        if judged.is_empty() && set.contains(event) {
            wrong.push(format!("{event} was not judged"));
        }
        let waited_ns = judged.first().map_or(0, |verdict| verdict.at_ns - at_ns);
        if waited_ns > longest_ns {
            wrong.push(format!("{event} waited for {} ms", waited_ns / MS));
        }
    }
}

/// Appends what is wrong with verdicts of a run whose faults have no exception in the guarantee.
fn check_exactness(all: &[u32], verdicts: &Verdicts, wrong: &mut Vec<String>) {
    for (at, event) in all.iter().enumerate() {
        let before = &all[at.saturating_sub(WINDOW)..at];
        if let Some([verdict]) = verdicts.get(event).map(Vec::as_slice) {
            let judged = &verdict.before;
            if verdict.in_doubt {
                wrong.push(format!("{event} was judged in doubt"));
            } else if judged != before {
                wrong.push(format!("{event} was judged against {judged:?}, not {before:?}"));
            }
        }
    }
}
