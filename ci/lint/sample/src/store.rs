//! Names what it may: itself, rows below, its own in `pub(in crate::api)`, a word, a text.
use percore::Buffer;
pub(in crate::api) struct Block<'a>(&'a str);
pub struct Shared<T>([std::sync::Mutex<T>; 1]);
struct Kept {
    pub(crate) known: Mutex<u8>,
    added: Option<AtomicU64>,
}
fn borrowed(
    lock: &Mutex<u8>,
) -> Kept {
    Kept { known: Mutex::new(1), added: None }
}
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
