//! Members against a Redis, links and each other that fail at random.
//!
//! All of it is one thread with a clock of its own, so a seed reproduces a run: `COREPULSE_SEED=17
//! cargo test fleet::member::simulation`. The members are the real ones; the [`server`], the links
//! and the [`process`]es around them are models. The [`ledger`] knows which events each process has
//! accepted, and checks each answer: nothing is counted twice, a complete answer has all that was
//! accepted before its question, and none has less than a complete one before.

use std::collections::BTreeMap;
use std::sync::Mutex;

use fastrand::Rng;

use super::*;
use crate::fleet::answers::Answers;
use crate::fleet::event_queue::EventQueue;
use crate::fleet::rounds::Question;
use crate::limits::{FLEET_ANSWER_MS, FLEET_FORMER_MAX, STORE_CONNECT_MS_MAX, STORE_REPLY_MS_MAX};
use crate::store::redis::error::RedisResult;

mod ledger;
mod nonsense;
mod process;
mod server;

use ledger::Ledger;
use process::{Life, MS, Process, SECOND};
use server::SimRedis;

const SEEDS: u64 = 2_000;

/// The tests that share the seeds, as each has a thread.
const SHARES: u64 = 2;

/// Faults begin and end within this time.
const FAULTS_NS: std::ops::Range<u64> = 3 * SECOND..9 * SECOND;

/// The time within which all is well again.
const RECOVERY_NS: u64 = 6 * SECOND;

/// The most that may wait in a member.
const OUTBOX_MAX: usize = 400;
const ROUNDS_MAX: usize = 30;

type Result<T> = RedisResult<T>;

enum Event {
    Wake {
        of: usize,
        wake: u64,
    },
    Send {
        of: usize,
        batch: Batch,
    },
    /// A batch comes to Redis. It may be cut off after some commands, and the reply be lost.
    Arrive {
        of: usize,
        batch: u64,
        opened: u64,
        commands: Vec<Command>,
        fate: Fate,
    },
    End {
        of: usize,
        batch: u64,
        result: Result<Vec<Reply>>,
    },
    /// The wait for a message comes to Redis.
    Poll {
        of: usize,
        connection: u64,
    },
    Mail {
        of: usize,
        connection: u64,
        message: Vec<u8>,
    },
    Serve {
        of: usize,
    },
    Ask,
    Fault,
}

/// The fate of a batch.
#[derive(Clone, Copy)]
enum Fate {
    Done,
    /// The connection breaks after so many commands.
    Breaks(usize),
    /// The reply does not come.
    Silence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Freeze,
    Down,
    Empty,
    FailOver,
    Refuse,
    Kill,
    Stop,
    Start,
    FreezeProcess,
    FreezeAtSend,
    Cut,
    Flaky,
    Slow,
    StepClock,
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Down => "down",
            Self::Empty => "empty",
            Self::FailOver => "fail over",
            Self::Refuse => "refuse",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::FreezeProcess => "freeze a process",
            Self::FreezeAtSend => "freeze at send",
            Self::Cut => "cut",
            Self::Flaky => "flaky",
            Self::Slow => "slow",
            Self::StepClock => "step the clock",
        }
    }
}

const FAULTS: [Fault; 14] = [
    Fault::Freeze,
    Fault::Down,
    Fault::Empty,
    Fault::FailOver,
    Fault::Refuse,
    Fault::Kill,
    Fault::Stop,
    Fault::Start,
    Fault::FreezeProcess,
    Fault::FreezeAtSend,
    Fault::Cut,
    Fault::Flaky,
    Fault::Slow,
    Fault::StepClock,
];

type Given = Arc<Mutex<Vec<(usize, Option<Arc<Answers>>)>>>;

/// A question: who was asked when, and whether it was answered.
struct Asked {
    who: usize,
    at_ns: u64,
    is_answered: bool,
}

/// One run, of one seed.
struct Simulation {
    random: Rng,
    now_ns: u64,
    events: EventQueue<Event>,
    redis: SimRedis,
    redis_frozen_until_ns: u64,
    redis_down_until_ns: u64,
    refuses_until_ns: u64,
    flaky_until_ns: u64,
    slow_until_ns: u64,
    slow_delay_ns: u64,
    /// The longest time that something is under way in one direction.
    delay_ns: u64,
    faults: Vec<Fault>,
    forget_us: i64,
    processes: Vec<Process>,
    asked: Vec<Asked>,
    given: Given,
    ledger: Ledger,
    is_ending: bool,
    /// True if nobody accepts events any more.
    is_quiet: bool,
    steps: u64,
    seen: BTreeMap<&'static str, u64>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let kinds = random.usize(..4);
        let faults = (0..kinds).map(|_| FAULTS[random.usize(..FAULTS.len())]).collect();
        // What is forgotten after an hour is forgotten within the run.
        let forget_us = if random.bool() { FORGET_US } else { random.i64(5_000_000..7_000_000) };
        let slowest_ms = [1, 1, 3, 8][random.usize(..4)];
        Self {
            now_ns: 0,
            events: EventQueue::default(),
            redis: SimRedis::new(1_750_000_000_000_000),
            redis_frozen_until_ns: 0,
            redis_down_until_ns: 0,
            refuses_until_ns: 0,
            flaky_until_ns: 0,
            slow_until_ns: 0,
            slow_delay_ns: 0,
            delay_ns: random.u64(MS / 10..slowest_ms * MS),
            faults,
            forget_us,
            processes: Vec::new(),
            asked: Vec::new(),
            given: Given::default(),
            ledger: Ledger::new(forget_us),
            is_ending: false,
            is_quiet: false,
            steps: 0,
            seen: BTreeMap::new(),
            random,
        }
    }

    fn at(&mut self, at_ns: u64, event: Event) {
        self.events.add(at_ns, event);
    }

    fn soon(&mut self, event: Event) {
        let at_ns = self.now_ns + self.delay_ns();
        self.at(at_ns, event);
    }

    /// Returns the time that something is under way.
    fn delay_ns(&mut self) -> u64 {
        let is_slow = self.now_ns < self.slow_until_ns;
        let most_ns = if is_slow { self.slow_delay_ns } else { self.delay_ns };
        self.random.u64(most_ns / 4..=most_ns)
    }

    fn start(&mut self) {
        let of = self.processes.len();
        let process = Process::new(of, self.forget_us, &mut self.random);
        self.processes.push(process);
        self.at(self.now_ns, Event::Wake { of, wake: 0 });
        self.soon(Event::Poll { of, connection: 0 });
        self.at(self.now_ns, Event::Serve { of });
    }

    fn run_until(&mut self, until_ns: u64) {
        while let Some((at_ns, event)) = self.events.next(until_ns) {
            self.now_ns = self.now_ns.max(at_ns);
            if let Some((thaws_ns, event)) = self.take(event) {
                self.at(thaws_ns, event);
            }
            self.check_given();
        }
        self.now_ns = until_ns;
    }

    /// Takes an event; returns it if it has to wait for a thaw.
    fn take(&mut self, event: Event) -> Option<(u64, Event)> {
        let (Event::Wake { of, .. }
        | Event::Send { of, .. }
        | Event::End { of, .. }
        | Event::Mail { of, .. }
        | Event::Serve { of }) = event
        else {
            return self.take_at_redis(event);
        };
        let process = &mut self.processes[of];
        if matches!(event, Event::Send { .. })
            && let Some(for_ns) = process.freezes_for_ns.take()
        {
            process.frozen_until_ns = self.now_ns + for_ns;
            self.ledger.note_absence(process, self.now_ns);
        }
        if !process.runs() {
            return None;
        }
        if self.now_ns < process.frozen_until_ns {
            return Some((process.frozen_until_ns, event));
        }
        match event {
            Event::Wake { wake, .. } if process.wake == wake => self.step(of),
            Event::Send { batch, .. } => self.send(of, batch),
            Event::End { batch, result, .. } => self.end(of, batch, result),
            Event::Mail { connection, message, .. } if process.mail_connection == connection => {
                let now = process.now(self.now_ns);
                process.member.as_mut().unwrap().on_mail(&message, now);
                self.soon(Event::Poll { of, connection });
                self.step(of);
            }
            Event::Serve { .. } => {
                process.serve(self.now_ns, &mut self.random);
                if !self.is_ending {
                    let pause_ns = self.random.u64(5 * MS..120 * MS);
                    self.at(self.now_ns + pause_ns, Event::Serve { of });
                }
            }
            _ => {}
        }
        None
    }

    fn take_at_redis(&mut self, event: Event) -> Option<(u64, Event)> {
        match event {
            Event::Ask => {
                self.ask_somebody();
                None
            }
            Event::Fault => {
                self.inject_fault();
                None
            }
            event if self.now_ns < self.redis_frozen_until_ns => {
                Some((self.redis_frozen_until_ns, event))
            }
            Event::Arrive { of, batch, opened, commands, fate } => {
                self.arrive(of, batch, opened, &commands, fate);
                None
            }
            Event::Poll { of, connection } => {
                self.poll(of, connection);
                None
            }
            _ => None,
        }
    }

    /// Lets a member do what is due.
    fn step(&mut self, of: usize) {
        self.steps += 1;
        let process = &mut self.processes[of];
        let now = process.now(self.now_ns);
        let member = process.member.as_mut().unwrap();
        let step = member.step(now);
        assert!(member.outbox.len() <= OUTBOX_MAX, "{} in the outbox", member.outbox.len());
        assert!(member.rounds.len() <= ROUNDS_MAX, "{} rounds", member.rounds.len());
        assert!(member.directory.entries.len() <= FLEET_FORMER_MAX + 30);
        process.note_name();
        process.wake += 1;
        let wake = process.wake;
        let wake_ns = match step {
            Step::Send { batch, wake_ns } => {
                let pause_ns = self.random.u64(..30_000);
                self.at(self.now_ns + pause_ns, Event::Send { of, batch });
                wake_ns
            }
            Step::Wait { wake_ns } => wake_ns,
            Step::End => return self.note_end(of),
        };
        let at_ns = self.processes[of].at(wake_ns).max(self.now_ns + 1000);
        if wake_ns < u64::MAX {
            self.at(at_ns, Event::Wake { of, wake });
        }
    }

    fn note_end(&mut self, of: usize) {
        let process = &mut self.processes[of];
        assert_eq!(process.life, Life::Stopping, "it ended by itself");
        let phase = process.member.take().unwrap().phase;
        let accepted = process.accepted_at(self.now_ns);
        let is_written = process.written_at(self.now_ns) == accepted;
        let was_known = process.first_written_ns().is_some();
        assert!(
            is_written || phase != Phase::Gone,
            "{} left without its last events",
            process.name
        );
        // It may have been in time, and not have heard of it.
        process.life = if is_written && was_known { Life::Left } else { Life::Killed };
        process.died_ns = self.now_ns;
        self.ledger.note_absence(process, self.now_ns);
        self.count(if is_written { "left" } else { "left too late" });
    }

    fn send(&mut self, of: usize, batch: Batch) {
        let Batch { commands, only_over } = batch;
        let process = &mut self.processes[of];
        process.batch += 1;
        process.sent_ns = Some(process.now(self.now_ns).mono_ns);
        let (batch, is_cut) = (process.batch, self.now_ns < process.cut_until_ns);
        let open = process.is_open.then_some(process.opened);
        let failed = |kind: ErrorKind| Err(RedisError::from(kind));
        let refused = if only_over.is_some() && only_over != open {
            Some((0, ErrorKind::Io))
        } else if open.is_some() {
            None
        } else if is_cut || self.now_ns + STORE_CONNECT_MS_MAX * MS < self.redis_frozen_until_ns {
            Some((STORE_CONNECT_MS_MAX * MS, ErrorKind::Connect))
        } else if self.now_ns < self.redis_down_until_ns {
            Some((MS, ErrorKind::Connect))
        } else {
            None
        };
        if let Some((after_ns, kind)) = refused {
            let end = Event::End { of, batch, result: failed(kind) };
            return self.at(self.now_ns + after_ns, end);
        }
        let mut sends_ns = self.now_ns;
        if open.is_none() {
            process.opened += 1;
            process.is_open = true;
            sends_ns = sends_ns.max(self.redis_frozen_until_ns) + 2 * self.delay_ns;
        }
        let opened = process.opened;
        let late = Event::End { of, batch, result: failed(ErrorKind::Timeout) };
        self.at(sends_ns + STORE_REPLY_MS_MAX * MS, late);
        if is_cut {
            return;
        }
        let is_flaky = self.now_ns < self.flaky_until_ns && self.random.u8(..4) == 0;
        let fate = match self.random.usize(..2) {
            _ if !is_flaky => Fate::Done,
            0 => Fate::Breaks(self.random.usize(..=commands.len())),
            _ => Fate::Silence,
        };
        let delay_ns = self.delay_ns();
        self.at(sends_ns + delay_ns, Event::Arrive { of, batch, opened, commands, fate });
    }

    fn arrive(&mut self, of: usize, batch: u64, opened: u64, commands: &[Command], fate: Fate) {
        let connection = ((of as u64) << 32) + opened;
        // Redis went away, and the connection with it; a process that is gone has sent it before.
        if self.processes[of].opened != opened || self.now_ns < self.redis_down_until_ns {
            return;
        }
        if self.now_ns >= self.refuses_until_ns {
            self.redis.refuses = None;
        }
        let mut replies = Vec::new();
        let most = if let Fate::Breaks(after) = fate { after } else { commands.len() };
        for command in commands.iter().take(most) {
            let reply = self.redis.run(connection, command, self.now_ns);
            if !matches!(reply, Reply::Error(_)) {
                let redis_us = self.redis.now_us(self.now_ns);
                self.processes[of].note_run(command, self.now_ns, redis_us);
            }
            replies.push(reply);
        }
        match fate {
            Fate::Done => self.soon(Event::End { of, batch, result: Ok(replies) }),
            Fate::Breaks(_) => {
                let result = Err(RedisError::from(ErrorKind::Io));
                self.soon(Event::End { of, batch, result });
            }
            Fate::Silence => {}
        }
        for of in 0..self.processes.len() {
            if self.processes[of].awaits_mail {
                self.deliver(of);
            }
        }
        if self.random.u8(..4) == 0 {
            self.redis.replicate();
        }
    }

    /// Takes the end of a batch, unless the member was told of another one.
    fn end(&mut self, of: usize, batch: u64, result: Result<Vec<Reply>>) {
        let process = &mut self.processes[of];
        let is_lost = result.is_ok() && self.now_ns < process.cut_until_ns;
        if process.batch != batch || is_lost {
            return;
        }
        let Some(sent_ns) = process.sent_ns.take() else {
            return;
        };
        if result.is_err() {
            process.is_open = false;
            self.redis.close(((of as u64) << 32) + process.opened);
        }
        let now = process.now(self.now_ns);
        let connection = process.is_open.then_some(process.opened);
        let exchange = Exchange { sent_ns, received_ns: now.mono_ns, connection, result };
        process.member.as_mut().unwrap().on_exchange(exchange, now);
        process.note_name();
        self.step(of);
    }

    fn poll(&mut self, of: usize, connection: u64) {
        let process = &mut self.processes[of];
        if process.mail_connection != connection {
            // An abandoned connection may still take a message, and lose it.
            if self.random.bool() {
                self.redis.pop(&process.mailbox, self.now_ns);
            }
            return;
        }
        if self.now_ns < self.redis_down_until_ns.max(process.cut_until_ns) {
            return self.reconnect_mail(of);
        }
        process.awaits_mail = true;
        self.deliver(of);
    }

    /// Hands over a message to who waits for it.
    fn deliver(&mut self, of: usize) {
        let process = &mut self.processes[of];
        let Some(message) = self.redis.pop(&process.mailbox, self.now_ns) else {
            return;
        };
        process.awaits_mail = false;
        let connection = process.mail_connection;
        let is_cut = self.now_ns < process.cut_until_ns;
        let is_flaky = self.now_ns < self.flaky_until_ns;
        if is_cut || is_flaky && self.random.u8(..4) == 0 {
            return self.reconnect_mail(of);
        }
        self.soon(Event::Mail { of, connection, message });
    }

    fn reconnect_mail(&mut self, of: usize) {
        let process = &mut self.processes[of];
        process.mail_connection += 1;
        process.awaits_mail = false;
        let connection = process.mail_connection;
        let again_ns = self.now_ns + self.random.u64(FLEET_PAUSE_MS..2 * FLEET_PAUSE_MS) * MS;
        self.at(again_ns, Event::Poll { of, connection });
    }

    fn ask_somebody(&mut self) {
        let who = self.random.usize(..self.processes.len());
        // Sometimes several at once.
        for _ in 0..[1, 1, 1, 5][self.random.usize(..4)] {
            self.ask(who);
        }
        if !self.is_ending {
            let pause_ns = self.random.u64(MS..500 * MS);
            self.at(self.now_ns + pause_ns, Event::Ask);
        }
    }

    fn ask(&mut self, who: usize) {
        let process = &mut self.processes[who];
        if !process.runs() || self.now_ns < process.frozen_until_ns {
            return;
        }
        let (number, given) = (self.asked.len(), Arc::clone(&self.given));
        self.asked.push(Asked { who, at_ns: self.now_ns, is_answered: false });
        let asker = move |answers| given.lock().unwrap().push((number, answers));
        let question = [b'a' + self.random.u8(..3)];
        let now = process.now(self.now_ns);
        process
            .member
            .as_mut()
            .unwrap()
            .ask(Question { text: question.to_vec(), asker: Box::new(asker) }, now);
        self.step(who);
    }

    /// Checks the answers that were given now.
    fn check_given(&mut self) {
        let given = mem::take(&mut *self.given.lock().unwrap());
        for (number, answers) in given {
            let asked = &mut self.asked[number];
            assert!(!asked.is_answered, "a second answer to the same question");
            asked.is_answered = true;
            let (who, at_ns) = (asked.who, asked.at_ns);
            let was_frozen = at_ns <= self.processes[who].frozen_until_ns;
            let took_ns = self.now_ns - at_ns;
            assert!(was_frozen || took_ns <= FLEET_ANSWER_MS * MS + 2000, "it took {took_ns} ns");
            let answers = answers.unwrap();
            self.ledger.check(&mut self.processes, who, (at_ns, self.now_ns), &answers);
            if self.is_quiet {
                self.ledger.check_end(&self.processes, self.now_ns, &answers);
            }
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Returns a process that runs.
    fn somebody(&mut self) -> Option<usize> {
        let of = self.random.usize(..self.processes.len());
        let is_there = self.processes[of].life == Life::Runs;
        is_there.then_some(of)
    }

    fn inject_fault(&mut self) {
        let until_ns = self.random.u64(self.now_ns..FAULTS_NS.end);
        let Some(&fault) = self.faults.get(self.random.usize(..self.faults.len().max(1))) else {
            return;
        };
        match fault {
            Fault::Freeze => self.redis_frozen_until_ns = until_ns,
            Fault::Down => self.break_connections(until_ns),
            Fault::Empty | Fault::FailOver => {
                self.ledger.note_loss(&self.processes, self.now_ns);
                if fault == Fault::Empty {
                    self.redis.empty();
                } else {
                    self.redis.fail_over();
                }
                // `FLUSHALL` breaks no connection.
                if fault == Fault::FailOver || self.random.bool() {
                    let away_ns = self.random.u64(..until_ns - self.now_ns + 1);
                    self.break_connections(self.now_ns + away_ns);
                }
                if self.random.u8(..4) == 0 {
                    self.start();
                }
            }
            Fault::Refuse => {
                let kinds = [ErrorKind::Oom, ErrorKind::NoPerm];
                self.redis.refuses = Some(kinds[self.random.usize(..2)]);
                self.refuses_until_ns = until_ns;
            }
            Fault::Start if self.processes.len() < 8 => self.start(),
            Fault::Flaky => self.flaky_until_ns = until_ns,
            Fault::Slow => {
                self.slow_until_ns = until_ns;
                self.slow_delay_ns = self.random.u64(20 * MS..250 * MS);
            }
            Fault::StepClock => self.redis.clock_us += self.random.i64(-3_000_000..3_000_000),
            _ => self.inject_fault_of_process(fault, until_ns),
        }
        self.count(fault.name());
    }

    fn inject_fault_of_process(&mut self, fault: Fault, until_ns: u64) {
        let Some(of) = self.somebody() else {
            return;
        };
        let process = &mut self.processes[of];
        match fault {
            Fault::Kill => {
                process.life = Life::Killed;
                process.died_ns = self.now_ns;
                process.member = None;
                self.ledger.note_absence(process, self.now_ns);
                for asked in self.asked.iter_mut().filter(|asked| asked.who == of) {
                    asked.is_answered = true;
                }
                if self.random.bool() {
                    self.start();
                }
            }
            Fault::Stop => {
                let frozen_ns = process.frozen_until_ns;
                if self.now_ns >= frozen_ns {
                    process.stop(self.now_ns, self.random.u64(1..5 * SECOND));
                    self.step(of);
                    if self.random.bool() {
                        self.start();
                    }
                }
            }
            Fault::FreezeProcess => {
                process.frozen_until_ns = until_ns;
                self.ledger.note_absence(process, self.now_ns);
            }
            Fault::FreezeAtSend => process.freezes_for_ns = Some(until_ns - self.now_ns),
            _ => {
                process.cut_until_ns = until_ns;
                self.ledger.note_absence(process, self.now_ns);
            }
        }
    }

    fn break_connections(&mut self, away_until_ns: u64) {
        self.redis_down_until_ns = away_until_ns;
        self.redis.forget_connections();
        for of in 0..self.processes.len() {
            let process = &mut self.processes[of];
            if process.is_open {
                process.is_open = false;
                // What is on its way to Redis does not arrive.
                process.opened += 1;
                let batch = process.batch;
                let result = Err(RedisError::from(ErrorKind::Io));
                self.soon(Event::End { of, batch, result });
            }
            self.reconnect_mail(of);
        }
    }

    /// Returns the last time at which an entry in the directory tells of a loss.
    fn told_us(&mut self) -> Option<i64> {
        let read = self.redis.run(u64::MAX, &Keys::new("f").read(), self.now_ns);
        Directory::read(&read)?.entries.values().map(|entry| entry.lost_us).max()
    }

    fn run(&mut self) {
        for _ in 0..self.random.usize(2..=4) {
            self.start();
        }
        let first_ns = self.random.u64(..SECOND);
        self.at(first_ns, Event::Ask);
        if !self.faults.is_empty() {
            for _ in 0..self.random.usize(1..6) {
                let at_ns = self.random.u64(FAULTS_NS.start..FAULTS_NS.end);
                self.at(at_ns, Event::Fault);
            }
        }
        self.run_until(FAULTS_NS.end);
        for process in &mut self.processes {
            process.freezes_for_ns = None;
        }
        self.run_until(FAULTS_NS.end + RECOVERY_NS);
        self.is_ending = true;
        // The last events, and the answers to questions before them.
        self.run_until(FAULTS_NS.end + RECOVERY_NS + FLEET_ANSWER_MS * MS);
        self.is_quiet = true;
        (0..self.processes.len()).for_each(|who| self.ask(who));
        self.run_until(self.now_ns + SECOND);
        for (number, asked) in self.asked.iter().enumerate() {
            assert!(asked.is_answered, "question {number} at {} has no answer", asked.at_ns);
        }
        let most = 10_000 * self.processes.len() as u64;
        assert!(self.steps < most, "{} steps", self.steps);
        assert!(self.redis.fields() <= FLEET_FORMER_MAX + 20);
        let (conflicts, folded) = (self.redis.conflicts, self.redis.folded);
        for (what, count) in [
            ("complete", self.ledger.complete),
            ("incomplete", self.ledger.incomplete),
            ("blurred", u64::from(self.ledger.is_blurred)),
            ("lost", self.ledger.lost),
            ("conflicts", conflicts),
            ("folded", folded),
        ] {
            *self.seen.entry(what).or_default() += count;
        }
    }
}

fn run_seeds(share: u64) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let asked = number("COREPULSE_SEED");
    let count = number("COREPULSE_SEEDS").unwrap_or(SEEDS);
    let seeds: Vec<u64> = match asked {
        Some(seed) => (seed..=seed).filter(|_| share == 0).collect(),
        None => (share..count).step_by(SHARES as usize).collect(),
    };
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds {
        let mut simulation = Simulation::new(seed);
        let run = std::panic::AssertUnwindSafe(|| simulation.run());
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("seed {seed}, {:?}", simulation.faults);
            std::panic::resume_unwind(panic);
        }
        simulation.seen.iter().for_each(|(what, count)| *seen.entry(what).or_default() += count);
    }
    eprintln!("{seen:?}");
    if asked.is_none() {
        let kinds = FAULTS.len() + 7;
        assert!(seen.len() >= kinds && seen.values().all(|count| *count > 0), "{seen:?}");
    }
}

/// Also checks that everything occurs: a simulation without faults would pass as well.
#[test]
fn totals_never_fall_whatever_happens() {
    run_seeds(0);
}

#[test]
fn totals_never_fall_whatever_happens_as_well() {
    run_seeds(1);
}

/// The one who writes first after a loss writes for the others as well, so that these find theirs
/// where they were: it tells them.
#[test]
fn a_loss_that_one_finds_is_told() {
    for seed in 0..20 {
        let mut simulation = Simulation::new(seed);
        simulation.faults.clear();
        (0..3).for_each(|_| simulation.start());
        simulation.run_until(5 * SECOND);
        assert_eq!(simulation.told_us(), Some(0), "seed {seed}");
        simulation.ledger.note_loss(&simulation.processes, simulation.now_ns);
        simulation.redis.empty();
        let lost_us = simulation.redis.now_us(simulation.now_ns);
        simulation.run_until(7 * SECOND);
        let told_us = simulation.told_us();
        assert!(told_us >= Some(lost_us), "seed {seed}: {told_us:?}, lost at {lost_us}");
    }
}
