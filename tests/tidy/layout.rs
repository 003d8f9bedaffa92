//! The direction of imports, the islands, and that each file is part of the program.

use super::paths::{NamedPath, paths};
use super::source::Source;
use super::tokens::Token;
use std::collections::BTreeSet;

/// The tables of `tests/tidy.rs` that say what may import what.
pub struct Layout {
    /// Top-level modules by row; a file imports only from rows below its own.
    pub rows: &'static [(u8, &'static [&'static str])],
    /// Imports inside one row that are allowed all the same: importer, imported.
    pub sideways: &'static [(&'static str, &'static str)],
}

impl Layout {
    fn row(&self, module: &str) -> Option<u8> {
        let holds = |(_, modules): &&(u8, &[&str])| modules.contains(&module);
        self.rows.iter().find(holds).map(|(row, _)| *row)
    }

    /// Every import of `source` that points sideways, upwards or to no row of the table.
    pub fn faults(&self, source: &Source) -> Vec<String> {
        let Some(module) = module_path(source) else {
            return Vec::new();
        };
        let Some(own) = module.first().cloned() else {
            // `lib.rs` declares the rows and belongs to none.
            return Vec::new();
        };
        let Some(own_row) = self.row(&own) else {
            return vec![source.fault(1, format!("`{own}` has no row in tests/tidy.rs"))];
        };
        let mut faults = Vec::new();
        for path in paths(&source.code()) {
            let Some(target) = target(&path, &module) else {
                continue;
            };
            let sideways = self.sideways.contains(&(own.as_str(), target.as_str()));
            match self.row(&target) {
                _ if target == own || sideways => {}
                Some(row) if row < own_row => {}
                Some(row) => faults.push(source.fault(
                    path.line,
                    format!("row {own_row} (`{own}`) imports `{target}` of row {row}"),
                )),
                None => faults.push(source.fault(
                    path.line,
                    format!("`{}`: `{target}` has no row in tests/tidy.rs", path.text()),
                )),
            }
        }
        faults
    }
}

/// `["http", "head"]` for `src/http/head.rs`, empty for `lib.rs`, `None` outside `src/`.
fn module_path(source: &Source) -> Option<Vec<String>> {
    let path = source.in_src()?.strip_suffix(".rs")?;
    if path == "lib" {
        return Some(Vec::new());
    }
    Some(path.split('/').map(str::to_owned).collect())
}

/// The top-level module of this crate that a path leads to; `None` for other crates' paths.
fn target(path: &NamedPath, module: &[String]) -> Option<String> {
    let mut rest = path.segments.as_slice();
    if matches!(rest.first()?.as_str(), "crate" | "corepulse") {
        return rest.get(1).cloned();
    }
    let supers = rest.iter().take_while(|part| *part == "super").count();
    if supers == 0 {
        return None;
    }
    rest = &rest[supers..];
    let upwards = supers.saturating_sub(path.inline_depth);
    match module.len().checked_sub(upwards) {
        // At the crate's root: the next segment is a top-level module.
        Some(0) => rest.first().cloned(),
        Some(_) => module.first().cloned(),
        None => Some("super".repeat(supers)),
    }
}

/// Marks files that are declared under `#[cfg(test)]`, and reports those that nobody declares.
pub fn reach(sources: &mut [Source]) -> Vec<String> {
    let (mut reached, mut tests) = (BTreeSet::new(), BTreeSet::new());
    let mut open: Vec<(String, bool)> = Vec::new();
    for source in sources.iter().filter(|source| is_root(&source.path)) {
        open.push((source.path.clone(), false));
    }
    while let Some((path, is_test)) = open.pop() {
        let Some(source) = sources.iter().find(|source| source.path == path) else {
            continue;
        };
        if !reached.insert(path) {
            continue;
        }
        if is_test {
            tests.insert(source.path.clone());
        }
        let code = declared(source, &source.code());
        let all = declared(source, &source.tokens());
        for file in all {
            let only_in_tests = is_test || !code.contains(&file);
            open.push((file, only_in_tests));
        }
    }
    let mut faults = Vec::new();
    for source in sources {
        source.is_test = tests.contains(&source.path);
        if !reached.contains(&source.path) {
            faults.push(source.fault(1, "a dead file: no `mod` line leads here"));
        }
    }
    faults
}

/// The files where a crate starts: cargo finds these by their place.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        [.., "src", "lib.rs" | "main.rs"] | [.., "src", "bin", _] => true,
        [.., "tests" | "examples" | "benches" | "fuzz_targets", file] => file.ends_with(".rs"),
        [.., "tests" | "examples" | "benches" | "bin", _, "main.rs"] => true,
        _ => path.ends_with("build.rs"),
    }
}

/// The files that the `mod name;` lines of a file stand for.
fn declared(source: &Source, tokens: &[Token<'_>]) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let stem = file.trim_end_matches(".rs");
    let below = if is_root(&source.path) { folder.to_owned() } else { format!("{folder}/{stem}") };
    let mut files = Vec::new();
    for (at, window) in tokens.windows(3).enumerate() {
        if window[0].text != "mod" || window[2].text != ";" {
            continue;
        }
        let before: Vec<&str> = tokens[at.saturating_sub(8)..at].iter().map(|t| t.text).collect();
        files.push(match path_attribute(&before) {
            Some(path) => format!("{folder}/{path}"),
            None => format!("{below}/{}.rs", window[1].text),
        });
    }
    files
}

/// The value of `#[path = "…"]` directly before a `mod` line, with or without a visibility.
fn path_attribute<'a>(before: &[&'a str]) -> Option<&'a str> {
    let start = before.windows(4).rposition(|w| w[..3] == ["[", "path", "="])?;
    let rest = &before[start + 5..];
    let is_near = rest.iter().all(|text| matches!(*text, "pub" | "(" | "crate" | ")"));
    is_near.then(|| before[start + 3].trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout {
        rows: &[(6, &["main"]), (3, &["api"]), (2, &["http", "store"]), (0, &["limits", "config"])],
        sideways: &[("config", "limits")],
    };

    fn faults(path: &str, text: &str) -> Vec<String> {
        LAYOUT.faults(&Source::new(path, text))
    }

    #[test]
    fn downwards_and_inside_the_folder_is_allowed() {
        let text = "use crate::{limits, http::head::{self, Head}};\nuse super::body;\n\
            fn a() { self::b(); super::super::limits::c(); std::mem::take(d) }\n\
            mod inner { use super::super::body; }";
        assert_eq!(faults("src/http/head.rs", text), Vec::<String>::new());
        assert_eq!(faults("src/config.rs", "use crate::limits::A;"), Vec::<String>::new());
        assert_eq!(faults("src/main.rs", "use corepulse::api;"), Vec::<String>::new());
        assert_eq!(faults("src/lib.rs", "pub use crate::api;"), Vec::<String>::new());
    }

    #[test]
    fn sideways_and_upwards_is_refused_however_it_is_written() {
        let expected = "src/http/head.rs:2: row 2 (`http`) imports `store` of row 2";
        for line in [
            "use crate::store;",
            "use crate::{limits, store::{Block}};",
            "fn a() { crate::store::put(); }",
            "use super::super::store::Block;",
            "mod b { use super::super::super::store; }",
        ] {
            assert_eq!(
                faults("src/http/head.rs", &format!("//! A.\n{line}")),
                [expected],
                "{line}"
            );
        }
        let root = faults("src/http.rs", "use super::api::route;");
        assert_eq!(root, ["src/http.rs:1: row 2 (`http`) imports `api` of row 3"]);
        let below = faults("src/limits.rs", "use crate::config::A;");
        assert_eq!(below, ["src/limits.rs:1: row 0 (`limits`) imports `config` of row 0"]);
    }

    #[test]
    fn a_module_without_a_row_is_refused() {
        assert_eq!(
            faults("src/extra.rs", ""),
            ["src/extra.rs:1: `extra` has no row in tests/tidy.rs"]
        );
        let unknown = faults("src/api.rs", "use crate::Thing;");
        assert_eq!(unknown, ["src/api.rs:1: `crate::Thing`: `Thing` has no row in tests/tidy.rs"]);
    }

    #[test]
    fn tests_may_import_what_they_like() {
        let text = "#[cfg(test)]\nmod tests { use crate::api::Route; }";
        assert_eq!(faults("src/http.rs", text), Vec::<String>::new());
    }

    #[test]
    fn files_are_reached_by_mod_lines_alone() {
        let mut sources = [
            Source::new("src/lib.rs", "pub mod http;\n// mod dead;"),
            Source::new("src/http.rs", "mod head;\n#[cfg(test)]\nmod samples;"),
            Source::new("src/http/head.rs", ""),
            Source::new("src/http/samples.rs", ""),
            Source::new("src/dead.rs", ""),
            Source::new("tests/api.rs", "#[path = \"support/server.rs\"]\nmod server;"),
            Source::new("tests/support/server.rs", ""),
        ];
        let faults = reach(&mut sources);
        assert_eq!(faults, ["src/dead.rs:1: a dead file: no `mod` line leads here"]);
        let tests: Vec<&str> =
            sources.iter().filter(|s| s.is_test).map(|s| s.path.as_str()).collect();
        assert_eq!(tests, ["src/http/samples.rs"]);
    }
}
