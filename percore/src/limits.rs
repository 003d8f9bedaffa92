//! Every limit of HTTP and of the event loops, with its reason.
//!
//! A limit is a promise to the peers that keep to it and to the memory of the host. The relations
//! between limits are checked when the crate is compiled, at the end of this file.

/// A head this large has no honest sender; longer ones get 431 and the connection closes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The request line alone; longer ones get 414. RFC 9112, section 3, asks for at least 8,000.
pub const REQUEST_LINE_BYTES_MAX: usize = 8 * 1024;

/// Fields of one head; more get 431. Proxies add a dozen, browsers some twenty.
pub const HEADERS_MAX: usize = 100;

/// The heads that a core keeps as they were parsed: the lengths of a metric vary by a byte or two,
/// and an agent or a proxy or two may differ in the rest. Each is compared before a new head is
/// parsed.
pub const HEAD_CACHE_ENTRIES: usize = 4;

/// Default of `--max-body`: 1 MiB after inflation holds 10,000 events of 100 bytes.
pub const BODY_BYTES_DEFAULT: usize = 1024 * 1024;

/// Members of a gzip body (RFC 1952, section 2.2), and frames of a zstd body (RFC 8878, section 3);
/// each costs some microseconds to set up.
pub const MEMBERS_MAX: usize = 16;

/// Blocks of a zstd body: a full one holds 128 KiB, so the largest body takes 512. One with tables
/// of its own costs 40 microseconds, however little it holds.
pub const ZSTD_BLOCKS_MAX: usize = 1024;

/// Blocks of a gzip or deflate body. Honest ones are of kilobytes, but a client that flushes after
/// each event writes two for it. One with tables of its own costs more than a microsecond, and
/// takes as little as 11 bytes.
pub const DEFLATE_BLOCKS_MAX: usize = 24_096;

/// A chunk-size line: 16 hex digits and a short extension. RFC 9112, section 7.1.1, lets a server
/// limit extensions.
pub const CHUNK_LINE_BYTES_MAX: usize = 64;

/// Trailer fields of a chunked body are read and dropped; more than this is an attack.
pub const TRAILER_BYTES_MAX: usize = 4 * 1024;

/// Bytes that a core receives in one system call: a batch of 1,000 events, with room. The core owns
/// one such buffer, whatever its number of connections.
pub const RECEIVE_BYTES: usize = 256 * 1024;

/// Bytes of TLS that a core receives in one system call, beside those of a record or a message of
/// the handshake that were not whole.
pub const TLS_RECEIVE_BYTES: usize = 64 * 1024;

/// Bytes of a record of TLS (RFC 5246, section 6.2.3), or of a message of a handshake in several
/// of them, that may wait for their rest: as long a chain of certificates has no honest client.
pub const TLS_PENDING_BYTES_MAX: usize = 80 * 1024;

/// Steps of TLS handshakes that a core takes in one turn, of which a handshake has one or two.
/// Each is some hundred microseconds of arithmetic; further ones wait for the next turn, so that a
/// storm of them leaves requests their share.
pub const HANDSHAKE_STEPS_PER_TURN: usize = 4;

/// The time after which a connection with half a handshake may be closed for a new one, or when
/// the server closes: an honest client a continent away needs half of that.
pub const HANDSHAKE_GRACE_MS: u64 = 1_000;

/// Unsent answer bytes of one connection after which its further requests wait.
pub const OUT_BYTES_MAX: usize = 256 * 1024;

/// Unsent answer bytes of one connection that the kernel holds; it takes twice that in memory. By
/// default it takes megabytes from a core for a peer that does not read, and the core does not
/// learn that nothing moves. A peer 100 ms away still gets half a megabyte a second.
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes of one connection that the kernel receives ahead of the core; it takes up to twice that in
/// memory. By default it takes megabytes for a peer whose answers wait. A peer 100 ms away still
/// sends more than half a megabyte a second.
pub const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

/// The most memory of the kernel for one connection, both ways: it counts as the process's memory.
pub const KERNEL_BYTES_PER_CONNECTION: usize = 2 * (SEND_BUFFER_BYTES + RECEIVE_BUFFER_BYTES);

/// Requests of one connection that are answered in one turn; the rest waits for its next turn.
pub const PIPELINED_REQUESTS_PER_TURN: usize = 256;

/// The share of a turn that the requests of one connection, and all costly requests together, may
/// cost: a plain body of so many bytes, or as many events as go with them. The request that reaches
/// it is the last. It is a millisecond or so, for which others wait; only a single larger request
/// takes longer.
pub const SHARE_BYTES_MAX: usize = 128 * 1024;

/// The cost of a request, whatever is in it.
pub const REQUEST_COST_BYTES: usize = SHARE_BYTES_MAX / PIPELINED_REQUESTS_PER_TURN;

/// Requests of one connection that are answered in a turn whose share is spent: a full turn of
/// connections with a full share each would be a quarter of a second.
pub const REQUESTS_PER_SPENT_TURN: usize = 16;

/// The least cost of a body in a coding: the decoder is set up for each of its members.
pub const CODED_COST_BYTES: usize = 8 * 1024;

/// The cost of a block of a gzip or deflate body: the tables that it may bring.
pub const DEFLATE_BLOCK_COST_BYTES: usize = 192;

/// The cost of a block of a zstd body, which has more of them.
pub const ZSTD_BLOCK_COST_BYTES: usize = 5 * 1024;

/// A plain body of at most so many bytes, some dozen events, never waits for a share.
pub const CHEAP_BYTES_MAX: usize = 4 * 1024;

/// File descriptors kept free of client connections: store, logs, connections over the limit.
pub const RESERVED_FDS: usize = 64;

/// File descriptors of a core beside those: its listener, its epoll, its waker, and its own
/// reserved places.
pub const FDS_PER_CORE: usize = 3 + RESERVED_PER_CORE;

/// Reserved places for connections over the limit, which get one answer each, so that probes get
/// theirs; the oldest of them makes room for the next. As many more are rejected at a time, with a
/// 503 that they did not ask for; further ones are closed.
pub const RESERVED_CONNECTIONS: usize = 16;

/// Reserved places that a core has whatever the others have taken: a probe comes to any of them.
pub const RESERVED_PER_CORE: usize = 4;

/// The time after which a connection that has not sent anything may be closed for a new one, or
/// when the server closes: until then, its first request may be on its way.
pub const FIRST_REQUEST_GRACE_MS: u64 = 100;

/// The budget of a core's buffer pool at the default `--max-body`: bytes of half requests and
/// unsent answers. No client has shown a token before its request is whole.
pub const POOL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Events that are taken from the kernel at once.
pub const EVENTS_PER_TURN: usize = 256;

/// The time for which input is discarded after an error that ends a connection: closing at once
/// would reset the connection and drop the answer.
pub const LINGER_MS: u64 = 1_000;

/// The grace of a connection that has reached its age. It ends with an answer that says so, also if
/// it will be too old at its next request; without a request for this long it is closed without an
/// answer. So it lives for its age, a tenth more by jitter, this and a tick of the timers at most.
pub const AGE_GRACE_MS: u64 = 500;

// Some connections may wait for the rest of a large body at once.
const _: () = assert!(16 * (HEAD_BYTES_MAX + BODY_BYTES_DEFAULT) <= POOL_BYTES_MAX);
// What is received of TLS fits, when it is decrypted, where plain bytes are received.
const _: () = assert!(TLS_RECEIVE_BYTES + TLS_PENDING_BYTES_MAX <= RECEIVE_BYTES);
// A whole head fits into one receive, and the request line into the head.
const _: () = assert!(HEAD_BYTES_MAX <= RECEIVE_BYTES);
const _: () = assert!(REQUEST_LINE_BYTES_MAX < HEAD_BYTES_MAX);
const _: () = assert!(RESERVED_CONNECTIONS * 2 <= RESERVED_FDS);
// A share has room for every request that does not wait for one, and ends before the largest body
// that is taken by default, and before the most events.
const _: () = assert!(CHEAP_BYTES_MAX < SHARE_BYTES_MAX);
const _: () = assert!(REQUESTS_PER_SPENT_TURN < PIPELINED_REQUESTS_PER_TURN);
const _: () = assert!(SHARE_BYTES_MAX <= BODY_BYTES_DEFAULT);
