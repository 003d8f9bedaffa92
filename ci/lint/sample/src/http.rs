//! Declares and re-exports its children, which is no import, and is in a circle with one.
pub mod body;
pub mod head;
#[cfg(test)]
mod tests;
pub use self::body::Body;
pub use head::{Head, Part};
pub struct A;
fn a() {
    body::decode();
}
