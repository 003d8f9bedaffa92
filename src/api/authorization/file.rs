//! The file of tokens, read again.

use std::path::PathBuf;
use std::sync::Arc;

use super::tokens::Access;
use crate::config::token_file::{self, Role};
use crate::reload::Reload;

/// The file, and the tokens that are read from it.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    access: Arc<Access>,
}

impl TokenFile {
    /// Returns the file at a path, whose tokens are shared here.
    pub const fn new(path: PathBuf, access: Arc<Access>) -> Self {
        Self { path, access }
    }
}

impl Reload for TokenFile {
    fn name(&self) -> &'static str {
        "tokens"
    }

    fn reload(&mut self) -> Result<String, Vec<String>> {
        let lines = token_file::read(&self.path)?;
        let (number, table) = (lines.len(), self.access.replace(lines)?);
        let count = |role: Role| format!("{} {}", role.name(), table.count(role));
        let path = self.path.display();
        Ok(format!(
            "{number} tokens of {path}; with those of flags, {}",
            Role::ALL.map(count).join(", ")
        ))
    }
}
