//! One of the servers of a link: its connection, and the commands of an exchange that are its own.

use std::time::Duration;

use redis::ConnectionInfo;

use super::super::batch::Batch;
use super::super::command::{Command, End, Reply};
use super::super::connection::{Connection, Replies};
use super::super::deadline::Deadline;
use super::super::error::{ErrorKind, RedisError, RedisResult};
use super::super::fence;
use super::super::link::ConnectionId;
use super::super::resolver::Resolver;
use super::pause::Pause;
use crate::limits::{STORE_CONNECT_MS_MAX, STORE_REPLY_BYTES_MAX};
use percore::clock::Clock;

/// Bytes of commands without a reply, unless one command has more. They fit into the buffers of the
/// sockets, so a server (or what is in front of it) that reads nothing while its replies are not
/// taken does not wait for us while we wait for it.
const IN_FLIGHT_BYTES_MAX: usize = 64 * 1024;

/// Abandoned connections that are remembered, the latest ones.
const ABANDONED_MAX: usize = 64;

/// See the head of this file.
pub(super) struct Server {
    pub(super) info: ConnectionInfo,
    open: Option<OpenConnection>,
    /// Connections that were closed and whose commands Redis may still run.
    abandoned: Vec<ConnectionId>,
    pause: Option<Pause>,
    /// The memory for commands that are sent together.
    bytes: Vec<u8>,
}

/// A connection, and its id if Redis told it.
type OpenConnection = (Connection, Option<ConnectionId>);

/// A command that a server is to run.
pub(super) struct Task {
    /// Its place in the exchange.
    pub(super) index: usize,
    /// True if the server is importing the slot, and takes the command after `ASKING` alone.
    pub(super) asking: bool,
}

/// The facts of an exchange that all its servers have to know.
pub(super) struct Terms<'a> {
    pub(super) commands: &'a Batch,
    pub(super) resolver: &'a Resolver,
    pub(super) clock: Clock,
    /// The time at which the exchange ends.
    pub(super) until_ns: u64,
    /// Bytes of a reply, at most.
    pub(super) reply_bytes_max: usize,
    /// True if a new connection has to be to a primary.
    pub(super) requires_primary: bool,
}

/// The end of a server's tasks.
pub(super) struct Outcome {
    /// One for each task, in their order.
    pub(super) ends: Vec<End>,
    /// True if a connection was opened.
    pub(super) has_opened: bool,
    /// The reason for which a connection was closed, or none could be opened.
    pub(super) failure: Option<RedisError>,
    /// True if a connection was closed.
    pub(super) has_lost: bool,
}

impl Terms<'_> {
    fn left(&self) -> Duration {
        let mut clock = self.clock;
        Duration::from_nanos(self.until_ns.saturating_sub(clock.now().mono_ns))
    }

    fn now_ns(&self) -> u64 {
        let mut clock = self.clock;
        clock.now().mono_ns
    }
}

impl Outcome {
    /// Returns the outcome of tasks that were not begun.
    pub(super) fn of_failure(tasks: usize, error: RedisError) -> Self {
        let ends = vec![Err(error.clone()).into(); tasks];
        Self { ends, has_opened: false, failure: Some(error), has_lost: false }
    }
}

impl Server {
    pub(super) const fn new(info: ConnectionInfo) -> Self {
        Self { info, open: None, abandoned: Vec::new(), pause: None, bytes: Vec::new() }
    }

    /// Closes the connection, on which nothing is in flight. Returns true if there was one.
    pub(super) fn close(&mut self) -> bool {
        self.open.take().is_some()
    }

    /// Sends commands, and waits for their replies.
    pub(super) fn run(&mut self, tasks: &[Task], terms: &Terms) -> Outcome {
        let was_open = self.open.is_some();
        // Taken out, so that after a panic no connection with half a reply is kept.
        let opened = self.open.take().map_or_else(|| self.connect(terms), Ok);
        let (mut connection, id) = match opened {
            Ok(open) => open,
            Err(error) => return Outcome::of_failure(tasks.len(), error),
        };
        // It counts as abandoned as long as something is in flight.
        self.abandoned.extend(id.clone());
        let surplus = self.abandoned.len().saturating_sub(ABANDONED_MAX);
        self.abandoned.drain(..surplus);
        let mut ends = Vec::with_capacity(tasks.len());
        let mut failure = talk(&mut connection, tasks, terms, &mut self.bytes, &mut ends).err();
        if failure.is_none() {
            if id.is_some() {
                self.abandoned.pop();
            }
            failure = ends.iter().filter_map(End::error).find(is_last).cloned();
            if let Some(error) = &failure {
                // It is loading, or a replica: it may be so for a while.
                let now_ns = terms.now_ns();
                self.pause = Some(Pause::after(now_ns, now_ns, error.clone()));
            } else {
                self.open = Some((connection, id));
            }
        }
        if let Some(error) = &failure {
            ends.resize(tasks.len(), Err(error.clone()).into());
        }
        Outcome { ends, has_opened: !was_open, has_lost: failure.is_some(), failure }
    }

    /// Connects, and ends the abandoned connections of ours at the server.
    fn connect(&mut self, terms: &Terms) -> RedisResult<OpenConnection> {
        let began_ns = terms.now_ns();
        if let Some(pause) = &self.pause {
            pause.check(began_ns)?;
        }
        let timeout = terms.left().min(Duration::from_millis(STORE_CONNECT_MS_MAX));
        let mut deadline = Deadline::new(terms.clock, timeout);
        let opened = self.open_fenced(terms, &mut deadline);
        self.pause = match &opened {
            Ok(_) => None,
            Err(error) => Some(Pause::after(began_ns, terms.now_ns(), error.clone())),
        };
        opened
    }

    fn open_fenced(
        &mut self,
        terms: &Terms,
        deadline: &mut Deadline,
    ) -> RedisResult<OpenConnection> {
        let (mut connection, id) =
            fence::open(&self.info, terms.resolver, deadline, &mut self.abandoned)?;
        if terms.requires_primary {
            // Sentinels may not know of a failover yet.
            connection.set_timeout(deadline.next_wait()?);
            connection.check_primary()?;
        }
        Ok((connection, id))
    }
}

/// Sends commands, and takes their replies meanwhile: the end of each is appended to `ends`. The
/// memory `bytes` is for those that do not stand together as they are to be sent.
fn talk(
    connection: &mut Connection,
    tasks: &[Task],
    terms: &Terms,
    bytes: &mut Vec<u8>,
    ends: &mut Vec<End>,
) -> RedisResult<()> {
    let mut asking = Vec::new();
    Command::new("ASKING").pack(&mut asking);
    let asking = asking.as_slice();
    let length = |task: &Task| {
        let ahead = if task.asking { asking.len() } else { 0 };
        ahead + terms.commands.packed(task.index..task.index + 1).len()
    };
    // The tasks that were sent, and those whose replies have come.
    let (mut sent, mut ended) = (0, 0);
    // The bytes of those between, and how many of them are behind `ASKING`.
    let (mut in_flight, mut asked) = (0, 0);
    while ended < tasks.len() {
        let first = sent;
        while let Some(task) = tasks.get(sent)
            && (sent == ended || in_flight + length(task) <= IN_FLIGHT_BYTES_MAX)
        {
            in_flight += length(task);
            asked += usize::from(task.asking);
            sent += 1;
        }
        if let Some(tasks) = tasks.get(first..sent).filter(|tasks| !tasks.is_empty()) {
            connection.set_timeout(terms.left());
            connection.send(packed(tasks, terms.commands, asking, bytes))?;
        }
        while ended < sent {
            if tasks.get(ended).is_some_and(|task| task.asking) {
                connection.set_timeout(terms.left());
                // If it was refused, the reply to the command says so.
                connection.receive(STORE_REPLY_BYTES_MAX)?;
                asked -= 1;
            }
            connection.set_timeout(terms.left());
            // That to `ASKING` is the same, and counts for itself.
            let most = if asked == 0 { sent - ended } else { 1 };
            let before = ends.len();
            match connection.receive_oks(most, terms.reply_bytes_max)? {
                Replies::Ok(count) => ends.resize(before + count, End::OKAY),
                Replies::Other(value) => {
                    ends.push(outcome_of(Reply::of(value, connection.server())).into());
                }
            }
            let until = ended + ends.len() - before;
            in_flight -= tasks.get(ended..until).into_iter().flatten().map(length).sum::<usize>();
            ended = until;
            // The next piece is sent when there is room for half of what may be in flight.
            if sent < tasks.len() && in_flight <= IN_FLIGHT_BYTES_MAX / 2 {
                break;
            }
        }
    }
    Ok(())
}

/// Returns the bytes of tasks: from where they are, if their commands follow each other and none is
/// behind `ASKING`.
fn packed<'a>(
    tasks: &[Task],
    commands: &'a Batch,
    asking: &[u8],
    bytes: &'a mut Vec<u8>,
) -> &'a [u8] {
    // No command is sent twice, and they are in their order.
    if let (Some(first), Some(last)) = (tasks.first(), tasks.last())
        && last.index - first.index + 1 == tasks.len()
        && !tasks.iter().any(|task| task.asking)
    {
        return commands.packed(first.index..last.index + 1);
    }
    bytes.clear();
    for task in tasks {
        bytes.extend_from_slice(if task.asking { asking } else { &[] });
        bytes.extend_from_slice(commands.packed(task.index..task.index + 1));
    }
    bytes
}

/// Returns true if a connection that has got this reply is of no more use. To a command whose slot
/// is elsewhere, or nowhere at the moment, the reply is the same over another one.
fn is_last(error: &&RedisError) -> bool {
    error.redirection().is_none() && error.kind != ErrorKind::ClusterDown
}

/// Returns an error for a reply after which the command is to be sent to another server, or to this
/// one over another connection: it was not run.
fn outcome_of(reply: Reply) -> RedisResult<Reply> {
    match reply {
        Reply::Error(error) if error.leads_elsewhere() => Err(error),
        reply => Ok(reply),
    }
}
