//! Names what it may: itself, rows below, its own in `pub(in crate::api)`, a word, a text.
use percore::Buffer;
pub(in crate::api) struct Block<'a>(&'a str);
pub fn put() {
    let quote = ('"', "crate::api::Route");
    // crate::api::Route
    self::Block("");
    #[cfg(test)]
    crate::api::Route;
}
#[cfg(all(test, unix))]
use crate::api;
#[cfg(test)]
#[expect(a, reason = "b")]
mod tests {
    use super::super::api::Route;
}
