//! Threads and sockets: the engines that carry requests to a handler and answers back.
//!
//! [`choice`] is which of two engines serves. Ours is [`cores`], which starts and ends one loop of
//! [`percore`] each, over [`connections`], each of which is a [`connection`] that is [`lent`] the
//! core's buffers and has its deadlines in [`timers`]. The other, to compare with, is
//! `may_minihttp`. [`listener`] opens the ports, [`mailbox`] brings answers from other threads,
//! [`meter`] counts, [`drain`] is the way to the end, and [`placement`] says on which processors,
//! of the [`means`] that this machine has. [`healthcheck`] asks a server from outside.

pub mod buffers;
pub mod choice;
pub mod connection;
pub mod connections;
pub mod cores;
pub mod crew;
pub mod descriptors;
pub mod drain;
pub mod healthcheck;
pub mod lent;
pub mod listener;
pub mod mailbox;
#[cfg(feature = "may-minihttp")]
pub mod may_minihttp;
pub mod means;
pub mod meter;
pub mod percore;
pub mod placement;
pub mod timers;
