//! Windows that move: a device has one, in the replica that hears it.
//!
//! ```text
//! core ─ a device without its window ─▶ windows ─ claims, copies, letters ─▶ Redis
//!                                         ▲  ▲ ─ copies of others ───────────┘
//!                              fleet-mail ┘  └─ the cells of the instance: adopt, export, save
//! ```
//!
//! A [`mover`] decides; what it says and reads is in [`note`], [`envelope`] and [`keys`]. It works
//! on the [`cells`] of its instance, which are its analytics, and judges by a [`roster`] who lives.
//! A [`thread`] runs it.

pub mod analytics_cells;
mod cells;
mod claim;
mod envelope;
pub mod figures;
mod keys;
mod mover;
mod note;
mod outbox;
mod pursuit;
mod roster;
mod sample;
mod taken;
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "starts a thread")]
pub(super) mod thread;

pub(super) use note::LETTER;

#[cfg(test)]
mod simulation;
