//! The options of `corepulse token new`.

use clap::{Args, Subcommand};

use super::rate_limit::RateLimit;
use super::token_file::{Role, Roles, is_name, is_prefix};

/// The commands about tokens; the comments are the texts of `--help`.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum TokenCommand {
    /// Print a new token, and below it its line for the file of --tokens. The server keeps only the
    /// line: the token itself is shown this once
    New(NewTokenOptions),
}

/// The options; the comments are the texts of `--help`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct NewTokenOptions {
    /// Its name, which may stand in the log; one from its digest unless given
    #[arg(long, value_parser = name)]
    pub name: Option<String>,

    /// Its roles: write, read or admin, or several with commas between them
    #[arg(long, value_name = "ROLES", default_value = "write", value_parser = roles)]
    pub role: Roles,

    /// The prefix of the device ids that it may write, or * for any
    #[arg(long, default_value = "*", value_parser = prefix)]
    pub prefix: Prefix,

    /// The most events of all that it writes, such as 100:1,2000:60 for 100 in a second and 2,000
    /// in a minute, or - for no limit
    #[arg(long, default_value = "-", value_parser = limit)]
    pub limit: Limit,
}

/// A prefix of device ids, or none.
pub type Prefix = Wildcard<String>;

/// A limit of events, or none.
pub type Limit = Wildcard<RateLimit>;

/// A value, or the sign that stands for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wildcard<T>(pub Option<T>);

fn name(text: &str) -> Result<String, &'static str> {
    let expected = "expected 1 to 64 of A-Z a-z 0-9 . _ : @ -";
    if is_name(text) { Ok(text.to_owned()) } else { Err(expected) }
}

fn roles(text: &str) -> Result<Roles, String> {
    let names = || Role::NAMES.join(", ");
    Roles::parse(text).ok_or_else(|| format!("expected one or several of {}", names()))
}

fn prefix(text: &str) -> Result<Prefix, &'static str> {
    match text {
        "*" => Ok(Wildcard(None)),
        prefix if is_prefix(prefix) => Ok(Wildcard(Some(prefix.to_owned()))),
        _ => Err("expected * or 1 to 128 of A-Z a-z 0-9 . _ : -"),
    }
}

fn limit(text: &str) -> Result<Limit, String> {
    if text == "-" { Ok(Wildcard(None)) } else { text.parse().map(|limit| Wildcard(Some(limit))) }
}
