//! The cases: what every thread of a server does again and again, each for itself.

use crate::offline::{START_MS, SharedState};
use crate::scenario::Scenario;
use crate::traffic::{SPAN_MS, Traffic};
use corepulse::schema::Schema;
use percore::admission::AdmissionControl;
use percore::balancer::Balancer;
use percore::sync::{CachePadded, Count, Mutex, PerCore};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Events under one lock, where a core takes a shard's for a run of them.
const RUN: u64 = 16;

/// The devices of all requests.
const DEVICES: u64 = 1000;

/// The events, and the requests at most, that a thread sends round and round.
const EVENTS: u64 = 64_000;
const REQUESTS_MAX: u64 = 1000;

/// The milliseconds whose keys a thread has for itself.
const MS_OF_EACH: u64 = SPAN_MS / 64;

/// The operations of a thread, and how many of them found something taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    pub(super) operations: u64,
    pub(super) failed: u64,
}

/// A thread's work: does something so often.
type Work = Box<dyn FnMut(u64) -> Result<Done, String>>;

/// Work of the thread with this number, out of so many.
type Prepared = Box<dyn Fn(usize) -> Work + Sync>;

/// A case.
pub(super) struct Case {
    pub name: &'static str,
    /// About how many times as long an operation takes as a counter's.
    pub cost: u64,
    pub prepare: fn(usize) -> Prepared,
}

pub(super) const CASES: [Case; 9] = [
    Case { name: "counter: one for all", cost: 1, prepare: counter_for_all },
    Case { name: "counter: one for each core", cost: 1, prepare: counter_for_each },
    Case { name: "seat: taken and given back", cost: 8, prepare: seat },
    Case { name: "lock: one for all, an event a hold", cost: 8, prepare: lock_for_all },
    Case { name: "lock: each core its own", cost: 8, prepare: lock_for_each },
    Case { name: "lock: any shard's, an event a hold", cost: 8, prepare: lock_for_event },
    Case { name: "lock: any shard's, a run a hold", cost: 8, prepare: lock_for_run },
    Case { name: "event of a batch, of any device", cost: 40, prepare: events },
    Case { name: "single POST, of any device", cost: 200, prepare: posts },
];

/// Work whose operations find nothing taken.
fn plain(mut operation: impl FnMut() + 'static) -> Work {
    Box::new(move |operations| {
        (0..operations).for_each(|_| operation());
        Ok(Done { operations, failed: 0 })
    })
}

fn counter_for_all(_: usize) -> Prepared {
    let counter = Arc::new(CachePadded::new(AtomicU64::new(0)));
    Box::new(move |_| {
        let counter = Arc::clone(&counter);
        plain(move || _ = counter.fetch_add(1, Ordering::Relaxed))
    })
}

fn counter_for_each(threads: usize) -> Prepared {
    let counters = Arc::new(PerCore::new(threads, |_| Count::default()));
    Box::new(move |thread| {
        let counters = Arc::clone(&counters);
        plain(move || counters.at(thread).add(1))
    })
}

/// A connection that opens and closes: the count of all, and the count of the core with the fewest.
fn seat(threads: usize) -> Prepared {
    let control = Arc::new(AdmissionControl::new(1_000_000));
    let balancer = Arc::new(Balancer::<mio::net::TcpStream>::new(threads));
    Box::new(move |thread| {
        let (control, balancer) = (Arc::clone(&control), Arc::clone(&balancer));
        plain(move || {
            let admission = control.admit();
            let core = balancer.claim_least_loaded(thread);
            balancer.remove_connection(core);
            control.leave(admission);
        })
    })
}

/// The state that an event changes under a shard's lock: some cache lines.
#[derive(Default)]
struct Device([u64; 24]);

impl Device {
    fn change(&mut self) {
        for word in &mut self.0 {
            *word = word.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
        }
    }
}

/// Work that for each event, or each run of them, locks one of so many shards, whichever `choose`
/// says.
fn locks(shards: usize, run: u64, choose: fn(usize, usize, u64) -> usize) -> Prepared {
    let shard = |_| CachePadded::new(Mutex::new(Device::default()));
    let shards: Arc<[_]> = (0..shards).map(shard).collect();
    Box::new(move |thread| {
        let shards = Arc::clone(&shards);
        let mut random = fastrand::Rng::with_seed(thread as u64);
        Box::new(move |events| {
            let (mut failed, holds) = (0, events.div_ceil(run));
            for _ in 0..holds {
                let at = choose(thread, shards.len(), random.u64(..));
                let Some(shard) = shards.get(at) else { continue };
                let mut held = shard.try_lock().unwrap_or_else(|| {
                    failed += 1;
                    shard.lock()
                });
                (0..run).for_each(|_| held.change());
            }
            Ok(Done { operations: holds * run, failed })
        })
    })
}

fn lock_for_all(_: usize) -> Prepared {
    locks(1, 1, |_, _, _| 0)
}

fn lock_for_each(threads: usize) -> Prepared {
    locks(threads, 1, |thread, _, _| thread)
}

/// As the analytics lock a shard for an event whose device is at home there.
fn lock_for_event(threads: usize) -> Prepared {
    locks(threads, 1, any)
}

/// As they could if the events of a batch were sorted by shard.
fn lock_for_run(threads: usize) -> Prepared {
    locks(threads, RUN, any)
}

fn any(_: usize, shards: usize, random: u64) -> usize {
    usize::try_from(random % shards as u64).unwrap_or(0)
}

fn events(threads: usize) -> Prepared {
    requests(Scenario::Ndjson, threads)
}

fn posts(threads: usize) -> Prepared {
    requests(Scenario::Device, threads)
}

/// Requests to servers of one core each that share all state, without a kernel: everything that
/// cores of a server share, in the code that serves. All have the same 1,000 devices.
fn requests(scenario: Scenario, threads: usize) -> Prepared {
    let shared = SharedState::new(Schema::standard(), threads);
    Box::new(move |thread| {
        let mut server = shared.core(thread);
        let mut traffic = Traffic::new(scenario, "a", START_MS);
        // From a second on that no other thread has, so that each writes keys of its own.
        let events = scenario.events_per_request() as u64;
        traffic.skip_to(thread as u64 * MS_OF_EACH * DEVICES / events);
        let mut turn = Vec::new();
        let turns: Vec<_> = (0..REQUESTS_MAX.min(EVENTS / events))
            .map(|_| {
                traffic.next_turn(&mut turn);
                turn.clone()
            })
            .collect();
        let mut turns = turns.into_iter().cycle();
        Box::new(move |operations| {
            let count = operations.div_ceil(events);
            for turn in turns.by_ref().take(count as usize) {
                let answer = server.turn(&turn);
                if !answer.starts_with(b"HTTP/1.1 202 ") {
                    return Err(String::from_utf8_lossy(answer).into_owned());
                }
            }
            Ok(Done { operations: count * events, failed: 0 })
        })
    })
}
