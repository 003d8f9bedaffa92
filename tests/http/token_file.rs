//! A file of tokens for one test.

use std::path::{Path, PathBuf};

use corepulse::config::token_digest::TokenDigest;

/// A file, which is removed when it goes out of scope.
pub(crate) struct TokenFile(PathBuf);

impl TokenFile {
    /// Writes a file for the test of this name: a line for each token, followed by its roles,
    /// prefix and limit.
    pub(crate) fn new(test: &str, lines: &[(&str, &str)]) -> Self {
        let name = format!("corepulse-tokens-{}-{test}", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(lines);
        file
    }

    /// Replaces what it holds.
    pub(crate) fn write(&self, lines: &[(&str, &str)]) {
        let line = |(number, (token, rest)): (usize, &(&str, &str))| {
            format!("name-{number} {} {rest}\n", TokenDigest::of(token.as_bytes()))
        };
        self.write_text(&lines.iter().enumerate().map(line).collect::<String>());
    }

    /// Replaces what it holds by any text.
    pub(crate) fn write_text(&self, text: &str) {
        // As operators and their tools do: nobody sees half of it.
        let new = self.0.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &self.0).unwrap();
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(Path::new(&self.0));
    }
}
