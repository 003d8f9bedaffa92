//! `corepulse top`: the state of the server on this machine, for a terminal.
//!
//! It asks `/stats` and `/devices?sort=z` once a second, as a page in a browser does. [`figures`]
//! reads the answers, [`text`] makes lines of them, and [`screen`] draws those with some colour.

mod figures;
mod screen;
mod text;

use std::io;

use thiserror::Error;

use crate::config::Config;
use figures::Figures;

/// The reason for which nothing can be shown.
#[derive(Debug, Error)]
pub enum TopError {
    /// The server could not be asked.
    #[error("{0}")]
    NoFigures(String),
    /// The terminal cannot be drawn on.
    #[error("the terminal: {0}")]
    Terminal(#[from] io::Error),
}

/// Returns the state of the server that was started with the same configuration, as plain text.
///
/// # Errors
///
/// It does not answer, or not as it should.
pub fn print_once(config: &Config) -> Result<String, TopError> {
    let figures = Figures::ask(config).map_err(TopError::NoFigures)?;
    let mut text = text::lines(&figures).join("\n");
    text.push('\n');
    Ok(text)
}

/// Shows that state until a key ends it.
///
/// # Errors
///
/// The terminal cannot be drawn on. A server that is away is shown as such.
pub fn watch(config: &Config) -> Result<(), TopError> {
    screen::show(|| Figures::ask(config)).map_err(TopError::Terminal)
}
