//! One door per outside crate: the files that may name it, checked both ways.

use super::paths::{NamedPath, paths};
use super::source::Source;
use super::tokens::Token;
use std::collections::BTreeSet;

/// A crate as `Cargo.toml` spells it, and the files under `src/` (or folders, with a final `/`)
/// that may name it.
pub type Door = (&'static str, &'static [&'static str]);

/// Part of the standard library that only some files may use.
pub struct Reserved {
    /// The module, such as `std::net`.
    pub path: &'static [&'static str],
    /// Items of it that are plain values and free for everyone.
    pub free: &'static [&'static str],
    /// Where the rest may be named.
    pub files: &'static [&'static str],
}

/// Whether `file` is one of `places` or lies in one of their folders.
pub fn is_in(file: &str, places: &[&str]) -> bool {
    places.iter().any(|place| file == *place || (place.ends_with('/') && file.starts_with(place)))
}

/// Crates that a file under `src/` names without being their door.
pub fn trespasses(source: &Source, doors: &[Door]) -> Vec<String> {
    let Some(file) = source.in_src() else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    for path in paths(&source.code()) {
        let door = doors.iter().find(|(name, _)| leads_to(&path, name));
        if let Some((name, places)) = door.filter(|(_, places)| !is_in(file, places)) {
            let rule = format!("`{name}` may be named only in {}", places.join(", "));
            faults.push(source.fault(path.line, rule));
        }
    }
    faults
}

/// Doors that nobody goes through, and dependencies that disagree with the table.
pub fn stale(sources: &[Source], doors: &[Door], manifest: &Source) -> Vec<String> {
    let dependencies = dependencies(&manifest.text);
    let mut faults = Vec::new();
    for (line, name) in &dependencies {
        if !doors.iter().any(|(door, _)| door == name) {
            faults.push(manifest.fault(*line, format!("`{name}` has no door in tests/tidy.rs")));
        }
    }
    for (name, places) in doors {
        if !dependencies.iter().any(|(_, dependency)| dependency == name) {
            let rule = format!("`{name}` has a door in tests/tidy.rs but is no dependency");
            faults.push(manifest.fault(1, rule));
        }
        for place in *places {
            let is_used = sources.iter().any(|source| {
                source.in_src().is_some_and(|file| is_in(file, &[place]))
                    && paths(&source.tokens()).iter().any(|path| leads_to(path, name))
            });
            if !is_used {
                let rule = format!("the door to `{name}` is not used; take it off tests/tidy.rs");
                faults.push(format!("src/{place}:1: {rule}"));
            }
        }
    }
    faults
}

fn leads_to(path: &NamedPath, name: &str) -> bool {
    path.segments[0] == name.replace('-', "_")
}

/// The names under `[dependencies]` and its kin, with their lines; not those of tests.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut is_open = false;
    for (at, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let is_target = section.starts_with("target.") && !section.contains("dev-dep");
            is_open =
                section == "dependencies" || (is_target && section.ends_with(".dependencies"));
            if let Some(name) = section.strip_prefix("dependencies.") {
                found.push((at + 1, name.to_owned()));
            }
        } else if let Some((name, _)) = line.split_once('=').filter(|_| is_open) {
            let name = name.split('.').next().unwrap_or(name);
            if !name.starts_with('#') {
                found.push((at + 1, name.trim().to_owned()));
            }
        }
    }
    found
}

/// Uses of a reserved part of the standard library elsewhere.
pub fn reserved(source: &Source, table: &[Reserved]) -> Vec<String> {
    let Some(file) = source.in_src() else {
        return Vec::new();
    };
    let found = paths(&source.code());
    let mut faults = Vec::new();
    for part in table.iter().filter(|part| !is_in(file, part.files)) {
        for path in found.iter().filter(|path| path.starts_with(part.path)) {
            let item = path.segments.get(part.path.len());
            if !item.is_some_and(|item| part.free.contains(&item.as_str())) {
                let places = part.files.join(", ");
                let rule = format!("`{}` may be named only in {places}", path.text());
                faults.push(source.fault(path.line, rule));
            }
        }
    }
    faults
}

/// Readings of the time outside `clock.rs`.
pub fn clock_readings(source: &Source) -> Vec<String> {
    if source.in_src().is_none_or(|file| file == "clock.rs") {
        return Vec::new();
    }
    let code = source.code();
    let imported: BTreeSet<usize> = paths(&code)
        .iter()
        .filter(|path| {
            path.ends_with(&["Instant", "now"])
                || path.ends_with(&["SystemTime", "now"])
                || path.segments.last().is_some_and(|last| last == "now_utc")
        })
        .map(|path| path.line)
        .collect();
    let rule = "only clock.rs asks for the time; take a `Now` as parameter";
    imported.iter().map(|&line| source.fault(line, rule)).collect()
}

/// `thread::sleep` in a test: poll with a deadline instead.
pub fn sleeps(source: &Source) -> Vec<String> {
    let all = source.tokens();
    let is_test_file = source.path.contains("tests/") || source.is_test;
    let code_lines: BTreeSet<usize> = source.code().iter().map(|token| token.line).collect();
    let is_test = |token: &Token<'_>| is_test_file || !code_lines.contains(&token.line);
    all.windows(3)
        .filter(|w| w[0].text == "thread" && w[1].text == "::" && w[2].text == "sleep")
        .filter(|w| is_test(&w[2]))
        .map(|w| source.fault(w[2].line, "a test never sleeps to wait; poll with a deadline"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOORS: &[Door] = &[("sonic-rs", &["metric/decode.rs"]), ("mio", &["engine/"])];

    #[test]
    fn a_crate_is_named_only_at_its_door() {
        let at = |path: &str, text: &str| trespasses(&Source::new(path, text), DOORS);
        assert!(at("src/metric/decode.rs", "use sonic_rs::from_slice;").is_empty());
        assert!(at("src/engine/percore.rs", "mio::Poll::new()").is_empty());
        assert!(at("src/api.rs", "// sonic_rs::a\nuse std::{mio::A};").is_empty());
        assert!(at("tests/api.rs", "use sonic_rs::Value;").is_empty());
        let expected = "src/api.rs:2: `sonic-rs` may be named only in metric/decode.rs";
        for line in [
            "use sonic_rs::Value;",
            "use {std::io, ::sonic_rs as json};",
            "fn a(b: &[u8]) { sonic_rs::from_slice(b) }",
            "#[derive(sonic_rs::Deserialize)] struct A;",
        ] {
            assert_eq!(at("src/api.rs", &format!("//! A.\n{line}")), [expected], "{line}");
        }
    }

    #[test]
    fn doors_and_dependencies_agree_both_ways() {
        let text = "[package]\nname = \"a\"\n[dependencies]\nsonic-rs = \"0.5\"\n# no = 1\n\
            [dependencies.slab]\nversion = \"1\"\n[dev-dependencies]\ncsv = \"1\"\n";
        let manifest = Source::new("Cargo.toml", text);
        let sources = [Source::new("src/engine/percore.rs", "use mio::Poll;")];
        let expected = [
            "Cargo.toml:6: `slab` has no door in tests/tidy.rs",
            "src/metric/decode.rs:1: the door to `sonic-rs` is not used; take it off tests/tidy.rs",
            "Cargo.toml:1: `mio` has a door in tests/tidy.rs but is no dependency",
        ];
        assert_eq!(stale(&sources, DOORS, &manifest), expected);
    }

    #[test]
    fn sockets_and_threads_stay_where_they_belong() {
        let table =
            [Reserved { path: &["std", "net"], free: &["SocketAddr"], files: &["engine/"] }];
        let at = |path: &str, text: &str| reserved(&Source::new(path, text), &table);
        assert!(at("src/engine/a.rs", "use std::net::TcpStream;").is_empty());
        assert!(at("src/config.rs", "use std::{io, net::SocketAddr};").is_empty());
        for text in
            ["use std::{net::TcpStream};", "use std::net;", "std::net::TcpStream::connect()"]
        {
            assert_eq!(at("src/config.rs", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn only_the_clock_asks_for_the_time() {
        let text = "use std::time::Instant;\nfn a() { Instant::now() }\n\
            fn b() { std::time::SystemTime::now(); }";
        let faults = clock_readings(&Source::new("src/api.rs", text));
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(clock_readings(&Source::new("src/clock.rs", text)).is_empty());
    }

    #[test]
    fn tests_do_not_sleep_but_servers_may() {
        let text = "fn a() { thread::sleep(b) }\n#[cfg(test)]\nmod tests {\n\
            fn c() { std::thread::sleep(d) }\n}";
        let faults = sleeps(&Source::new("src/engine/a.rs", text));
        assert_eq!(
            faults,
            ["src/engine/a.rs:4: a test never sleeps to wait; poll with a deadline"]
        );
        assert_eq!(sleeps(&Source::new("tests/a.rs", "thread::sleep(b)")).len(), 1);
    }
}
