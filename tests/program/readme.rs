//! README says what is true: its curl lines print what it shows.
//!
//! Lines of a `console` block that start with `$ ` are run against a server of their own, in the
//! order of the file; what follows is what they print, `…` standing for anything.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};

struct InProcessServer {
    process: Child,
    /// Kept open: the server goes on logging.
    _log: BufReader<ChildStderr>,
    address: String,
}

impl InProcessServer {
    fn start() -> Self {
        let mut process = testkit::server::command(&["--listen", "127.0.0.1:0", "--workers", "2"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let (_, address) = line.split_once(" address=").expect("a start-up line");
        let address = address.split(' ').next().unwrap().to_owned();
        Self { process, _log: log, address }
    }
}

impl Drop for InProcessServer {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Commands with the lines that they are to print.
fn sessions(readme: &str) -> Vec<(String, Vec<String>)> {
    let mut sessions: Vec<(String, Vec<String>)> = Vec::new();
    for block in readme.split("```console\n").skip(1) {
        let (block, _) = block.split_once("\n```").unwrap();
        for line in block.lines() {
            match line.strip_prefix("$ ") {
                Some(command) => sessions.push((command.to_owned(), Vec::new())),
                None => sessions.last_mut().unwrap().1.push(line.to_owned()),
            }
        }
    }
    sessions
}

/// Whether `line` is `pattern`, in which `…` stands for any text.
fn matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let mut ends_open = false;
    for part in parts {
        ends_open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap(),
            None => return false,
        }
    }
    ends_open || rest.is_empty()
}

#[test]
fn patterns_match_what_they_say() {
    assert!(matches("a…c", "abc") && matches("a…", "abc") && matches("abc", "abc"));
    assert!(!matches("a…c", "abd") && !matches("ab", "abc") && !matches("b…", "abc"));
}

#[test]
fn every_console_line_prints_what_readme_shows() {
    let running = InProcessServer::start();
    let sessions = sessions(include_str!("../../README.md"));
    assert!(sessions.len() >= 6, "only {} commands", sessions.len());
    for (command, expected) in sessions {
        let here = command.replace("localhost:8080", &running.address);
        let output = Command::new("sh").args(["-c", &here]).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = printed.lines().map(str::trim_end).collect();
        let same = lines.len() == expected.len()
            && expected.iter().zip(&lines).all(|(pattern, line)| matches(pattern, line));
        assert!(same, "$ {command}\n{}\n---- but README shows\n{}", printed, expected.join("\n"));
    }
}
