//! percore: a thread-per-core HTTP/1.1 server engine.
//!
//! One thread per core runs one [`event_loop`], which has an epoll, a listener, its connections and
//! a [`Handler`] of its own. A handler is sans-IO: it gets a whole request, and answers at once, or
//! later from another thread. The engine brings the sockets, strict HTTP/1.1, deadlines, limits and
//! an orderly shutdown.
//!
//! The files in the order of the data flow: [`listener`] opens the sockets at a [`listen`] address;
//! [`cores`] starts the event loops, on processors that [`placement`] chooses, as one [`engine`].
//! An accepted socket is assigned to a core by the [`balancer`] and admitted by [`admission`]
//! control. In the [`connection_table`] of its core it is a [`connection`], served in a
//! [`context`] with buffers of the [`buffer_pool`], and has its deadlines in [`timers`]. The
//! [`tls`] may stand between it and its stream. The [`inbox`] brings answers from other threads, an
//! [`observer`] counts, [`server_state`] is what all cores share, and [`shutdown`] ends them;
//! [`systemd`] is told. [`http`] is the protocol, without sockets.
//! `may_minihttp`, a feature, is a second engine for the same handlers, to compare with.
//!
//! [`Handler`]: http::handler::Handler

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod admission;
pub mod balancer;
pub mod buffer_pool;
#[expect(clippy::disallowed_methods, reason = "the one that asks for the time")]
pub mod clock;
pub mod connection;
pub mod connection_table;
pub mod context;
#[expect(clippy::disallowed_methods, reason = "starts threads")]
pub mod cores;
pub mod descriptors;
#[expect(clippy::disallowed_types, reason = "keeps threads")]
pub mod engine;
pub mod epoll;
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
mod named_enum;
pub mod network;
pub mod networks;
pub mod observer;
pub mod offline;
pub mod peer_rules;
pub mod placement;
pub mod proxy_header;
pub mod server_state;
pub mod shutdown;
pub mod socket;
pub mod sync;
#[expect(clippy::disallowed_types, reason = "sends from a socket")]
pub mod systemd;
pub mod timers;
pub mod tls;
pub mod turn_clock;
