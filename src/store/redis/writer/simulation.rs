//! The writer against a server that is delayed, cut, frozen, full and restarted at random.
//!
//! All of it is one thread with a clock of its own, so a seed reproduces a run:
//! `COREPULSE_SEED=17 cargo test simulation`. Held at every step: the books balance, by the ledger
//! and by a walk over all blocks, and the queue is inside its bound. Held at the end: every event
//! has an outcome, and no key has a value older than the newest that was confirmed. No write ever
//! replaces a newer value.

use percore::clock::Now;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use fastrand::Rng;

use super::super::Observer;
use super::*;
use crate::limits::STORE_BLOCKS_IN_FLIGHT;
use crate::metric::event::Event;
use crate::store::encoding::Encoding;
use crate::store::key::{KEY_PREFIX, KeyHasher};

mod server;

use server::{SimDialer, World};

const SEEDS: u64 = 10_000;
const CORES: usize = 2;
/// No command of these events is longer.
const RECORD_BYTES: usize = 256;

const TTL_S: u32 = 300;
const TTL_NS: u64 = TTL_S as u64 * 1_000_000_000;

struct Nobody;

impl Observer for Nobody {}

fn event<'a>(device: &'a str, timestamp: &'a str, value: &'a str) -> Event<'a> {
    Event {
        device_id: Some(device.as_bytes()),
        timestamp: timestamp.as_bytes(),
        timestamp_ms: 0,
        values: [1.0, 1.0],
        literals: [value.as_bytes(), b"1"],
    }
}

/// One run.
struct Run {
    random: Rng,
    world: Rc<RefCell<World>>,
    shared: Arc<Shared>,
    writer: Writer<SimDialer>,
    written: u64,
    /// Few keys coalesce, many fill blocks.
    keys: u64,
    rejects: bool,
}

impl Run {
    fn new(seed: u64) -> Self {
        let hasher = KeyHasher::default();
        let encoding = Encoding::RedisSet { ttl_s: TTL_S, prefix: KEY_PREFIX };
        let block = move || Block::new(encoding, hasher.clone());
        let blocks = CORES + STORE_BLOCKS_IN_FLIGHT + 1;
        let mut random = Rng::with_seed(seed);
        let keys = [3, 40, 100_000][random.usize(..3)];
        let rejects = random.bool();
        let shared = Shared::new(CORES, 0, rejects, block, Box::new(Nobody));
        let shared = Arc::new(shared);
        assert_eq!(shared.queue.capacity_bytes(), blocks * Block::cost_bytes(shared.encoding));
        let world = Rc::new(RefCell::new(World::new(seed)));
        let dialer = SimDialer(Rc::clone(&world));
        let writer = Writer::new(Arc::clone(&shared), dialer, TTL_NS, seed);
        Self { random, world, shared, writer, written: 0, keys, rejects }
    }

    fn now_ns(&self) -> u64 {
        self.world.borrow().now_ns
    }

    /// A core takes some events and ends its turn. Each key is one core's, with rising values.
    fn write(&mut self) {
        let core = self.random.usize(..CORES);
        let now = Now { mono_ns: self.now_ns(), wall_us: 0 };
        let few = if self.random.u8(..8) == 0 { 700 } else { 5 };
        let events = self.random.usize(1..=few);
        let mut open = self.shared.open.at(core).lock();
        if !self.shared.reserve(&mut open, || events * RECORD_BYTES) {
            return;
        }
        for _ in 0..events {
            self.written += 1;
            let timestamp = (self.random.u64(..self.keys) * CORES as u64 + core as u64).to_string();
            let value = self.written.to_string();
            let device = ["d", "a-device-with-a-longer-name"][self.random.usize(..2)];
            let event = event(device, &timestamp, &value);
            self.world.borrow_mut().entered_ns.insert(self.written, now.mono_ns);
            open.block.append(&event, now);
            self.shared.counters.add_accepted(core, 1);
            if open.block.is_full() {
                self.shared.hand_over(core, &mut open, now.mono_ns);
            }
        }
        self.shared.queue.release(&mut open.reserve);
        drop(open);
        if self.rejects {
            // Another core's large request has all the blocks for a moment.
            let mut reserved = Vec::new();
            let other = self.random.usize(..STORE_BLOCKS_IN_FLIGHT + 2);
            self.shared.queue.reserve(other, &mut reserved);
            self.shared.end_turn(core);
            self.shared.queue.release(&mut reserved);
        } else {
            self.shared.end_turn(core);
        }
    }

    /// The writer does one thing, and the world goes on until it wants the next.
    fn step(&mut self) -> Wish {
        let now_ns = self.now_ns();
        let wish = self.writer.step(now_ns);
        if let Wish::Work { .. } = wish
            && let Some(block) = self.shared.queue.receiver().try_recv().ok()
        {
            self.writer.take(block);
        }
        let totals = self.shared.counters.totals();
        assert_eq!(totals.pending(), self.shared.walk_pending(), "{totals:?}");
        assert!(self.shared.queue.bytes_in_use() <= self.shared.queue.capacity_bytes());
        wish
    }

    fn pass_time(&mut self, until_ns: u64) {
        let mut world = self.world.borrow_mut();
        world.now_ns = world.now_ns.max(until_ns);
    }

    fn go(mut self) {
        for _ in 0..self.random.usize(10..60) {
            match self.random.u8(..10) {
                0..=3 => self.write(),
                4 => self.world.borrow_mut().hurt(),
                _ => match self.step() {
                    Wish::Sleep { until_ns } | Wish::Work { until_ns } if self.random.bool() => {
                        self.pass_time(until_ns);
                    }
                    _ => {}
                },
            }
        }
        // Half of the runs end while things are still going wrong, and perhaps too soon.
        if self.random.bool() {
            self.world.borrow_mut().heal();
        }
        let left_ns = self.random.u64(1..30_000_000_000);
        self.writer.stop(self.now_ns() + left_ns);
        loop {
            match self.step() {
                Wish::End => break,
                Wish::Step => {}
                Wish::Sleep { until_ns } | Wish::Work { until_ns } => self.pass_time(until_ns),
            }
        }
        let totals = self.shared.counters.totals();
        assert_eq!((totals.accepted, totals.pending()), (self.written, 0), "{totals:?}");
        if self.rejects {
            assert_eq!(totals.dropped_by(DropReason::Overflow), 0, "{totals:?}");
        }
        self.world.borrow_mut().check_end();
    }
}

/// What went wrong, and how often, over many runs: a simulation of nothing would pass as well.
#[test]
fn the_books_balance_whatever_the_server_does() {
    let asked = std::env::var("COREPULSE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = asked.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let mut seen: HashMap<&'static str, u64> = HashMap::new();
    for seed in seeds {
        let run = Run::new(seed);
        let (shared, world) = (Arc::clone(&run.shared), Rc::clone(&run.world));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.go()));
        if let Err(panic) = outcome {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
        let totals = shared.counters.totals();
        let dropped = |reason| totals.dropped_by(reason);
        for (name, count) in [
            ("stored", totals.stored),
            ("coalesced", totals.coalesced),
            ("overflow", dropped(DropReason::Overflow)),
            ("expired", dropped(DropReason::Expired)),
            ("refused", dropped(DropReason::Refused)),
            ("shutdown", dropped(DropReason::Shutdown)),
            ("stale", world.borrow().stale),
            ("reconnects", shared.reconnects.load(Ordering::Relaxed)),
        ] {
            *seen.entry(name).or_default() += count;
        }
    }
    if asked.is_none() {
        assert!(seen.values().all(|count| *count > 0), "{seen:?}");
    }
}

/// A run in which nothing goes wrong.
fn calm() -> Run {
    let mut run = Run::new(1);
    (run.keys, run.rejects) = (100_000, false);
    run.world.borrow_mut().heal();
    run
}

#[test]
fn a_core_with_little_to_say_is_heard_beside_one_that_says_much() {
    let mut run = calm();
    let append = |run: &mut Run, core: usize, key: &str| {
        run.written += 1;
        let value = run.written.to_string();
        let now = Now { mono_ns: run.now_ns(), wall_us: 0 };
        run.world.borrow_mut().entered_ns.insert(run.written, now.mono_ns);
        let mut open = run.shared.open.at(core).lock();
        open.block.append(&event("d", key, &value), now);
        run.shared.counters.add_accepted(core, 1);
        if open.block.is_full() {
            run.shared.hand_over(core, &mut open, now.mono_ns);
        }
    };
    let start_ns = run.now_ns();
    append(&mut run, 1, "quiet");
    let mut key = 0;
    while run.world.borrow().value("metric:d:quiet").is_none() {
        // There is always more in the queue than the writer takes at once.
        for _ in 0..400 {
            key += 1;
            append(&mut run, 0, &key.to_string());
        }
        run.step();
        assert!(run.now_ns() - start_ns < 3 * COLLECT_NS, "it waits");
    }
}

#[test]
fn a_server_that_is_slow_with_each_reply_does_not_keep_us_from_stopping() {
    let mut run = calm();
    run.world.borrow_mut().reply_ns = 300 * MILLISECOND_NS;
    while run.written < 100 {
        run.write();
    }
    // Under way when the order to stop comes.
    while run.shared.counters.totals().stored == 0 {
        run.step();
    }
    let deadline_ns = run.now_ns() + 3_000 * MILLISECOND_NS;
    run.shared.set_stopping();
    run.writer.stop(deadline_ns);
    while run.step() != Wish::End {}
    assert!(run.now_ns() <= deadline_ns + 300 * MILLISECOND_NS);
    let totals = run.shared.counters.totals();
    assert!(totals.stored >= 10 && totals.dropped_by(DropReason::Shutdown) > 0, "{totals:?}");
    assert_eq!(totals.pending(), 0);
}

/// Neither a greeting nor what was never sent is a reply.
#[test]
fn redis_is_up_when_it_has_answered() {
    for waits_ns in [0, TTL_NS + 2_000 * MILLISECOND_NS] {
        let mut run = calm();
        while run.written < 10 {
            run.write();
        }
        // All of it may have expired before there is a connection.
        run.world.borrow_mut().now_ns += waits_ns;
        while !run.shared.up.load(Ordering::Relaxed) {
            match run.step() {
                Wish::Sleep { until_ns } | Wish::Work { until_ns } => run.pass_time(until_ns),
                _ => {}
            }
        }
        assert!(run.world.borrow().replies > 0, "up after {waits_ns} ns without a reply");
    }
}
