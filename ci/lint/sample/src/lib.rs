//! Declares the modules.
pub mod api;
pub mod extra;
pub mod http;
pub mod limits;
mod store;
pub use crate::api::Route;
