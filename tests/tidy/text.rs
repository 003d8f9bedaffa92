//! What a file looks like: its size, its head, its name, and words that must not stay.

use super::source::{Source, behind_item};
use super::tokens::Token;

pub const FILE_LINES_MAX: usize = 400;
pub const FUNCTION_LINES_MAX: usize = 70;
pub const LINE_CHARS_MAX: usize = 100;

/// Names that say nothing about what a file holds.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "manager", "managers"];

/// In comments too. Spelt in two parts, or this file would break its own rule.
const LEFT_OVERS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];

/// Macros that are for a working copy only.
const UNFINISHED: &[&str] = &["dbg", "todo", "unimplemented"];

/// Lints that keep a peer's byte from ending a core: only ever allowed on the spot in `src/`.
const PANIC_LINTS: &[&str] =
    &["unwrap_used", "expect_used", "panic", "indexing_slicing", "string_slice", "unreachable"];

/// Ways around those lints that clippy does not know.
const ESCAPES: &[&str] = &["unwrap_unchecked", "get_unchecked", "unreachable_unchecked"];

/// Every rule for one Rust file.
pub fn faults(source: &Source) -> Vec<String> {
    let tokens = source.tokens();
    let mut faults = long_lines(source);
    faults.extend(head(source));
    faults.extend(name(source));
    faults.extend(size(source));
    faults.extend(functions(source, &tokens));
    faults.extend(words(source, &tokens));
    faults.extend(attributes(source, &tokens));
    faults
}

/// For scripts as well.
pub fn long_lines(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        let chars = line.chars().count();
        if chars > LINE_CHARS_MAX {
            let rule = format!("a line of {chars} characters, {LINE_CHARS_MAX} at most");
            faults.push(source.fault(at + 1, rule));
        }
    }
    faults
}

fn head(source: &Source) -> Option<String> {
    let has_head = source.text.starts_with("//! ");
    (!has_head).then(|| source.fault(1, "no `//!` head that says what the file is"))
}

fn name(source: &Source) -> Option<String> {
    let file = source.path.rsplit('/').next().unwrap_or(&source.path);
    let stem = file.trim_end_matches(".rs");
    if stem == "mod" {
        return Some(source.fault(1, "no `mod.rs`: name the file after its module"));
    }
    EMPTY_NAMES
        .contains(&stem)
        .then(|| source.fault(1, format!("`{stem}` is no noun of the domain")))
}

fn size(source: &Source) -> Option<String> {
    let lines = source.code_lines();
    (lines > FILE_LINES_MAX).then(|| {
        source.fault(1, format!("a file of {lines} lines without tests, {FILE_LINES_MAX} at most"))
    })
}

fn functions(source: &Source, tokens: &[Token<'_>]) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        // `fn` before anything but a name is a type.
        if pair[0].text != "fn" || !pair[1].is_word() {
            continue;
        }
        let end = behind_item(tokens, at).saturating_sub(1).max(at);
        let lines = tokens[end].line - pair[0].line + 1;
        if lines > FUNCTION_LINES_MAX {
            let name = pair[1].text;
            let rule = format!("`fn {name}` has {lines} lines, {FUNCTION_LINES_MAX} at most");
            faults.push(source.fault(pair[0].line, rule));
        }
    }
    faults
}

fn words(source: &Source, tokens: &[Token<'_>]) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        for word in LEFT_OVERS.iter().filter(|word| line.contains(**word)) {
            faults.push(source.fault(at + 1, format!("`{word}`: do it, or file an issue")));
        }
    }
    for pair in tokens.windows(2) {
        if pair[1].text == "!" && UNFINISHED.contains(&pair[0].text) {
            faults.push(source.fault(pair[0].line, format!("`{}!` stays out", pair[0].text)));
        }
        if ESCAPES.contains(&pair[0].text) {
            faults.push(source.fault(pair[0].line, format!("`{}` stays out", pair[0].text)));
        }
    }
    faults
}

fn attributes(source: &Source, tokens: &[Token<'_>]) -> Vec<String> {
    let mut faults = Vec::new();
    for at in 0..tokens.len() {
        let is_inner = tokens.get(at + 1).is_some_and(|token| token.text == "!");
        let open = at + 1 + usize::from(is_inner);
        let is_attribute =
            tokens[at].text == "#" && tokens.get(open).is_some_and(|token| token.text == "[");
        if !is_attribute {
            continue;
        }
        let end = super::tokens::behind_group(tokens, open);
        let inside: Vec<&str> = tokens[open..end].iter().map(|token| token.text).collect();
        let has = |word: &str| inside.contains(&word);
        let line = tokens[at].line;
        if has("ignore") {
            faults.push(source.fault(line, "a test that is not run is no test"));
        }
        let is_lint = inside.windows(2).any(|w| matches!(w[0], "allow" | "expect") && w[1] == "(");
        if is_lint && !has("reason") {
            faults.push(source.fault(line, "a lint is allowed without a `reason`"));
        }
        if is_lint && is_inner && source.in_src().is_some() && !source.is_test {
            let lints = PANIC_LINTS.iter().filter(|lint| has(lint));
            let rule = |lint| format!("`{lint}` may be allowed only where it is needed");
            faults.extend(lints.map(|lint| source.fault(line, rule(lint))));
        }
        if has("path") && inside.get(2) == Some(&"=") && source.in_src().is_some() {
            faults.push(source.fault(line, "a module lies where its name says"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        faults(&Source::new(path, text))
    }

    #[test]
    fn a_tidy_file_has_no_fault() {
        let text = "//! Head.\n// todo, dbg and unwrap are words.\n#[expect(a, reason = \"b\")]\n\
            fn c(d: fn(u8)) { e(\"todo!()\", todo) }\n";
        assert_eq!(found("src/http/head.rs", text), Vec::<String>::new());
    }

    #[test]
    fn sizes_are_held() {
        let wide = format!("//! Head.\n// {}\n", "é".repeat(98));
        let expected = "src/a.rs:2: a line of 101 characters, 100 at most";
        assert_eq!(found("src/a.rs", &wide), [expected]);
        let long = format!("//! Head.\n{}", "// a\n".repeat(400));
        let expected = "src/a.rs:1: a file of 401 lines without tests, 400 at most";
        assert_eq!(found("src/a.rs", &long), [expected]);
        let tested = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "// a\n".repeat(400));
        assert_eq!(found("src/a.rs", &tested), Vec::<String>::new());
        let body =
            |lines| format!("//! A.\n\nfn a()\nwhere B: C,\n{{\n{}}}\n", "b;\n".repeat(lines));
        assert_eq!(found("src/a.rs", &body(66)), Vec::<String>::new());
        assert_eq!(found("src/a.rs", &body(67)), ["src/a.rs:3: `fn a` has 71 lines, 70 at most"]);
    }

    #[test]
    fn heads_and_names_are_held() {
        assert_eq!(found("src/a.rs", "fn a() {}").len(), 1);
        assert_eq!(found("src/a/mod.rs", "//! A.").len(), 1);
        assert_eq!(found("perf/src/utils.rs", "//! A.").len(), 1);
    }

    #[test]
    fn nothing_unfinished_stays() {
        for line in [
            concat!("// TO", "DO: later"),
            concat!("// FIX", "ME"),
            "fn a() { dbg!(b); }",
            "fn a() { todo!() }",
            "fn a() { unimplemented!() }",
            "fn a() { b.unwrap_unchecked() }",
            "#[test]\n#[ignore]\nfn a() {}",
            "#[test]\n#[ignore = \"slow\"]\nfn a() {}",
            "#[allow(dead_code)]\nfn a() {}",
            "#![allow(\n    clippy::b,\n    clippy::c\n)]",
            "#[cfg_attr(test, allow(dead_code))]\nfn a() {}",
            "#![allow(clippy::unwrap_used, reason = \"lazy\")]",
            "#[path = \"b.rs\"]\nmod a;",
        ] {
            let faults = found("src/a.rs", &format!("//! A.\n{line}\n"));
            assert_eq!(faults.len(), 1, "{line}: {faults:?}");
            assert!(faults[0].starts_with("src/a.rs:"), "{faults:?}");
        }
    }
}
