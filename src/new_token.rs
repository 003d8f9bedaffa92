//! `corepulse token new`: a token from the system's randomness, and its line for the file.

use base64ct::{Base64UrlUnpadded, Encoding};

use crate::config::token_digest::{TokenDigest, random_bytes};
use crate::config::token_file::TokenLine;
use crate::config::token_options::NewTokenOptions;

/// The start of every token: scanners for secrets find one by it in a repository or a log.
const START: &str = "cp_";

/// A token and its line.
#[derive(Debug)]
pub struct NewToken {
    /// The token, for who is to bear it.
    pub token: String,
    /// Its line, for the server.
    pub line: TokenLine,
}

impl NewToken {
    /// Makes a token; `None` if the system has no randomness.
    pub fn make(options: &NewTokenOptions) -> Option<Self> {
        // 256 bits, which nobody guesses: a hash that is slow by design is for what people choose.
        let bytes = random_bytes()?;
        let token = format!("{START}{}", Base64UrlUnpadded::encode_string(&bytes));
        let sha256 = TokenDigest::of(token.as_bytes());
        let name = || format!("token-{}", sha256.to_string().split_at(8).0);
        let line = TokenLine {
            name: options.name.clone().unwrap_or_else(name),
            sha256,
            roles: options.role,
            prefix: options.prefix.0.clone(),
            limit: options.limit.0,
        };
        Some(Self { token, line })
    }
}
