//! The writer against a server that is delayed, cut, frozen, full and restarted at random.
//!
//! All of it is one thread with a clock of its own, so a seed reproduces a run: `COREPULSE_SEED=17
//! cargo test simulation`. Checked at every step: the pending events of the counters are those of a
//! walk over all blocks, and the queue is inside its bound. Checked at the end: every event has an
//! outcome, and no key has a value older than the newest that was confirmed. No write ever replaces
//! a newer value. Some requests wait until their events are stored: each is answered once, by its
//! deadline, and what it is told to be stored was in the server then, or the server has lost it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::LazyLock;

use fastrand::Rng;

use super::super::observer::Observer;
use super::*;
use crate::limits::{FIELDS_MAX, STORE_BLOCKS_IN_FLIGHT};
use crate::metric::event::{Event, Literals};
use crate::metric::id_hash::IdHasher;
use crate::schema::{Schema, samples};
use crate::store::block_appender::BlockAppender;
use crate::store::confirmations::Confirmation;
use crate::store::encoding::Encoding;
use crate::store::key::KEY_PREFIX;
use percore::clock::Now;

mod server;
mod waiters;

use server::{SimConnector, SimServer, TTL_NS, TTL_S};
use waiters::Waiters;

const SEEDS: u64 = 10_000;
const CORES: usize = 2;
struct NoObserver;

impl Observer for NoObserver {}

/// Returns an event whose fields all have the value; the value decides which fields those are.
fn event<'a>(
    schema: &Schema,
    device: &'a str,
    timestamp: u64,
    values: &'a [&'a [u8]; FIELDS_MAX],
) -> Event<'a> {
    let number = values[0].iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Event {
        device_id: Some(device.as_bytes()),
        timestamp,
        present: samples::fields_of(schema, number),
        literals: Literals::Given(values),
        ..Event::default()
    }
}

/// One run, of one seed.
struct Simulation {
    schema: &'static Schema,
    random: Rng,
    ids: IdHasher,
    server: Rc<RefCell<SimServer>>,
    shared: Arc<SharedState>,
    writer: Writer<SimConnector>,
    written: u64,
    /// The number of keys: with few, events coalesce; with many, blocks become full.
    keys: u64,
    rejects: bool,
    waiters: Waiters,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        static SCHEMAS: LazyLock<[&Schema; 3]> = LazyLock::new(samples::all);
        // Seldom sixteen fields, whose records take longest.
        let schema = SCHEMAS[[0, 0, 1, 0, 1, 0, 0, 2][(seed % 8) as usize]];
        let encoding = Encoding::redis_set(schema, TTL_S, KEY_PREFIX);
        let block = move || Block::new(encoding);
        let blocks = CORES + STORE_BLOCKS_IN_FLIGHT + 1;
        let mut random = Rng::with_seed(seed);
        let keys = [3, 40, 100_000][random.usize(..3)];
        let rejects = random.bool();
        let shared = SharedState::new(CORES, 0, rejects, block, Box::new(NoObserver));
        let shared = Arc::new(shared);
        assert_eq!(shared.queue.capacity_bytes(), blocks * Block::cost_bytes(&shared.encoding));
        let server = Rc::new(RefCell::new(SimServer::new(seed, encoding)));
        let connector = SimConnector(Rc::clone(&server));
        let writer = Writer::new(Arc::clone(&shared), connector, None, TTL_NS, seed);
        Self {
            schema,
            random,
            ids: IdHasher::default(),
            server,
            shared,
            writer,
            written: 0,
            keys,
            rejects,
            waiters: Waiters::default(),
        }
    }

    fn now_ns(&self) -> u64 {
        self.server.borrow().now_ns
    }

    /// A core takes a request of some events, perhaps one that waits until they are stored, and
    /// ends its turn. Each key is one core's, with rising values.
    fn write(&mut self) {
        let core = self.random.usize(..CORES);
        let now = Now { mono_ns: self.now_ns(), wall_us: 0 };
        let few = if self.random.u8(..8) == 0 { 700 } else { 5 };
        let events = self.random.usize(1..=few);
        let waits = self.random.u8(..3) == 0;
        let waiter = waits.then(|| self.waiters.begin(core, &self.shared)).flatten();
        let mut open = self.shared.open.at(core).lock();
        let longest_device = "a-device-with-a-longer-name";
        let longest = u64::MAX.to_string();
        let values = [longest.as_bytes(); FIELDS_MAX];
        let longest = event(self.schema, longest_device, u64::MAX, &values);
        let record_bytes = self.shared.encoding.record_bytes(&longest);
        let is_taken = self.shared.reserve(&mut open, || events * record_bytes);
        let mut appender = BlockAppender::new(&self.shared, open, core, now);
        let mut appended = Vec::new();
        for _ in 0..if is_taken { events } else { 0 } {
            self.written += 1;
            let timestamp = self.random.u64(..self.keys) * CORES as u64 + core as u64;
            let value = self.written.to_string();
            let device = ["d", longest_device][self.random.usize(..2)];
            let values = [value.as_bytes(); FIELDS_MAX];
            let event = event(self.schema, device, timestamp, &values);
            self.server.borrow_mut().entered_ns.insert(self.written, now.mono_ns);
            appender.append(&event, self.ids.hash_of(&event));
            appended.push((format!("{KEY_PREFIX}{device}:{timestamp}"), self.written));
        }
        drop(appender);
        if let Some(waiter) = waiter {
            self.waiters.end(waiter, appended, now.mono_ns, &self.shared);
        }
        self.check_waiters();
        if !is_taken {
            return;
        }
        if self.rejects {
            // Another core's large request has all the blocks for a moment.
            let mut reserved = Vec::new();
            let other = self.random.usize(..STORE_BLOCKS_IN_FLIGHT + 2);
            self.shared.queue.reserve(other, &mut reserved);
            self.shared.end_turn(core);
            self.shared.queue.release_all(&mut reserved);
        } else {
            self.shared.end_turn(core);
        }
    }

    /// Checks the answers that were given, after the cores have looked for those that are due.
    fn check_waiters(&mut self) {
        let now_ns = self.now_ns();
        for core in 0..CORES {
            self.shared.confirmations.expire(core, now_ns);
        }
        self.waiters.check(now_ns, &self.server.borrow());
    }

    /// Lets the writer do one step.
    fn step(&mut self) -> NextStep {
        let now_ns = self.now_ns();
        let next = self.writer.step(now_ns);
        if let NextStep::AwaitBlock { .. } = next
            && let Some(block) = self.shared.queue.receiver().try_recv().ok()
        {
            self.writer.push(block);
        }
        let totals = self.shared.counters.totals();
        assert_eq!(totals.pending(), self.shared.walk_pending(), "{totals:?}");
        assert!(self.shared.queue.bytes_in_use() <= self.shared.queue.capacity_bytes());
        if totals.pending() == 0 && next != NextStep::End {
            assert_eq!(self.shared.confirmations.waiting(), 0, "nothing is left to wait for");
        }
        self.check_waiters();
        next
    }

    fn pass_time(&mut self, until_ns: u64) {
        let mut server = self.server.borrow_mut();
        server.now_ns = server.now_ns.max(until_ns);
    }

    fn run(mut self) {
        for _ in 0..self.random.usize(10..60) {
            match self.random.u8(..10) {
                0..=3 => self.write(),
                4 => self.server.borrow_mut().inject_fault(),
                _ => match self.step() {
                    NextStep::Sleep { until_ns } | NextStep::AwaitBlock { until_ns }
                        if self.random.bool() =>
                    {
                        self.pass_time(until_ns);
                    }
                    _ => {}
                },
            }
        }
        // Half of the runs end while things are still going wrong, and perhaps too soon.
        if self.random.bool() {
            self.server.borrow_mut().heal();
        }
        let left_ns = self.random.u64(1..30_000_000_000);
        self.writer.stop(self.now_ns() + left_ns);
        loop {
            match self.step() {
                NextStep::End => break,
                NextStep::AtOnce => {}
                NextStep::Sleep { until_ns } | NextStep::AwaitBlock { until_ns } => {
                    self.pass_time(until_ns);
                }
            }
        }
        let totals = self.shared.counters.totals();
        assert_eq!((totals.accepted, totals.pending()), (self.written, 0), "{totals:?}");
        if self.rejects {
            assert_eq!(totals.dropped_by(DropReason::Overflow), 0, "{totals:?}");
        }
        self.shared.confirmations.end_by(0);
        self.check_waiters();
        assert_eq!(self.shared.confirmations.waiting(), 0);
        self.server.borrow_mut().check_end();
    }
}

/// Also checks that every outcome occurs: a simulation without faults would pass as well.
#[test]
fn the_books_balance_whatever_the_server_does() {
    let asked = std::env::var("COREPULSE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = asked.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let mut seen: HashMap<&'static str, u64> = HashMap::new();
    for seed in seeds {
        let simulation = Simulation::new(seed);
        let (shared, server) = (Arc::clone(&simulation.shared), Rc::clone(&simulation.server));
        let told = simulation.waiters.told();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| simulation.run()));
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
            ("stale", server.borrow().stale),
            ("reconnects", shared.reconnects.load(Ordering::Relaxed)),
            ("waiters that were confirmed", shared.confirmations.totals().stored),
            ("waiters that were not", shared.confirmations.totals().unconfirmed),
        ] {
            *seen.entry(name).or_default() += count;
        }
        let told = told.lock();
        for (name, count) in [
            ("told to be stored", told.stored),
            ("told to be coalesced", told.coalesced),
            ("told to be dropped", told.dropped),
            ("told to be unknown", told.unknown),
        ] {
            *seen.entry(name).or_default() += count;
        }
    }
    if asked.is_none() {
        assert!(seen.values().all(|count| *count > 0), "{seen:?}");
    }
}

/// Creates a run without faults.
fn faultless() -> Simulation {
    let mut simulation = Simulation::new(1);
    (simulation.keys, simulation.rejects) = (100_000, false);
    simulation.server.borrow_mut().heal();
    simulation
}

#[test]
fn a_core_with_little_to_say_is_heard_beside_one_that_says_much() {
    let mut simulation = faultless();
    let append = |simulation: &mut Simulation, core: usize, key: u64| {
        simulation.written += 1;
        let value = simulation.written.to_string();
        let now = Now { mono_ns: simulation.now_ns(), wall_us: 0 };
        simulation.server.borrow_mut().entered_ns.insert(simulation.written, now.mono_ns);
        let values = [value.as_bytes(); FIELDS_MAX];
        let event = event(simulation.schema, "d", key, &values);
        let open = simulation.shared.open.at(core).lock();
        let mut appender = BlockAppender::new(&simulation.shared, open, core, now);
        appender.append(&event, simulation.ids.hash_of(&event));
    };
    let start_ns = simulation.now_ns();
    append(&mut simulation, 1, 0);
    let mut key = 0;
    while simulation.server.borrow().value("metric:d:0").is_none() {
        // There is always more in the queue than the writer takes at once.
        for _ in 0..400 {
            key += 1;
            append(&mut simulation, 0, key);
        }
        simulation.step();
        assert!(simulation.now_ns() - start_ns < 3 * COLLECT_NS, "it waits");
    }
}

/// A request that waits is answered soon, also by a core with few events beside one with many.
#[test]
fn who_waits_is_answered_while_redis_is_kept_busy() {
    let mut simulation = faultless();
    let mut key = 0;
    let mut append = |simulation: &mut Simulation, core: usize, events: u64| {
        let now = Now { mono_ns: simulation.now_ns(), wall_us: 0 };
        let waiter = (core == 1).then(|| simulation.waiters.begin(core, &simulation.shared));
        let open = simulation.shared.open.at(core).lock();
        let mut appender = BlockAppender::new(&simulation.shared, open, core, now);
        let mut appended = Vec::new();
        for _ in 0..events {
            (key, simulation.written) = (key + 1, simulation.written + 1);
            let value = simulation.written.to_string();
            simulation.server.borrow_mut().entered_ns.insert(simulation.written, now.mono_ns);
            let values = [value.as_bytes(); FIELDS_MAX];
            let event = event(simulation.schema, "d", key, &values);
            appender.append(&event, simulation.ids.hash_of(&event));
            appended.push((format!("{KEY_PREFIX}d:{key}"), simulation.written));
        }
        drop(appender);
        if let Some(Some(waiter)) = waiter {
            simulation.waiters.end(waiter, appended, now.mono_ns, &simulation.shared);
        }
    };
    let told = simulation.waiters.told();
    for _ in 0..20 {
        let (before, start_ns) = (told.lock().stored, simulation.now_ns());
        append(&mut simulation, 1, 3);
        while told.lock().stored == before {
            // As many as there are replies in a step.
            append(&mut simulation, 0, 60);
            simulation.step();
            let took_ns = simulation.now_ns() - start_ns;
            assert!(took_ns < 4 * AWAITED_COLLECT_NS, "{took_ns} ns");
        }
    }
    let all_stored = Confirmation { stored: 60, ..Confirmation::default() };
    assert_eq!(*told.lock(), all_stored);
}

#[test]
fn a_server_that_is_slow_with_each_reply_does_not_keep_us_from_stopping() {
    let mut simulation = faultless();
    simulation.server.borrow_mut().reply_ns = 300 * MILLISECOND_NS;
    while simulation.written < 100 {
        simulation.write();
    }
    // Under way when the order to stop comes.
    while simulation.shared.counters.totals().stored == 0 {
        simulation.step();
    }
    let deadline_ns = simulation.now_ns() + 3_000 * MILLISECOND_NS;
    simulation.shared.set_stopping();
    simulation.writer.stop(deadline_ns);
    while simulation.step() != NextStep::End {}
    assert!(simulation.now_ns() <= deadline_ns + 300 * MILLISECOND_NS);
    let totals = simulation.shared.counters.totals();
    assert!(totals.stored >= 10 && totals.dropped_by(DropReason::Shutdown) > 0, "{totals:?}");
    assert_eq!(totals.pending(), 0);
}

/// Redis is not up before its first reply: a handshake is none.
#[test]
fn redis_is_up_when_it_has_answered() {
    for waits_ns in [0, TTL_NS + 2_000 * MILLISECOND_NS] {
        let mut simulation = faultless();
        while simulation.written < 10 {
            simulation.write();
        }
        // All of it may have expired before there is a connection.
        simulation.server.borrow_mut().now_ns += waits_ns;
        while !simulation.shared.up.load(Ordering::Relaxed) {
            match simulation.step() {
                NextStep::Sleep { until_ns } | NextStep::AwaitBlock { until_ns } => {
                    simulation.pass_time(until_ns);
                }
                _ => {}
            }
        }
        assert!(simulation.server.borrow().replies > 0, "up after {waits_ns} ns without a reply");
    }
}
