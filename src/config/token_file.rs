//! The file of tokens: a line each, with a name, the token's SHA-256, its roles, the prefix of the
//! device ids that it may write, and its limit.
//!
//! ```text
//! # name  sha256  roles  prefix  limit
//! gate-7  5e88…d8  write,read  dev-  100:1,2000:60
//! ```
//!
//! The file has no token in it, and a mistake does not repeat a word of a line whose second word is
//! no digest: it may be the token itself.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::rate_limit::RateLimit;
use super::token_digest::TokenDigest;
use crate::limits::{
    DEVICE_ID_BYTES_MAX, TOKEN_FILE_BYTES_MAX, TOKEN_MISTAKES_MAX, TOKEN_NAME_BYTES_MAX, TOKENS_MAX,
};

percore::named_enum! {
    /// The right of a token.
    pub enum Role {
        /// To post metrics, and to look up those that it may have posted.
        Write = "write",
        /// To read what is known of metrics.
        Read = "read",
        /// To see the pages for performance engineers.
        Admin = "admin",
    }
}

/// The roles of a token, at least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Returns one role alone.
    pub const fn of(role: Role) -> Self {
        Self(1 << role.index())
    }

    /// Returns true if a role is among them.
    pub const fn has(self, role: Role) -> bool {
        self.0 & Self::of(role).0 != 0
    }

    /// Returns these roles and others.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Returns those that others do not have.
    pub fn without(self, others: Self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role) && !others.has(*role))
    }

    /// Reads names with commas between them; `None` if any is no role, or stands there twice.
    pub fn parse(text: &str) -> Option<Self> {
        text.split(',').try_fold(Self::default(), |roles, name| {
            let role = Role::ALL.into_iter().find(|role| role.name() == name)?;
            (!roles.has(role)).then(|| roles.with(Self::of(role)))
        })
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.without(Self::default()).map(Role::name).collect();
        out.write_str(&names.join(","))
    }
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLine {
    /// The name, which may stand in the log. Several tokens may have the same.
    pub name: String,
    /// The digest of the token.
    pub sha256: TokenDigest,
    /// Its roles.
    pub roles: Roles,
    /// The prefix of the device ids that it may write; `None` lets it write any.
    pub prefix: Option<String>,
    /// The limit of its events.
    pub limit: Option<RateLimit>,
}

impl fmt::Display for TokenLine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, sha256, roles, prefix, limit } = self;
        let prefix = prefix.as_deref().unwrap_or("*");
        let limit = limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
        write!(out, "{name} {sha256} {roles} {prefix} {limit}")
    }
}

/// Reads a file of tokens.
///
/// # Errors
///
/// Every mistake, with the number of its line; or why the file cannot be read.
pub fn read(path: &Path) -> Result<Vec<TokenLine>, Vec<String>> {
    let mut bytes = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(TOKEN_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Err(vec![format!("{}: {error}", path.display())]);
    }
    if bytes.len() > TOKEN_FILE_BYTES_MAX {
        return Err(vec![format!("{}: longer than 64 MiB", path.display())]);
    }
    parse(&bytes).map_err(|mut mistakes| {
        let more = mistakes.len().saturating_sub(TOKEN_MISTAKES_MAX);
        mistakes.truncate(TOKEN_MISTAKES_MAX);
        if more > 0 {
            mistakes.push(format!("and {more} mistakes more"));
        }
        mistakes.iter().map(|mistake| format!("{}: {mistake}", path.display())).collect()
    })
}

/// Reads the text of a file.
fn parse(bytes: &[u8]) -> Result<Vec<TokenLine>, Vec<String>> {
    let mut mistakes = Vec::new();
    let mut lines: Vec<TokenLine> = Vec::new();
    let mut numbers = HashMap::new();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let Ok(text) = std::str::from_utf8(line) else {
            mistakes.push(format!("line {number}: expected UTF-8"));
            continue;
        };
        match parse_line(text) {
            Ok(None) => {}
            Ok(Some(line)) => match numbers.insert(line.sha256, number) {
                Some(first) => {
                    mistakes.push(format!("line {number}: the same token as in line {first}"));
                }
                None => lines.push(line),
            },
            Err(found) => {
                mistakes.extend(found.iter().map(|mistake| format!("line {number}: {mistake}")));
            }
        }
    }
    if mistakes.is_empty() && lines.is_empty() {
        mistakes.push("expected a token, found no line with one".to_owned());
    }
    if lines.len() > TOKENS_MAX {
        mistakes.push(format!("expected at most {TOKENS_MAX} tokens, found {}", lines.len()));
    }
    if mistakes.is_empty() { Ok(lines) } else { Err(mistakes) }
}

/// Reads a line; `None` if it is blank or a comment.
fn parse_line(text: &str) -> Result<Option<TokenLine>, Vec<String>> {
    // A comment may follow the words as well: none of them begins like one.
    let words = text.split_ascii_whitespace().take_while(|word| !word.starts_with('#'));
    let words: Vec<&str> = words.collect();
    let [name, sha256, roles, prefix, limit] = *words else {
        if words.is_empty() {
            return Ok(None);
        }
        let found = words.len();
        return Err(vec![format!("expected NAME SHA256 ROLES PREFIX LIMIT, found {found} words")]);
    };
    let mut mistakes = Vec::new();
    if !is_name(name) {
        mistakes
            .push(format!("name: expected 1 to {TOKEN_NAME_BYTES_MAX} of A-Z a-z 0-9 . _ : @ -"));
    }
    let sha256 = TokenDigest::from_hex(sha256);
    if sha256.is_none() {
        let expected = "sha256: expected 64 hexadecimal digits, as of printf %s TOKEN | sha256sum";
        mistakes.push(expected.to_owned());
    }
    let roles = Roles::parse(roles);
    if roles.is_none() {
        let expected = "roles: expected write, read or admin, or several with commas between them";
        mistakes.push(expected.to_owned());
    }
    if prefix != "*" && !is_prefix(prefix) {
        mistakes.push(format!(
            "prefix: expected * or 1 to {DEVICE_ID_BYTES_MAX} of A-Z a-z 0-9 . _ : -"
        ));
    }
    let parsed = if limit == "-" { Ok(None) } else { limit.parse::<RateLimit>().map(Some) };
    match &parsed {
        Err(_) if sha256.is_none() => {
            mistakes.push("limit: expected EVENTS:SECONDS such as 100:1, or -".to_owned());
        }
        Err(found) => mistakes.extend(found.lines().map(|mistake| format!("limit: {mistake}"))),
        Ok(_) => {}
    }
    match (sha256, roles, parsed) {
        (Some(sha256), Some(roles), Ok(limit)) if mistakes.is_empty() => {
            let prefix = (prefix != "*").then(|| prefix.to_owned());
            Ok(Some(TokenLine { name: name.to_owned(), sha256, roles, prefix, limit }))
        }
        _ => Err(mistakes),
    }
}

/// Returns true if a text may be the name of a token.
pub fn is_name(text: &str) -> bool {
    (1..=TOKEN_NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte))
}

/// Returns true if a device id may begin with a text.
pub fn is_prefix(text: &str) -> bool {
    (1..=DEVICE_ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHA: &str = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";

    fn mistakes(text: &str) -> Vec<String> {
        parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_line_is_read_as_it_is_written() {
        let written = format!("gate-7 {SHA} write,read dev- 100:1,2000:60");
        let upper = SHA.to_uppercase();
        for text in [
            written.clone(),
            format!("\u{feff}# tokens\n\n  \t\n{written}"),
            format!("\tgate-7\t {upper}  write,read dev- 100:1,2000:60 # since May\r\n#{written}"),
        ] {
            let lines = parse(text.as_bytes()).unwrap();
            assert_eq!(lines.len(), 1, "{text}");
            assert_eq!(lines[0].to_string(), written);
            assert_eq!(lines[0].sha256, TokenDigest::of(b"password"));
        }
        let others = format!("a {SHA} admin * -\na {} read,write,admin * 5:1\n", "0".repeat(64));
        let lines = parse(others.as_bytes()).unwrap();
        assert_eq!((lines[0].prefix.as_ref(), lines[0].limit), (None, None));
        assert!(lines[0].roles.has(Role::Admin) && !lines[0].roles.has(Role::Read));
        assert_eq!(lines[1].roles.to_string(), "write,read,admin");
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = format!(
            "a {SHA} write * -\n\nb {SHA} read * -\nc {SHA}\nd secret write,write {{}} x\n\
             /e {} wr ** 1:1,2:1\n",
            "1".repeat(64),
        );
        let expected = [
            "line 3: the same token as in line 1",
            "line 4: expected NAME SHA256 ROLES PREFIX LIMIT, found 2 words",
            "line 5: sha256: expected 64 hexadecimal digits, as of printf %s TOKEN | sha256sum",
            "line 5: roles: expected write, read or admin, or several with commas between them",
            "line 5: prefix: expected * or 1 to 128 of A-Z a-z 0-9 . _ : -",
            "line 5: limit: expected EVENTS:SECONDS such as 100:1, or -",
            "line 6: name: expected 1 to 64 of A-Z a-z 0-9 . _ : @ -",
            "line 6: roles: expected write, read or admin, or several with commas between them",
            "line 6: prefix: expected * or 1 to 128 of A-Z a-z 0-9 . _ : -",
            "line 6: limit: expected other seconds than those before, found \"2:1\"",
        ];
        assert_eq!(mistakes(&text), expected);
        for none in ["", "\n\n", "# a\n  # b"] {
            assert_eq!(mistakes(none), ["expected a token, found no line with one"]);
        }
        assert_eq!(parse(b"\xff\n").unwrap_err(), ["line 1: expected UTF-8"]);
    }

    /// Whoever has put a token in the place of its digest finds it neither on the terminal nor in
    /// the log.
    #[test]
    fn a_mistake_does_not_repeat_what_may_be_a_token() {
        for line in [
            "s3cret",
            "a s3cret write * -",
            "s3cret s3cret s3cret s3cret s3cret",
            "s3 \u{e9}s3cret",
        ] {
            assert!(!mistakes(line).concat().contains("s3cret"), "{line}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let found = read(Path::new("/nowhere/tokens")).unwrap_err();
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("/nowhere/tokens: No such file"), "{found:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_survived(
            text in "([a#]? ?[0-9a-f]{63,65} (write|read)(,write)? [*x] (-|1:1)\n|\\PC*\n){0,4}",
        ) {
            match parse(text.as_bytes()) {
                Ok(lines) => {
                    let written: String = lines.iter().map(|line| format!("{line}\n")).collect();
                    prop_assert_eq!(parse(written.as_bytes()), Ok(lines));
                }
                Err(mistakes) => prop_assert!(!mistakes.is_empty()),
            }
        }
    }
}
