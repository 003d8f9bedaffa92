//! Threads and sockets: the engines that carry requests to a handler and answers back.
//!
//! [`percore`] runs one loop per core over [`connections`], each of which is a [`connection`]
//! that is [`lent`] the core's buffers and has its deadlines in [`timers`]; [`listener`] opens the
//! ports, [`mailbox`] brings answers from other threads, [`meter`] counts, [`drain`] ends it all in
//! order, and [`placement`] decides on which cores. `may_minihttp` is the second engine.

pub mod buffers;
pub mod connection;
pub mod connections;
pub mod crew;
pub mod descriptors;
pub mod drain;
pub mod lent;
pub mod listener;
pub mod mailbox;
#[cfg(feature = "may-minihttp")]
pub mod may_minihttp;
pub mod meter;
pub mod percore;
pub mod placement;
pub mod timers;
