//! `corepulse replay`: posts CSV files to a server, and accounts for every row.
//!
//! This thread reads the files, row by row, and sorts the rows by device into bodies. Each
//! connection has a thread, and a short queue of bodies: a slow server slows the reading, and a
//! file of any size takes the same memory.

mod connection;
mod csv_file;
mod report;
mod table;

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::config::replay_options::ReplayOptions;
use crate::http_client::{HttpClient, Place};
use connection::{Body, Connection, GLANCE, PATIENCE, sleep_until};
pub use report::Report;
use report::plain;
use table::{Columns, Outcome, Table};

/// The most bytes of a body, unless one row has more: a quarter of the default of `--max-body`.
const BODY_BYTES_MAX: usize = 256 << 10;

/// The bodies that wait for one connection.
const WAITING_BODIES_MAX: usize = 2;

/// With a rate, rows that are due within this time are sent together.
const TICK: Duration = GLANCE;

/// Posts the rows of all files, until a signal sets `stop`. `say` is told what is waited for, and
/// `progress` the number of rows read so far, now and then.
///
/// Returns the report, and its text.
///
/// # Errors
///
/// A file cannot be read or has no such column, or the server cannot be reached: nothing was sent.
pub fn run(
    config: &Config,
    options: &ReplayOptions,
    stop: &AtomicBool,
    say: &(dyn Fn(&str) + Sync),
    progress: &dyn Fn(u64),
) -> Result<(Report, String), String> {
    let columns = Columns {
        device_names: &config.device_names,
        renamed: &options.column,
        beside: &options.beside,
    };
    let opened = options.files.iter().map(|path| Table::open(path, &columns));
    // A header row may hold what is a command to a terminal.
    let tables = opened.collect::<Result<Vec<_>, _>>().map_err(|error| plain(&error))?;
    check_devices(&tables)?;
    let sources: Vec<_> = tables.iter().map(|table| table.source.clone()).collect();

    let place = Place::new(options.to.clone(), config.own_address());
    let client = || HttpClient::new(place.clone(), config.ingest_token.as_ref(), PATIENCE);
    let mut first = Some(client());
    first.iter_mut().try_for_each(HttpClient::connect).map_err(|error| error.to_string())?;
    let start = Instant::now();
    let report = thread::scope(|scope| {
        let (mut senders, mut threads) = (Vec::new(), Vec::new());
        for _ in 0..options.connections {
            let (sender, bodies) = sync_channel(WAITING_BODIES_MAX);
            let client = first.take().unwrap_or_else(client);
            let connection = Connection { client, sources: &sources, stop, say, said: None };
            senders.push(sender);
            threads.push(scope.spawn(move || connection.run(&bodies)));
        }
        let reader = Reader {
            options,
            senders,
            start,
            horizon: start,
            stop,
            progress,
            told: start,
            rows: 0,
            row: Vec::new(),
            report: Report::default(),
        };
        let mut report = reader.read(tables);
        for thread in threads {
            let failed =
                |_| Report { fault: Some("a thread failed".to_owned()), ..Report::default() };
            report.merge(thread.join().unwrap_or_else(failed));
        }
        report
    });
    let text = report.summary(&sources, start.elapsed());
    Ok((report, text))
}

/// Checks that no two files are the same device: their rows would mix, differently in each run.
fn check_devices(tables: &[Table]) -> Result<(), String> {
    let mut found = HashSet::new();
    for table in tables {
        if let Some(id) = table.own_device()
            && !found.insert(id)
        {
            return Err(format!("{}: another file is the device {id} already", table.source.path));
        }
    }
    Ok(())
}

/// The reading of all files.
struct Reader<'a> {
    options: &'a ReplayOptions,
    /// The queue of each connection.
    senders: Vec<SyncSender<Body>>,
    start: Instant,
    /// With a rate, the moment until which rows are due that may be sent now.
    horizon: Instant,
    stop: &'a AtomicBool,
    progress: &'a dyn Fn(u64),
    /// When `progress` was told last.
    told: Instant,
    /// The rows that were read.
    rows: u64,
    /// The row at hand.
    row: Vec<u8>,
    report: Report,
}

/// A file that is being read, and the body that it fills for each connection.
struct OpenTable {
    number: usize,
    table: Table,
    bodies: Vec<Body>,
}

/// Nothing more is to be read: a signal came, a connection has ended, or a file is broken.
struct Ended;

impl Reader<'_> {
    /// Reads all files, and returns the report of what was not sent. The queues end with it.
    fn read(mut self, tables: Vec<Table>) -> Report {
        let bodies = || self.senders.iter().map(|_| Body::default()).collect();
        let open = tables.into_iter().enumerate();
        let open = open.map(|(number, table)| OpenTable { number, table, bodies: bodies() });
        // Files that are a device each take turns, as devices do. Of the others, which may go on
        // with each other's devices, each is read when the one before is at its end.
        let (alone, shared): (Vec<_>, Vec<_>) =
            open.partition(|open| open.table.own_device().is_some());
        let groups = shared.into_iter().map(|one| vec![one]).chain([alone]);
        for group in groups {
            if self.read_group(group.into()).is_err() {
                break;
            }
        }
        let is_nothing = self.rows + self.report.wrong_rows == 0 && !self.report.is_interrupted;
        if is_nothing && self.report.fault.is_none() {
            self.report.fault = Some("there is no row to send".to_owned());
        }
        self.report
    }

    /// Reads files, one row of each after the other.
    fn read_group(&mut self, mut tables: VecDeque<OpenTable>) -> Result<(), Ended> {
        while let Some(mut open) = tables.pop_front() {
            if self.stop.load(Ordering::Relaxed) {
                self.report.is_interrupted = true;
                return Err(Ended);
            }
            match self.read_row(&mut open) {
                Ok(true) => tables.push_back(open),
                Ok(false) => self.send_all(&mut open)?,
                Err(ended) => {
                    // What came before the broken row is sent.
                    let mut rest = tables.iter_mut().chain([&mut open]);
                    rest.try_for_each(|open| self.send_all(open))?;
                    return Err(ended);
                }
            }
            self.keep_pace(&mut tables)?;
        }
        Ok(())
    }

    /// Reads a row, and sends a body that is full. Returns false at the end of the file.
    fn read_row(&mut self, open: &mut OpenTable) -> Result<bool, Ended> {
        self.row.clear();
        let (line, hash) = match open.table.append_next(&mut self.row) {
            Ok(None) => return Ok(false),
            Ok(Some(Outcome::Appended { line, device_hash })) => (line, device_hash),
            Ok(Some(Outcome::Wrong { line, reason })) => {
                self.report.add_wrong(open.number, line, reason);
                return Ok(true);
            }
            Err(fault) => {
                self.report.fault = Some(fault);
                return Err(Ended);
            }
        };
        self.rows += 1;
        let connections = open.bodies.len().max(1);
        let is_alone = open.table.own_device().is_some();
        let at = if is_alone { open.number } else { hash as usize } % connections;
        let Some(body) = open.bodies.get_mut(at) else {
            return Err(Ended);
        };
        if body.bytes.len() + self.row.len() > BODY_BYTES_MAX {
            send(&self.senders, at, body, self.due())?;
        }
        if body.lines.is_empty() {
            body.file = open.number;
            body.bytes.extend_from_slice(&open.table.header);
        }
        body.bytes.extend_from_slice(&self.row);
        body.lines.push(line);
        if body.lines.len() >= usize::from(self.options.batch) {
            send(&self.senders, at, body, self.due())?;
        }
        Ok(true)
    }

    /// Sends what a file has in its bodies.
    fn send_all(&self, open: &mut OpenTable) -> Result<(), Ended> {
        let mut bodies = open.bodies.iter_mut().enumerate();
        bodies.try_for_each(|(at, body)| send(&self.senders, at, body, self.due()))
    }

    /// Waits until the next row is due, if there is a rate. What has been read is sent before.
    fn keep_pace(&mut self, tables: &mut VecDeque<OpenTable>) -> Result<(), Ended> {
        let now = Instant::now();
        if now.duration_since(self.told) >= Duration::from_secs(1) {
            self.told = now;
            (self.progress)(self.rows);
        }
        let Some(rate) = self.options.rate else {
            return Ok(());
        };
        let seconds = self.rows as f64 / rate;
        let due = Duration::try_from_secs_f64(seconds).ok();
        let due = due.and_then(|after| self.start.checked_add(after)).ok_or(Ended)?;
        if due <= self.horizon {
            return Ok(());
        }
        tables.iter_mut().try_for_each(|open| self.send_all(open))?;
        self.horizon = due + TICK;
        if !sleep_until(self.horizon, self.stop) {
            self.report.is_interrupted = true;
            return Err(Ended);
        }
        Ok(())
    }

    /// Returns when the rows at hand were to be sent.
    fn due(&self) -> Option<Instant> {
        self.options.rate.map(|_| self.horizon)
    }
}

/// Sends a body by a connection, unless it is empty, and begins another one.
fn send(
    senders: &[SyncSender<Body>],
    at: usize,
    body: &mut Body,
    due: Option<Instant>,
) -> Result<(), Ended> {
    if body.lines.is_empty() {
        return Ok(());
    }
    let body = Body { due, ..std::mem::take(body) };
    let sender = senders.get(at).ok_or(Ended)?;
    sender.send(body).map_err(|_| Ended)
}
