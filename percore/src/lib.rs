//! percore: a thread-per-core HTTP/1.1 server engine.
//!
//! One epoll loop per core, each with a listener and a [`Handler`] of its own. A handler is sans-IO:
//! a whole request in, an answer out, at once or later from another thread. The engine brings the
//! sockets, strict HTTP/1.1, deadlines, limits and an orderly end.
//!
//! [`cores`] starts and ends one [`event_loop`] for each core, over [`connections`], each of which is
//! a [`connection`] that is [`lent`] the core's buffers and has its deadlines in [`timers`].
//! [`listener`] opens the ports that [`listen`] names, [`mailbox`] brings answers from other threads,
//! an [`observer`] counts, [`drain`] is the way to the end, and [`placement`] says on which
//! processors. [`http`] is the protocol, without sockets. `may_minihttp`, a feature, is a second
//! engine for the same handlers, to compare with.
//!
//! [`Handler`]: http::handler::Handler

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod balancer;
pub mod buffer_pool;
#[expect(clippy::disallowed_methods, reason = "the one that asks for the time")]
pub mod clock;
pub mod connection;
pub mod connection_table;
pub mod context;
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "starts threads")]
pub mod cores;
pub mod descriptors;
pub mod event_loop;
pub mod http;
pub mod inbox;
pub mod limits;
pub mod listen;
#[expect(clippy::disallowed_types, reason = "opens sockets")]
pub mod listener;
#[cfg(feature = "may-minihttp")]
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "starts threads, keeps sockets"
)]
pub mod may_minihttp;
pub mod observer;
pub mod placement;
pub mod shutdown;
pub mod sync;
pub mod timers;
pub mod turn_clock;
