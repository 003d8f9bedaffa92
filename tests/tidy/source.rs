//! Files of the checkout, read once: their text, their tokens and which of these are tests.

use super::tokens::{Token, behind_group, tokens};
use std::fs;
use std::ops::Range;
use std::path::Path;

/// One text file by its path in the checkout, with `/` between the parts.
pub struct Source {
    pub path: String,
    pub text: String,
    /// Declared under `#[cfg(test)]`: the whole file is a test.
    pub is_test: bool,
}

impl Source {
    /// A file that exists only in memory.
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), is_test: false }
    }

    /// Every token of the file.
    pub fn tokens(&self) -> Vec<Token<'_>> {
        tokens(&self.text)
    }

    /// The tokens outside `#[cfg(test)]`.
    pub fn code(&self) -> Vec<Token<'_>> {
        if self.is_test {
            return Vec::new();
        }
        let all = self.tokens();
        let regions = test_regions(&all);
        let is_code = |at: &usize| !regions.iter().any(|region| region.contains(at));
        (0..all.len()).filter(is_code).map(|at| all[at]).collect()
    }

    /// Lines that are no test: what the limit on files counts.
    pub fn code_lines(&self) -> usize {
        if self.is_test {
            return 0;
        }
        let all = self.tokens();
        let tests: usize = test_regions(&all)
            .iter()
            .map(|region| all[region.end - 1].line - all[region.start].line + 1)
            .sum();
        self.text.lines().count() - tests
    }

    /// `http/head.rs` for `src/http/head.rs`: how the tables name files.
    pub fn in_src(&self) -> Option<&str> {
        self.path.strip_prefix("src/")
    }

    /// One violation, in the form that editors and terminals make a link.
    pub fn fault(&self, line: usize, rule: impl std::fmt::Display) -> String {
        format!("{}:{line}: {rule}", self.path)
    }
}

/// The items behind `#[cfg(test)]` and `#[cfg(all(test, …))]`, attributes included.
fn test_regions(tokens: &[Token<'_>]) -> Vec<Range<usize>> {
    let mut regions: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(tokens, at) {
            let end = behind_item(tokens, at);
            regions.push(at..end);
            at = end;
        } else {
            at += 1;
        }
    }
    regions
}

fn is_test_attribute(tokens: &[Token<'_>], at: usize) -> bool {
    let texts = |length: usize| -> Vec<&str> {
        let end = tokens.len().min(at + length);
        tokens[at..end].iter().map(|token| token.text).collect()
    };
    texts(6) == ["#", "[", "cfg", "(", "test", ")"]
        || texts(8)[..] == ["#", "[", "cfg", "(", "all", "(", "test", ","]
}

/// Behind the attributes and the item they belong to: its block, or its semicolon.
pub fn behind_item(tokens: &[Token<'_>], mut at: usize) -> usize {
    while at < tokens.len() {
        match tokens[at].text {
            ";" => return at + 1,
            "{" => return behind_group(tokens, at),
            "(" | "[" => at = behind_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// Every file under `folder` whose name ends with one of `endings`, sorted by path.
pub fn files_under(root: &Path, folder: &str, endings: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    collect(root, folder, endings, &mut found);
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn collect(root: &Path, folder: &str, endings: &[&str], found: &mut Vec<Source>) {
    // A folder of a later issue may not exist yet.
    let Ok(entries) = fs::read_dir(root.join(folder)) else {
        return;
    };
    for entry in entries {
        let entry = entry.expect("a folder of the checkout can be listed");
        let name = entry.file_name().into_string().expect("names are UTF-8");
        let path = format!("{folder}/{name}");
        let is_folder = entry.file_type().expect("a file has a type").is_dir();
        if is_folder && name != "target" {
            collect(root, &path, endings, found);
        } else if !is_folder && endings.iter().any(|ending| name.ends_with(ending)) {
            let text = fs::read_to_string(entry.path()).expect("sources are UTF-8");
            found.push(Source::new(&path, &text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "//! Head.\nfn a() {}\n#[cfg(test)]\n#[allow(x, reason = \"y\")]\n\
        mod tests {\n    fn b() {}\n}\nfn c() {}\n";

    #[test]
    fn tests_are_cut_out_and_what_follows_them_stays() {
        let source = Source::new("src/a.rs", SAMPLE);
        let words: Vec<&str> = source.code().iter().map(|token| token.text).collect();
        assert_eq!(words.join(" "), "fn a ( ) { } fn c ( ) { }");
        assert_eq!(source.code_lines(), 3);
    }

    #[test]
    fn a_test_attribute_may_stand_before_an_import() {
        let source = Source::new("src/a.rs", "#[cfg(all(test, unix))]\nuse a::b;\nuse c::d;");
        assert_eq!(source.code().len(), 5);
    }
}
