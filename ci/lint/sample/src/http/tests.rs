//! May import what it likes.
use crate::api::Route;
