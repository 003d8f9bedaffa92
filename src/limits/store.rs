//! The limits of the store in Redis, and of requests that wait for it.

/// Blocks sent to Redis whose replies have not come: enough that it always has the next one, few
/// enough that their replies fit into its socket buffer.
pub const STORE_BLOCKS_IN_FLIGHT: usize = 4;

/// The time-out of one reply of Redis; a connection that is slower is closed.
pub const STORE_REPLY_MS_MAX: u64 = 1_000;

/// Bytes of one reply of Redis, push messages ahead of it included. The longest reply that is asked
/// for is a stored metric; a longer one is a value of another program, or not from Redis.
pub const STORE_REPLY_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a cluster's reply about its slots: a range takes some 100 bytes for each of its nodes,
/// and the slots of a cluster that was resharded often lie in thousands of ranges.
pub const STORE_TOPOLOGY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Host names of Redis that are resolved at once. The C library may take half a minute for one, and
/// cannot be cancelled.
pub const STORE_RESOLUTIONS_MAX: usize = 8;

/// Redis is reported as up again once it has been for this long: before, it counts as down.
pub const STORE_STABLE_UP_MS: u64 = 10_000;

/// Bytes of `--redis-prefix`.
pub const STORE_PREFIX_BYTES_MAX: usize = 64;

/// The time-out of connecting to Redis, handshake included.
pub const STORE_CONNECT_MS_MAX: u64 = 800;

/// Pauses between attempts to reach Redis, growing from the one to the other.
pub const STORE_BACKOFF_MS_MIN: u64 = 50;

/// See [`STORE_BACKOFF_MS_MIN`].
pub const STORE_BACKOFF_MS_MAX: u64 = 5_000;

/// The longest of these pauses where another server may take over at any moment, and be known only
/// to some of those that are asked.
pub const STORE_FAILOVER_BACKOFF_MS_MAX: u64 = 1_000;

/// A key may be refused for this long because its slot is being moved, before that is reported: a
/// node that gets its first slot may only be starting, and a large key takes a second or two to
/// move. A move that lasts longer does not end by itself.
pub const STORE_MOVE_MS_MAX: u64 = 3_000;

/// Connections to nodes without slots that `ASK` or `MOVED` named, of the writer and of look-ups
/// each: a cluster grows by a few nodes at a time, and more would be a connection for each address
/// that a faulty node names.
pub const STORE_NODES_WITHOUT_SLOTS_MAX: usize = 16;

/// An idle connection to Redis gets a ping after this long.
pub const STORE_PING_MS: u64 = 1_000;

/// The time-out of a look-up in Redis, connecting included.
pub const STORE_LOOKUP_MS_MAX: u64 = 1_000;

/// After a look-up that did not reach Redis, others fail at once for this long.
pub const STORE_LOOKUP_PAUSE_MS: u64 = 100;

/// Requests of a core that wait for their events to be stored; more get 503.
pub const ACK_WAITERS_MAX: usize = 4_096;

/// Events of a core for which requests wait; with more, further requests get 503.
pub const ACK_EVENTS_MAX: usize = 30_000;

/// Bytes of the body of a small request that waits, which holds up few others. With as many events
/// of a core waiting as leave room for one more request of any size, or half as many bytes of
/// answers, further large ones get 503 and small ones do not: who sends large ones, one behind the
/// other, would otherwise keep out all devices that send single events.
pub const ACK_SMALL_BYTES_MAX: usize = 16 * 1024;

/// Bytes of the answers that a core has prepared for requests that wait; with more, others
/// get 503.
pub const ACK_ANSWER_BYTES_MAX: usize = 512 * 1024;

/// When the server ends, requests that wait for their events are answered this long before its
/// cores give up.
pub const ACK_END_MS: u64 = 100;
