//! The format of the flag that names proxies.

use std::sync::Arc;

use percore::networks::Networks;

use super::formats::{Format, NOT_SET};

/// The networks of proxies, or none.
pub(super) struct NetworkList;

impl Format for NetworkList {
    type Value = Option<Arc<Networks>>;

    fn parse(&self, text: &str) -> Result<Option<Arc<Networks>>, String> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        Networks::parse(text).map(|networks| Some(Arc::new(networks))).map_err(|wrong| {
            format!(
                "expected addresses, networks such as 10.0.0.0/8 or 2001:db8::/32 without bits \
                 behind their length, or unix, with commas between them, found {wrong:?}"
            )
        })
    }

    fn print(&self, value: &Option<Arc<Networks>>) -> String {
        value.as_ref().map_or(NOT_SET.to_owned(), ToString::to_string)
    }
}
