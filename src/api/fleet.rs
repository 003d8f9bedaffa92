//! Answers of the whole fleet: `?scope=fleet`.
//!
//! A question goes to every replica, and each tells its part, which the one that was asked merges.
//! Every such answer says which members there are, and whether all of them have told theirs. The
//! files below have a route each: what a member tells, and how the parts become one answer. A
//! [`question`] goes out by [`asking`]; the [`view`] is what all answers say of the members.

pub(super) mod analyze;
pub(super) mod anomalies;
mod asking;
pub(super) mod device;
pub(super) mod devices;
mod history;
mod question;
pub mod responder;
pub(super) mod stats;
mod view;
