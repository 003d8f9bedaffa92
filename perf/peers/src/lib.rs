//! The common parts of the peers: the parsing of a body, the answer, and the listening socket.
//!
//! Each program under `bin/` does the same small job on another HTTP server: it parses the metrics
//! of a POST, looks no further at them, keeps nothing, and answers 202 with their count. That is
//! less than `corepulse` does for a request, so a peer that costs more costs it for HTTP alone.

pub mod hyper_job;
pub mod listen;
pub mod metric;
