//! Paths in macros count.
pub fn limits() {
    assert!(crate::http::A);
}
