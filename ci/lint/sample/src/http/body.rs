//! Is in a circle with its sibling, and by the word of it with its parent.
use crate::http::head::Part;
use std::body::x;
pub struct Body;
