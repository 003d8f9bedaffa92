//! A module that another of its row may not import, nor one below.
use crate::{
    http::{self, head::Head as _, *},
    limits::{BODY_BYTES_MAX},
};
pub struct Route;
fn a() {
    crate::store::put();
}
