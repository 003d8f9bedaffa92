//! The paths that a file names: `use` trees flattened, and inline ones such as `time::now()`.

use super::source::behind_item;
use super::tokens::Token;

/// One path, from its first segment on; `line` is where it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPath {
    pub segments: Vec<String>,
    pub line: usize,
    /// `mod` blocks of the same file around it: how many `super` stay inside the file.
    pub inline_depth: usize,
}

impl NamedPath {
    pub fn starts_with(&self, prefix: &[&str]) -> bool {
        self.segments.len() >= prefix.len() && self.segments.iter().zip(prefix).all(|(a, b)| a == b)
    }

    pub fn ends_with(&self, suffix: &[&str]) -> bool {
        let skipped = self.segments.len().saturating_sub(suffix.len());
        self.segments.len() >= suffix.len()
            && self.segments[skipped..].iter().zip(suffix).all(|(a, b)| a == b)
    }

    pub fn text(&self) -> String {
        self.segments.join("::")
    }
}

/// Every path of at least two segments, and every import whatever its length.
pub fn paths(tokens: &[Token<'_>]) -> Vec<NamedPath> {
    let mut found = Vec::new();
    // Behind which token each open inline module ends.
    let mut modules: Vec<usize> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        modules.retain(|&end| at < end);
        let token = tokens[at];
        let next = tokens.get(at + 1).map_or("", |token| token.text);
        if token.text == "mod" && tokens.get(at + 2).is_some_and(|open| open.text == "{") {
            modules.push(behind_item(tokens, at));
            at += 3;
        } else if token.text == "use" && starts_import(tokens, at) {
            let from = found.len();
            at = tree(tokens, at + 1, &[], &mut found);
            for path in &mut found[from..] {
                path.inline_depth = modules.len();
            }
        } else if token.is_word() && next == "::" {
            let end = inline_end(tokens, at);
            found.push(NamedPath {
                segments: words(&tokens[at..end]),
                line: token.line,
                inline_depth: modules.len(),
            });
            at = end;
        } else {
            at += 1;
        }
    }
    found
}

/// `use<'a>` in a return type is no import.
fn starts_import(tokens: &[Token<'_>], at: usize) -> bool {
    tokens.get(at + 1).is_some_and(|token| token.text != "<")
}

fn inline_end(tokens: &[Token<'_>], start: usize) -> usize {
    let mut end = start + 1;
    while tokens.get(end).is_some_and(|token| token.text == "::")
        && tokens.get(end + 1).is_some_and(Token::is_word)
    {
        end += 2;
    }
    end
}

fn words(tokens: &[Token<'_>]) -> Vec<String> {
    tokens.iter().filter(|token| token.is_word()).map(|token| token.text.to_owned()).collect()
}

/// One import tree from `at`; returns where it ended. A final `self` names the prefix, `*` all.
fn tree(tokens: &[Token<'_>], at: usize, prefix: &[String], found: &mut Vec<NamedPath>) -> usize {
    let mut segments = prefix.to_vec();
    let line = tokens.get(at).map_or(0, |token| token.line);
    let mut at = at;
    while let Some(token) = tokens.get(at) {
        match token.text {
            "::" => at += 1,
            "{" => return group(tokens, at, &segments, found),
            "as" => at += 2,
            "self" if !segments.is_empty() => at += 1,
            _ if token.is_word() || token.text == "*" => {
                segments.push(token.text.to_owned());
                at += 1;
            }
            _ => break,
        }
    }
    if !segments.is_empty() {
        found.push(NamedPath { segments, line, inline_depth: 0 });
    }
    at
}

fn group(tokens: &[Token<'_>], at: usize, prefix: &[String], found: &mut Vec<NamedPath>) -> usize {
    let mut at = at + 1;
    while let Some(token) = tokens.get(at) {
        match token.text {
            "}" => return at + 1,
            "," => at += 1,
            _ => {
                let end = tree(tokens, at, prefix, found);
                // What is no import tree cannot be compiled either, but must not hang the check.
                at = end.max(at + 1);
            }
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::tokens;

    fn found(text: &str) -> Vec<String> {
        paths(&tokens(text)).iter().map(NamedPath::text).collect()
    }

    #[test]
    fn import_trees_are_flattened() {
        assert_eq!(
            found("pub(crate) use crate::{a, b::{self, c as d, e::*}, self as f};\nuse ::g;"),
            ["crate::a", "crate::b", "crate::b::c", "crate::b::e::*", "crate", "g"]
        );
    }

    #[test]
    fn inline_paths_are_found_once() {
        assert_eq!(
            found("let x: crate::a::B<c::D> = std::mem::take(&mut e.f); G::<u8>::new(); h"),
            ["crate::a::B", "c::D", "std::mem::take", "G"]
        );
    }

    #[test]
    fn inline_modules_are_counted() {
        let text = "use super::a; mod b { use super::c; mod d { fn e() { super::f() } } } super::g";
        let depths: Vec<usize> = paths(&tokens(text)).iter().map(|p| p.inline_depth).collect();
        assert_eq!(depths, [0, 1, 2, 0]);
    }
}
