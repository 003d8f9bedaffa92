//! A module without a row.
