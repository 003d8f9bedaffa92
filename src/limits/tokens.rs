//! Limits of tokens, and of requests without the right one.

/// Tokens of a file: one for each device of a large fleet.
pub const TOKENS_MAX: usize = 100_000;

/// Bytes of a file of tokens.
pub const TOKEN_FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Mistakes of a file of tokens that are told one by one.
pub const TOKEN_MISTAKES_MAX: usize = 100;

/// Bytes of the name of a token.
pub const TOKEN_NAME_BYTES_MAX: usize = 64;

/// Failures of a peer to show the token that is needed, in [`FAILURES_SECONDS`]: past that it is
/// told to wait.
pub const FAILURES_MAX: u32 = 30;

/// See [`FAILURES_MAX`].
pub const FAILURES_SECONDS: u32 = 30;

/// Different wrong tokens of a peer in [`GUESSES_SECONDS`]: past that its tokens are not looked at
/// for a while. Somebody who types one needs a few, and who guesses needs more than there is time.
pub const GUESSES_MAX: u32 = 30;

/// See [`GUESSES_MAX`].
pub const GUESSES_SECONDS: u32 = 60;

/// Addresses whose failures are known: some 1.3 MiB.
pub const GUESSING_PEERS: usize = 4_096;
