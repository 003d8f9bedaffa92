//! The time of a run, and a trace of it: `COREPULSE_SEED=17 COREPULSE_TRACE=d1` prints what becomes
//! of the device `d1`, and an empty name prints all.

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;

use super::super::envelope::Envelope;
use super::super::note::Letter;
use crate::analytics::lineage::Fork;
use crate::store::redis::command::Command;

thread_local! {
    static NOW_NS: Cell<u64> = const { Cell::new(0) };
    static NAMES: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Returns the device that is traced, if one is.
fn traced() -> Option<&'static str> {
    static TRACED: OnceLock<Option<String>> = OnceLock::new();
    TRACED.get_or_init(|| std::env::var("COREPULSE_TRACE").ok()).as_deref()
}

/// Returns the time.
pub(super) fn now_ns() -> u64 {
    NOW_NS.get()
}

/// Notes the time.
pub(super) fn at(now_ns: u64) {
    NOW_NS.set(now_ns);
}

/// Gives the next process its number.
pub(super) fn begin(me: u64) {
    NAMES.with_borrow_mut(|names| names.push(me));
}

/// Returns the number of a process, or that of one and of a branch that it began.
pub(super) fn name(of: u64) -> String {
    NAMES.with_borrow(|names| {
        let at = names.iter().rposition(|me| of.wrapping_sub(*me) < 1 << 32);
        match at.map(|at| (at, of.wrapping_sub(names[at]))) {
            Some((at, 0)) => format!("p{at}"),
            Some((at, branch)) => format!("p{at}/{branch}"),
            None => format!("{of}"),
        }
    })
}

/// Returns forks as a trace shows them.
pub(super) fn forks(forks: &[Fork]) -> String {
    let fork = |fork: &Fork| format!("{}@{}", name(fork.branch), fork.accepted);
    forks.iter().map(fork).collect::<Vec<_>>().join(",")
}

/// Prints a line about a device, or about all.
pub(super) fn tell(id: Option<&[u8]>, line: impl FnOnce() -> String) {
    let is_told = |traced: &str| traced.is_empty() || id.is_none_or(|id| id == traced.as_bytes());
    if traced().is_some_and(is_told) {
        let id = id.map(String::from_utf8_lossy).unwrap_or_default();
        println!("{:>10} {id} {}", NOW_NS.get() / 1000, line());
    }
}

/// Prints what a process sends.
pub(super) fn tell_command(me: u64, command: &Command) {
    if traced().is_none() {
        return;
    }
    let words = command.words();
    let key = String::from_utf8_lossy(words[1]).into_owned();
    let id = key.split(['{', '}']).nth(1).unwrap_or_default().as_bytes();
    match words[0] {
        b"RPUSH" => {
            let to = key.rsplit(':').next().and_then(|it| u64::from_str_radix(it, 16).ok());
            let to = name(to.unwrap_or_default());
            for note in Letter::decode(words[2]).into_iter().flat_map(|letter| letter.notes) {
                tell(Some(&note.id), || format!("{} to {to}: {:?}", name(me), note.said));
            }
        }
        b"SET" if key.contains(":w:") => {
            let Some(Envelope { events, to, is_partial, .. }) = Envelope::decode(words[2]) else {
                return;
            };
            let to = to.map(|to| format!("{}.{}", name(to.by.0), to.ticket));
            tell(Some(id), || {
                format!("{} writes {events} for {to:?}, partial {is_partial}", name(me))
            });
        }
        b"SET" => tell(Some(id), || {
            let claim = String::from_utf8_lossy(words[2]).into_owned();
            format!("{} claims {claim}", name(me))
        }),
        b"GET" | b"MGET" => tell(Some(id), || {
            let word = |word: &&[u8]| {
                let word = String::from_utf8_lossy(word).into_owned();
                let of = word.rsplit(':').next().and_then(|it| u64::from_str_radix(it, 16).ok());
                name(of.unwrap_or_default())
            };
            let of: Vec<_> = words.iter().skip(1).map(word).collect();
            format!("{} reads {}", name(me), of.join(" "))
        }),
        _ => {}
    }
}
