//! `corepulse top`: the state of a server, for a terminal.
//!
//! It asks `/stats` and `/devices?sort=z` once a second, as a page in a browser does, of the whole
//! fleet if the server is in one. [`figures`]
//! reads the answers, [`text`] makes lines of them, and [`screen`] draws those with some colour.

mod figures;
mod screen;
mod text;

use std::io;

use thiserror::Error;

use crate::config::Config;
use crate::config::arguments::Scope;
use crate::config::server_url::ServerUrl;
use figures::Source;

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

/// Returns the state of the server at a URL, or of the one that was started with the same
/// configuration, or of its whole fleet, as plain text.
///
/// # Errors
///
/// It does not answer, or not as it should.
pub fn print_once(
    config: &Config,
    to: Option<ServerUrl>,
    scope: Option<Scope>,
) -> Result<String, TopError> {
    let figures = Source::new(config, to, scope).ask().map_err(TopError::NoFigures)?;
    let mut text = text::lines(&figures).join("\n");
    text.push('\n');
    Ok(text)
}

/// Shows that state until a key ends it.
///
/// # Errors
///
/// The terminal cannot be drawn on. A server that is away is shown as such.
pub fn watch(config: &Config, to: Option<ServerUrl>, scope: Option<Scope>) -> Result<(), TopError> {
    let mut source = Source::new(config, to, scope);
    screen::show(|| source.ask()).map_err(TopError::Terminal)
}
