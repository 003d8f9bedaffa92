//! The program as a process: its flags, its log, its signals, its end, and what the documents say.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

#[path = "../http/in_process.rs"]
mod in_process;
#[path = "../http/token_file.rs"]
mod token_file;

mod clients;
mod command_line;
mod configuration;
mod documents;
mod listening;
mod replay;
mod signals;
mod stopping;
mod text_log;
mod tls;
mod tokens;
mod top;
mod warnings;
