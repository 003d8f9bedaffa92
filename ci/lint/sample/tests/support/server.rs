//! Reached by its path alone.
