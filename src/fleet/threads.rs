//! The threads of a member: one that decides, one that exchanges batches with Redis, and one that
//! waits for messages. No core, no control thread and not the writer of metrics waits for them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender};
use crossbeam::select;

use super::exchange::{Batch, Exchange, Step, error_of};
use super::mailbox::Mailbox;
use super::member::Member;
use super::rounds::Question;
use super::windows::LETTER;
use crate::limits::{
    FLEET_MAIL_WAIT_SECONDS, FLEET_PAUSE_MS, FLEET_REPLY_BYTES_MAX, STORE_REPLY_MS_MAX,
};
use crate::store::redis::error::{ErrorKind, RedisError};
use crate::store::redis::key_link::KeyLink;
use crate::telemetry::log;
use percore::clock::Clock;

/// The time-out of the exchange of a batch.
const EXCHANGE: Duration = Duration::from_millis(STORE_REPLY_MS_MAX);

/// The time-out of the wait for a message: Redis answers after its own.
const MAIL: Duration = Duration::from_millis(FLEET_MAIL_WAIT_SECONDS * 1000 + STORE_REPLY_MS_MAX);

/// Messages and ends of batches that wait for the thread that decides.
const INPUTS_MAX: usize = 64;

/// News from Redis.
enum Input {
    End(Exchange),
    Mail(Vec<u8>),
    /// The refusal of a message, and the end of such refusals.
    Hearing(Result<(), RedisError>),
}

/// The running threads.
#[derive(Debug)]
pub(super) struct Threads {
    stop: Sender<u64>,
    ended: Receiver<()>,
    member: JoinHandle<()>,
}

impl Threads {
    /// Starts the threads. `links` are for batches and for messages, of which `letters` takes those
    /// about windows. Something is sent on `first` when the first census was tried.
    pub(super) fn start(
        member: Member,
        links: [KeyLink; 2],
        questions: Receiver<Question>,
        letters: Sender<Vec<u8>>,
        clock: Clock,
        first: Sender<()>,
    ) -> io::Result<Self> {
        let [link, mail_link] = links;
        let (stop, stopped) = channel::bounded(1);
        let (inputs, received) = channel::bounded(INPUTS_MAX);
        let (batches, to_send) = channel::bounded(1);
        let (ends, ended) = channel::bounded::<()>(0);
        let mailbox = member.own_mailbox();
        let to_member = inputs.clone();
        spawn("fleet-link", move || exchange_batches(link, &to_send, &to_member, clock))?;
        // It ends with its next message or time-out after the others, and nobody waits for that.
        let until = ended.clone();
        let sorting = Sorting { inputs, letters };
        spawn("fleet-mail", move || take_mail(mail_link, mailbox, &sorting, &until))?;
        let work = move || {
            let _ends: Sender<()> = ends;
            let waits = Waits { questions, received, stopped, batches };
            run(member, waits, clock, &first);
        };
        let member = spawn("fleet", work)?;
        Ok(Self { stop, ended, member })
    }

    /// Returns true if the thread that decides runs, as it does until it is stopped.
    pub(super) fn is_running(&self) -> bool {
        !self.member.is_finished()
    }

    /// Lets the member write its last entry for as long as `timeout`. Returns true if it ended in
    /// time and without a panic.
    pub(super) fn stop(self, timeout: Duration, deadline_ns: u64) -> bool {
        // A second order to stop changes nothing.
        let _ = self.stop.try_send(deadline_ns);
        // Nothing is ever sent: the channel is disconnected when the thread ends.
        let ended = self.ended.recv_timeout(timeout.saturating_add(STOP_MARGIN));
        ended == Err(RecvTimeoutError::Disconnected) && self.member.join().is_ok()
    }
}

/// The time by which the end may be later than ordered.
const STOP_MARGIN: Duration = Duration::from_millis(500);

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// The channels of the deciding thread.
struct Waits {
    questions: Receiver<Question>,
    received: Receiver<Input>,
    stopped: Receiver<u64>,
    batches: Sender<Batch>,
}

/// Runs a member until it ends, or the server is gone without having stopped it.
fn run(mut member: Member, waits: Waits, mut clock: Clock, first: &Sender<()>) {
    let Waits { questions, received, mut stopped, batches } = waits;
    loop {
        // After a panic in an answer the fleet goes on without that one.
        let now = clock.now();
        let step = catch_unwind(AssertUnwindSafe(|| member.step(now)));
        let wake_ns = match step {
            Ok(Step::Send { batch, wake_ns }) => {
                if batches.send(batch).is_err() {
                    return;
                }
                wake_ns
            }
            Ok(Step::Wait { wake_ns }) => wake_ns,
            Ok(Step::End) => return,
            Err(_) => {
                log::error!("a panic ended an answer of the fleet");
                now.mono_ns
            }
        };
        if member.has_looked() {
            // Who starts the server waits for the first of them only.
            let _ = first.try_send(());
        }
        let wait = Duration::from_nanos(wake_ns.saturating_sub(clock.now().mono_ns));
        let taken = select! {
            recv(stopped) -> order => match order {
                Ok(deadline_ns) => {
                    member.stop(deadline_ns);
                    // No other order comes.
                    stopped = channel::never();
                    Ok(())
                }
                // The server did not start.
                Err(_) => return,
            },
            recv(questions) -> question => match question {
                Ok(question) => {
                    member.ask(question, clock.now());
                    Ok(())
                }
                Err(_) => return,
            },
            recv(received) -> input => match input {
                Ok(input) => {
                    let now = clock.now();
                    catch_unwind(AssertUnwindSafe(|| match input {
                        Input::End(exchange) => member.on_exchange(exchange, now),
                        Input::Mail(bytes) => member.on_mail(&bytes, now),
                        Input::Hearing(heard) => member.on_hearing(&heard, now),
                    }))
                }
                Err(_) => return,
            },
            default(wait) => Ok(()),
        };
        if taken.is_err() {
            log::error!("a panic ended an answer of the fleet");
        }
    }
}

/// Sends batches and returns their ends, until the deciding thread has ended.
fn exchange_batches(
    mut link: KeyLink,
    batches: &Receiver<Batch>,
    inputs: &Sender<Input>,
    mut clock: Clock,
) {
    for Batch { commands, only_over } in batches {
        let is_open = only_over.is_none() || only_over == link.connection();
        let sent_ns = clock.now().mono_ns;
        let result = if is_open {
            link.exchange(&commands, EXCHANGE, FLEET_REPLY_BYTES_MAX)
        } else {
            Err(RedisError::new(ErrorKind::Io, "the connection is another one by now"))
        };
        let received_ns = clock.now().mono_ns;
        let exchange = Exchange { sent_ns, received_ns, connection: link.connection(), result };
        if inputs.send(Input::End(exchange)).is_err() {
            return;
        }
    }
}

/// The takers of messages.
struct Sorting {
    inputs: Sender<Input>,
    letters: Sender<Vec<u8>>,
}

impl Sorting {
    /// Passes a message on. Returns false if nobody takes it any more.
    fn pass_on(&self, message: Vec<u8>) -> bool {
        if message.first() != Some(&LETTER) {
            return self.inputs.send(Input::Mail(message)).is_ok();
        }
        // Who wants an answer to it asks again. Questions do not wait for it.
        !self.letters.try_send(message).is_err_and(|error| error.is_disconnected())
    }
}

/// Takes messages from the mailbox until the deciding thread has ended.
fn take_mail(mut link: KeyLink, mut mailbox: Mailbox, sorting: &Sorting, ended: &Receiver<()>) {
    let mut hears = true;
    loop {
        let taken = link.exchange(&mailbox.commands(), MAIL, FLEET_REPLY_BYTES_MAX);
        let refusal = taken.as_ref().ok().and_then(|replies| replies.iter().find_map(error_of));
        let refusal = refusal.cloned();
        let is_lost = taken.is_err();
        let mut messages = mailbox.read(taken.unwrap_or_default()).into_iter();
        if refusal.is_some() {
            mailbox.take_one();
        }
        if messages.any(|message| !sorting.pass_on(message)) {
            return;
        }
        let news = match refusal {
            // A wrong right or a key of another type, which comes at once and again and again.
            Some(refusal) => Some(Err(refusal)),
            // The other thread meets the same, and tells it.
            None if is_lost => None,
            None if hears => continue,
            None => Some(Ok(())),
        };
        let waits = !matches!(news, Some(Ok(())));
        hears = news.as_ref().map_or(hears, Result::is_ok);
        let is_over = news.is_some_and(|news| sorting.inputs.send(Input::Hearing(news)).is_err());
        let pause = Duration::from_millis(FLEET_PAUSE_MS);
        let is_over =
            is_over || waits && ended.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected);
        if is_over {
            return;
        }
    }
}
