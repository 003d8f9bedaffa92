//! A fleet: replicas that answer for each other, through the Redis that they share.
//!
//! ```text
//! core ─ question ─▶ fleet ─ batches ─▶ fleet-link ─▶ Redis: directory, mailboxes
//!                      ▲ ─ answers ─▶ jobs               │
//!                      └───────── fleet-mail ◀───────────┘
//! ```
//!
//! There is no leader, no port and no address of a replica. Each writes an entry of its own into
//! the [`directory`] once a second, which is its lease, and takes messages from a mailbox of its
//! own. Who asks the fleet puts the question into the mailboxes of all who live, waits for their
//! answers for a quarter of a second, and says who is missing.
//!
//! The fleet does not know what questions and answers mean: a [`Responder`] answers them. A
//! [`member`] is pure; [`threads`] run it. [`fleet_clock`] orders what replicas did.

pub mod answers;
mod commands;
pub mod directory;
#[cfg(test)]
mod event_queue;
mod exchange;
mod fleet_clock;
mod identity;
pub mod json;
mod lease;
mod mail;
mod mailbox;
mod member;
mod reporter;
mod rounds;
pub mod status;
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "starts threads")]
mod threads;
pub mod windows;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender};

use crate::config::redis_url::RedisUrl;
use crate::limits::{FLEET_QUEUED_MAX, FLEET_TEXT_BYTES_MAX, STORE_REPLY_MS_MAX};
use crate::store::redis::discovery::Discovery;
use crate::store::redis::key_link::KeyLink;
use crate::store::redis::keys_link::KeysLink;
use answers::{Asker, Responder};
use identity::Profile;
use member::Member;
use percore::clock::{Clock, nanoseconds};
use rounds::Question;
use status::Status;
use threads::Threads;
use windows::analytics_cells::Instance;
use windows::figures::Figures;
use windows::thread::{WindowSettings, WindowThread};

/// Settings of a member.
#[derive(Debug)]
pub struct FleetSettings {
    /// The name of the fleet.
    pub name: String,
    /// The name of this instance.
    pub instance: String,
    /// The servers.
    pub url: RedisUrl,
    /// The settings that all members should have in common, by their flags.
    pub common: BTreeMap<String, String>,
    /// The time within which the events of a device are saved for the others.
    pub save_interval: Duration,
    /// A device that is silent for longer is forgotten.
    pub device_ttl: Duration,
}

/// The cores' end of a fleet.
pub struct FleetQueue {
    questions: Sender<Question>,
    status: Arc<Status>,
    figures: Arc<Figures>,
}

impl fmt::Debug for FleetQueue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("FleetQueue").finish_non_exhaustive()
    }
}

impl FleetQueue {
    /// Asks all members. `asker` gets their answers, on the fleet's thread. Returns false if too
    /// many questions wait: then it gets none, at once.
    pub fn ask(&self, text: Vec<u8>, asker: Asker) -> bool {
        match self.questions.try_send(Question { text, asker }) {
            Ok(()) => true,
            Err(error) => {
                (error.into_inner().asker)(None);
                false
            }
        }
    }

    /// Returns the state of this member.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Returns the figures of the windows that move.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }
}

/// The fleet's end of the queue, until its threads are started.
pub struct FleetReceiver {
    questions: Receiver<Question>,
    status: Arc<Status>,
    figures: Arc<Figures>,
}

/// Creates both ends of the queue of questions to a fleet whose windows are to be saved within this
/// time.
pub fn fleet_queue(save_interval: Duration) -> (FleetQueue, FleetReceiver) {
    let (sender, questions) = channel::bounded(FLEET_QUEUED_MAX);
    let status = Arc::<Status>::default();
    let figures = Arc::new(Figures::new(nanoseconds(save_interval)));
    let (status_of, figures_of) = (Arc::clone(&status), Arc::clone(&figures));
    let queue = FleetQueue { questions: sender, status: status_of, figures: figures_of };
    (queue, FleetReceiver { questions, status, figures })
}

/// The time that a member has for its last entry.
const LAST_ENTRY: Duration = Duration::from_millis(500);

/// The running member.
#[derive(Debug)]
pub struct Fleet {
    threads: Threads,
    windows: WindowThread,
    clock: Clock,
}

impl Fleet {
    /// Starts the threads of this member, and waits until Redis was asked for the first time, at
    /// most for a second: the others are to know of it before its first event.
    ///
    /// # Errors
    ///
    /// The system grants no thread.
    pub fn start(
        settings: FleetSettings,
        receiver: FleetReceiver,
        responder: Box<dyn Responder>,
        windows: Arc<dyn Instance>,
        clock: Clock,
    ) -> io::Result<Self> {
        let FleetSettings { name, instance, url, common, save_interval, device_ttl } = settings;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let instance = shortened(instance);
        let profile = Profile { instance, version, settings: common };
        let discovery = Arc::<Discovery>::default();
        let link = || KeyLink::new(url.clone(), Arc::clone(&discovery), &name, clock);
        let links = [link(), link()];
        let FleetReceiver { questions, status, figures } = receiver;
        let status_of = Arc::clone(&status);
        let member = Member::new(&name, profile, responder, status, fastrand::u64(..));
        let settings = WindowSettings {
            me: member.mailbox(),
            save_interval_ns: nanoseconds(save_interval),
            device_ttl_ms: u64::try_from(device_ttl.as_millis()).unwrap_or(u64::MAX),
            fleet: name,
        };
        let link = KeysLink::new(url, discovery, clock);
        let (windows, letters) =
            WindowThread::start(settings, windows, link, (status_of, figures), clock)?;
        let (first, looked) = channel::bounded(1);
        let threads = Threads::start(member, links, questions, letters, clock, first)?;
        // Without Redis the server starts all the same.
        let _ = looked.recv_timeout(Duration::from_millis(STORE_REPLY_MS_MAX));
        Ok(Self { threads, windows, clock })
    }

    /// Returns true if the member runs, as it does until it is stopped.
    pub fn is_running(&self) -> bool {
        self.threads.is_running() && self.windows.is_running()
    }

    /// Lets the member hand over its windows and leave in order, for as long as `timeout`. Its
    /// counters must be final. Returns true if its threads ended in time and without a panic.
    pub fn stop(mut self, timeout: Duration) -> bool {
        let deadline_ns = self.clock.now().mono_ns.saturating_add(nanoseconds(timeout));
        // Who reads that it has left takes its windows from Redis.
        let windows = timeout.saturating_sub(LAST_ENTRY.min(timeout / 2));
        let windows_ns = self.clock.now().mono_ns.saturating_add(nanoseconds(windows));
        let has_handed_over = self.windows.stop(windows, windows_ns);
        let left_ns = deadline_ns.saturating_sub(self.clock.now().mono_ns);
        self.threads.stop(Duration::from_nanos(left_ns), deadline_ns) && has_handed_over
    }
}

/// Returns a name as others take it.
fn shortened(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(FLEET_TEXT_BYTES_MAX));
    name
}
