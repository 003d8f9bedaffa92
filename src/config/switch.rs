//! The format of flags that are on or off.

use super::formats::Format;

/// Something that is on or off.
pub(super) struct Switch;

impl Format for Switch {
    type Value = bool;

    fn parse(&self, text: &str) -> Result<bool, String> {
        match text.trim() {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(format!("expected on or off, found {text:?}")),
        }
    }

    fn print(&self, value: &bool) -> String {
        if *value { "on" } else { "off" }.to_owned()
    }
}
