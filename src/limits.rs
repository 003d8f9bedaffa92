//! Every limit of the server, with its reason.
//!
//! A limit is a promise to the peers that keep to it and to the memory of the host. The relations
//! between limits are checked when the crate is compiled, at the end of this file.

mod store;
mod tokens;

pub use percore::limits::*;
pub use store::*;
pub use tokens::*;

/// The largest `--max-body` that may be configured: bodies are buffered whole.
pub const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The smallest `--max-body` that may be configured: a metric of the default fields fits.
pub const BODY_BYTES_MIN: usize = 1024;

/// Nesting of a JSON document: the parser recurses, so this limits its stack.
pub const JSON_DEPTH_MAX: usize = 16;

/// Events of one request. Applying them takes milliseconds, while the core's other connections
/// wait.
pub const BATCH_EVENTS_MAX: usize = 10_000;

/// Entries of `errors` and of `anomalous` in one answer; the counts beside them are complete.
pub const ANSWER_ITEMS_MAX: usize = 100;

/// Bytes of a peer's text in one field of a log line. The longest device id fits.
pub const ESCAPED_BYTES_MAX: usize = 200;

/// The least time between two log lines of one kind of warning that every request may cause.
pub const LOG_INTERVAL_NS: u64 = 60_000_000_000;

/// Names of ignored members of an event that a log line repeats.
pub const IGNORED_NAMES_MAX: usize = 4;

/// Bytes of a peer's input that an error text may repeat.
pub const ECHO_BYTES_MAX: usize = 64;

/// Bytes of a device id: it is part of every key in the store.
pub const DEVICE_ID_BYTES_MAX: usize = 128;

/// The furthest that a timestamp may be ahead of the server's clock; more is a wrong clock.
pub const FUTURE_MS_MAX: i64 = 10 * 60 * 1000;

/// The furthest that a timestamp which the server assigns is ahead of its clock, however many
/// events are sent without one.
pub const ASSIGNED_LEAD_US_MAX: u64 = 1_000_000;

/// Fields of `--fields`: sets of them are kept in 16 bits.
pub const FIELDS_MAX: usize = 16;

/// Bytes of a field's name, and of any other name of a member that may be configured.
pub const FIELD_NAME_BYTES_MAX: usize = 64;

/// Names of the device, of the time, and tags of the device: each name that the decoder does not
/// know is compared with all of them.
pub const MEMBER_NAMES_MAX: usize = 8;

/// Bytes of a number's literal, which is stored as it was sent. Seventeen digits are enough for any
/// double; padded numbers fit as well, and rounding this many digits correctly takes a third of a
/// microsecond at most.
pub const NUMBER_BYTES_MAX: usize = 128;

/// The largest z-score: a small step after a constant series would otherwise be infinite.
pub const Z_SCORE_MAX: f64 = 1e6;

/// Events of a window: each takes memory of every device, and now and then an event costs a pass
/// over them.
pub const WINDOW_MAX: usize = 10_000;

/// The largest `--cooldown` and `--stuck-after`, in events.
pub const COOLDOWN_MAX: usize = 1_000_000;

/// The largest `--max-devices`: devices are numbered in 32 bits.
pub const DEVICES_MAX: usize = 100_000_000;

/// Bytes of one value in a device's window.
pub const WINDOW_VALUE_BYTES: usize = 8;

/// Bytes of the timestamp of one event in a device's window. The required fields share one window,
/// and each optional field has its own.
pub const WINDOW_TIMESTAMP_BYTES: usize = 4;

/// Further bytes of each event in a window whose timestamps are more than 49 days apart: the most
/// that clocks which jump can take.
pub const WINDOW_JUMP_BYTES: usize = 8;

/// Bytes of a device with an id of up to 22 bytes, in addition to its fields; a longer id adds its
/// length. Memory is allocated for 64 devices at a time.
pub const DEVICE_BYTES: usize = 124;

/// Pairs of events and seconds of one limit: a burst, and what may go on for a minute, an hour and
/// a day.
pub const RATE_PAIRS_MAX: usize = 4;

/// Events of a pair. With this many, intervals between two are kept to a thousandth.
pub const RATE_EVENTS_MAX: u32 = 100_000_000;

/// Seconds of a pair: a day.
pub const RATE_SECONDS_MAX: u32 = 86_400;

/// Events a second of a pair: more than a core takes, and an interval between two that is a
/// microsecond is kept to a thousandth.
pub const RATE_PER_SECOND_MAX: u32 = 1_000_000;

/// Bytes of a device for each pair of `--device-limit`.
pub const DUE_BYTES: usize = 5;

/// Events of a shard that wait for the windows of their devices, which are on their way from other
/// instances. Of more, the oldest of a device are not judged.
pub const WAITING_EVENTS_MAX: usize = 64 * 1024;

/// Events of one device that wait, or as many as its window has places if that is more: a gateway's
/// first batch, and no more of a shard's memory than a sixteenth.
pub const WAITING_OF_DEVICE_MAX: usize = 4 * 1024;

/// Bytes of an event that waits, in addition to its values.
pub const WAITING_EVENT_BYTES: usize = 64;

/// Bytes of a required field of a device, in addition to its values.
pub const REQUIRED_FIELD_BYTES: usize = 28;

/// Bytes of a device that may send optional fields, whether it does or not.
pub const OPTIONAL_START_BYTES: usize = 8;

/// Bytes of an optional field that a device has sent, in addition to its values and timestamps.
pub const OPTIONAL_FIELD_BYTES: usize = 48;

/// Anomalies in `recent` of `/analyze`.
pub const RECENT_ANOMALIES_MAX: usize = 20;

/// Anomalies in a shard's log, for `recent` of its devices: 1 MiB a shard. A device's last twenty
/// are found as long as they are among these.
pub const ANOMALY_LOG_ENTRIES: usize = 16 * 1024;

/// Novelties in a shard's log, from where they are listed: 48 KiB a shard, once the second judge is
/// asked. They are as many as are listed, as nobody asks for those of one device.
pub const NOVELTY_LOG_ENTRIES: usize = 1_024;

/// A limit of open files that leaves fewer connections than this is worth a warning, unless fewer
/// were asked for: it is the default of a shell, hardly meant for a server.
pub const CONNECTIONS_FEW: usize = 1_000;

/// The least cost of an event, however few bytes it has.
pub const EVENT_COST_BYTES: usize = BODY_BYTES_DEFAULT / BATCH_EVENTS_MAX;

/// A member of a fleet writes its entry and reads those of the others so often.
pub const FLEET_BEAT_MS: u64 = 1_000;

/// A member whose entry is older than this is not live: three beats, and time for the last of them
/// to be late.
pub const FLEET_LEASE_MS: u64 = 3_000;

/// A member is sure of its own lease for this long after it sent what renews it, by its own clock:
/// it has to stop before the others think so.
pub const FLEET_DOUBT_MS: u64 = 2_500;

/// A member waits for this long after its first look at the directory, or at an emptied one, before
/// it believes that all who live are in it: each has had two beats.
pub const FLEET_SETTLE_MS: u64 = 2_000;

/// An answer of a fleet waits for its members no longer than this.
pub const FLEET_ANSWER_MS: u64 = 250;

/// Questions to a fleet within this time are asked together.
pub const FLEET_COLLECT_MS: u64 = 10;

/// Different questions that are asked together.
pub const FLEET_QUESTIONS_MAX: usize = 64;

/// Questions that wait for the thread of the fleet.
pub const FLEET_QUEUED_MAX: usize = 1_024;

/// A member that has not left in order is missed for this long.
pub const FLEET_LAPSED_MS: u64 = 60_000;

/// The counters of a member that is gone have an entry of their own for this long.
pub const FLEET_FORGET_MS: u64 = 3_600_000;

/// Entries of members that are gone; of more the oldest are folded into one.
pub const FLEET_FORMER_MAX: usize = 64;

/// Names of folded entries that are remembered.
pub const FLEET_FOLDED_KEPT: usize = 16;

/// After an error of Redis the fleet asks again after this long: soon, as each member asks no more
/// than that.
pub const FLEET_PAUSE_MS: u64 = 500;

/// A message that nobody takes ends after this long.
pub const FLEET_MAIL_SECONDS: u64 = 10;

/// A member waits for a message so long before it asks anew.
pub const FLEET_MAIL_WAIT_SECONDS: u64 = 1;

/// Messages that a member takes in one round trip: some from each of thirty others.
pub const FLEET_MAIL_BATCH_MAX: usize = 64;

/// Messages of one reply: pages of a thousand devices are no longer than a reply may be.
pub const FLEET_MAIL_GROUP: usize = 16;

/// Bytes of the messages that are taken together, if they are as long as those before.
pub const FLEET_MAIL_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of one message between members, and of the directory: a page of a thousand devices with
/// all fields is two million.
pub const FLEET_REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a text in an entry of a fleet, such as the name of an instance.
pub const FLEET_TEXT_BYTES_MAX: usize = 1_024;

/// Bytes of the name of a fleet.
pub const FLEET_NAME_BYTES_MAX: usize = 64;

/// A claim on a device ends after this long, or after twice the time in which devices are
/// forgotten.
pub const WINDOW_CLAIM_MS_MIN: u64 = 86_400_000;

/// A copy that was given away ends after this long: its receiver has saved it long before.
pub const WINDOW_GIVEN_MS_MAX: u64 = 600_000;

/// A device that waits for its window longer than this is judged by what is here.
pub const WINDOW_WAIT_MS_MAX: u64 = 5_000;

/// Copies that were taken from others, which are remembered: those of some seconds at the greatest
/// rate.
pub const WINDOW_TAKEN_MAX: usize = 1 << 17;

/// Saved windows that a replica reads back before it ends: some on each server of a cluster.
pub const WINDOW_SAMPLE: usize = 256;

/// Letters about windows that wait for the thread that answers them.
pub const WINDOW_LETTERS_MAX: usize = 256;

/// Commands about windows that are sent together.
pub const WINDOW_BATCH_COMMANDS: usize = 2_000;

/// The least time between two batches about windows: what comes meanwhile goes together.
pub const WINDOW_TURN_MS: u64 = 2;

/// After an error of Redis windows are asked for again after this long.
pub const WINDOW_PAUSE_MS: u64 = 100;

/// Windows that an instance saves in a second, at most: 3 % of a core.
pub const WINDOW_SAVES_PER_SECOND: u64 = 20_000;

/// Bytes of records at which an open block is full and handed to the store.
pub const BLOCK_BYTES: usize = 32 * 1024;

/// A record for Redis, key and value with their framing: it has the longest device id twice, and
/// the literals of all fields with their names.
pub const RECORD_BYTES_MAX: usize = 4 * 1024;

/// The room for a record is a multiple of this: one for the fields of an instance without options.
pub const RECORD_BYTES_STEP: usize = 2 * 1024;

/// A segment of the memory store: small enough that the one being filled stays in a core's cache,
/// large enough that a look-up searches few of them.
pub const SEGMENT_BYTES_MAX: usize = 1024 * 1024;

/// The smallest segment, for a small `--memory-store`: it still holds several records of any size.
pub const SEGMENT_BYTES_MIN: usize = 16 * 1024;

/// Segments that the memory store has for each core, at least: evicting the oldest one then removes
/// at most this fraction of the records.
pub const SEGMENTS_PER_CORE_MIN: usize = 16;

/// Events of a batch that are applied under one hold of a shard's lock, and whose memory is fetched
/// together: the longest wait of another core or a scrape.
pub const EVENTS_PER_HOLD: usize = 8;

/// Findings that are copied under one hold of a shard's lock.
pub const FINDINGS_PER_HOLD: usize = 32;

/// Findings of each kind that are kept in the order of all shards, once somebody asks for them: so
/// devices that are noisy by one judge push nothing out that the other has told.
pub const JOURNAL_ENTRIES: usize = 1_024;

/// Findings of one answer.
pub const ANOMALIES_LISTED_MAX: usize = 1_000;

/// Findings of one answer where the request does not say.
pub const ANOMALIES_LISTED_DEFAULT: usize = 100;

/// Anomalies of a device that are marked in the values of its windows: as many as a window of fifty
/// events of two fields can have.
pub const MARKED_ANOMALIES_MAX: usize = 100;

/// Slots of devices that a list looks at under one hold of a shard's lock.
pub const DEVICES_PER_HOLD: u32 = 32;

/// Devices that are copied, with their windows, under one hold of a shard's lock.
pub const WINDOWS_PER_HOLD: usize = 8;

/// Devices of one page of a list.
pub const DEVICES_LISTED_MAX: usize = 1_000;

/// Devices of a page where the request does not say.
pub const DEVICES_LISTED_DEFAULT: usize = 100;

/// Events that a core scores and appends to the memory store under one hold of its ring's lock: a
/// look-up from another core waits at most for these.
pub const RECORDS_PER_HOLD: usize = 8;

/// Durations that a core keeps for itself while a scrape holds its histograms; past that it waits.
pub const DURATION_BUFFER_ENTRIES_MAX: usize = 4 * 1024;

/// Look-ups and scrapes that wait for the control thread; more get 503.
pub const JOBS_QUEUED_MAX: usize = 1024;

/// Seconds for which a browser may remember what a page of another origin may send
/// (`--cors-origin`); Chromium remembers no longer.
pub const CORS_MAX_AGE_SECONDS: u32 = 7_200;

/// Seconds that a profile takes where the request does not say.
pub const PROFILE_SECONDS_DEFAULT: u8 = 10;

/// Seconds that a profile may take: one at a time is taken, and others are turned away meanwhile.
pub const PROFILE_SECONDS_MAX: u8 = 60;

/// Samples of a profile for each second of CPU time. Not a round number, or what happens a hundred
/// times a second would always be met at the same point.
pub const PROFILE_HZ: i32 = 99;

/// Bytes of a look-up's key: the longest device id, a colon and twenty digits.
pub const LOOKUP_KEY_BYTES_MAX: usize = DEVICE_ID_BYTES_MAX + 1 + 20;

/// The smallest `--memory-store`: some segments for each of a few cores.
pub const MEMORY_STORE_BYTES_MIN: usize = 4 * 1024 * 1024;

/// The smallest `--store-queue`: some blocks for each of a few cores.
pub const STORE_QUEUE_BYTES_MIN: usize = 1024 * 1024;

/// Cores (and so shards) that one process may use.
pub const WORKERS_MAX: usize = 1024;

const _: () = assert!(BODY_BYTES_MIN <= BODY_BYTES_DEFAULT && BODY_BYTES_DEFAULT <= BODY_BYTES_MAX);
// Offsets into a body, and of a record in a block, are kept in 32 bits.
const _: () = assert!(BODY_BYTES_MAX + HEAD_BYTES_MAX < u32::MAX as usize);
// The largest body fits into full blocks of zstd, with as many again for clients that flush.
const _: () = assert!(2 * BODY_BYTES_MAX.div_ceil(128 * 1024) <= ZSTD_BLOCKS_MAX);
// A client that flushes after each event of the largest batch still has room.
const _: () = assert!(2 * BATCH_EVENTS_MAX <= DEFLATE_BLOCKS_MAX);
// One item list of an answer cannot overrun the out-buffer that carries it, even if each item is an
// error that names all fields.
const _: () =
    assert!(ANSWER_ITEMS_MAX * (512 + FIELDS_MAX * (FIELD_NAME_BYTES_MAX + 2)) <= OUT_BYTES_MAX);
// A request of any size can be waited for.
const _: () = assert!(2 * BATCH_EVENTS_MAX <= ACK_EVENTS_MAX);
// A stored metric fits into a reply.
const _: () = assert!(RECORD_BYTES_MAX < STORE_REPLY_BYTES_MAX);
const _: () = assert!(FLEET_DOUBT_MS < FLEET_LEASE_MS && 2 * FLEET_BEAT_MS < FLEET_DOUBT_MS);
const _: () = assert!(2 * FLEET_BEAT_MS <= FLEET_SETTLE_MS && FLEET_SETTLE_MS < FLEET_LEASE_MS);
const _: () = assert!(FIELDS_MAX <= u16::BITS as usize);
// A page of anomalies comes from the journal.
const _: () = assert!(ANOMALIES_LISTED_MAX <= JOURNAL_ENTRIES);
const _: () = assert!(JOURNAL_ENTRIES <= ANOMALY_LOG_ENTRIES);
const _: () = assert!(JOURNAL_ENTRIES <= NOVELTY_LOG_ENTRIES);
// Numbers of entries wrap around, and an index is a number modulo the size of a log.
const _: () =
    assert!(ANOMALY_LOG_ENTRIES.is_power_of_two() && NOVELTY_LOG_ENTRIES.is_power_of_two());
// A core's first microsecond after the clock's is not too far ahead of it.
const _: () = assert!((WORKERS_MAX as u64) < ASSIGNED_LEAD_US_MAX);
// A record's lengths are kept in 16 bits, and any record fits into a block.
const _: () = assert!(RECORD_BYTES_MAX <= u16::MAX as usize && RECORD_BYTES_MAX <= BLOCK_BYTES);
const _: () = assert!(SEGMENT_BYTES_MIN <= SEGMENT_BYTES_MAX);
const _: () = assert!(SHARE_BYTES_MAX / EVENT_COST_BYTES <= BATCH_EVENTS_MAX);
const _: () = assert!(BLOCK_BYTES * 16 <= STORE_QUEUE_BYTES_MIN);
const _: () = assert!(DEVICE_ID_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(DEVICE_ID_BYTES_MAX <= ESCAPED_BYTES_MAX);
const _: () = assert!(WINDOW_MAX <= u16::MAX as usize);
const _: () =
    assert!(1 <= PROFILE_SECONDS_DEFAULT && PROFILE_SECONDS_DEFAULT <= PROFILE_SECONDS_MAX);
