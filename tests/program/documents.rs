//! The documents say what is true: their commands run, and print what they show.
//!
//! Lines of a `console` block that start with `$ ` are run against a server of their own, in the
//! order of the file; what follows is what they print, `…` standing for anything. Lines of an `sh`
//! block are run as far as this machine can: requests are sent, targets of make exist, programs of
//! ours know the arguments, and what needs a cluster or takes minutes is named here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::Server;

/// Programs that are not ours; `ci/load` runs locust.
const ELSEWHERE: &[&str] = &[
    "docker",
    "helm",
    "journalctl",
    "kubectl",
    "locust",
    "minikube",
    "pip",
    "redis-cli",
    "redis-server",
    "sudo",
];

/// Scripts that install, need a cluster, or take minutes.
const SCRIPTS: &[&str] = &["k8s/deploy", "perf/flamegraph"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a line of a document in a shell, against this server; returns what it prints.
fn run(server: &Server, command: &str) -> String {
    let address = server.address.to_string();
    let here = command.replace("localhost:8080", &address).replace("127.0.0.1:8080", &address);
    let output = Command::new("sh").args(["-c", &here]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "$ {command}\n{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns every document of the project.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                let foreign = ["target", "vendor", "node_modules", "corpus", "go-seed"];
                if !name.starts_with('.') && !foreign.contains(&name.as_str()) {
                    folders.push(entry.path());
                }
            } else if name.ends_with(".md") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Returns the blocks of code in a language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    let of = |rest: &str| rest.split_once("\n```").unwrap().0.to_owned();
    document.split(&begin).skip(1).map(of).collect()
}

/// Returns the commands of `console` blocks with the lines that they are to print.
fn sessions(document: &str) -> Vec<(String, Vec<String>)> {
    let mut sessions: Vec<(String, Vec<String>)> = Vec::new();
    for line in blocks(document, "console").iter().flat_map(|block| block.lines()) {
        match line.strip_prefix("$ ") {
            Some(command) => sessions.push((command.to_owned(), Vec::new())),
            None => sessions.last_mut().unwrap().1.push(line.to_owned()),
        }
    }
    sessions
}

/// Returns the commands of `sh` blocks, continued lines joined, without comments.
fn commands(document: &str) -> Vec<String> {
    let joined = blocks(document, "sh").join("\n").replace("\\\n", " ");
    let plain = |line: &str| line.split("  #").next().unwrap().trim().to_owned();
    joined.lines().map(plain).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Returns true if `line` is `pattern`, in which `…` stands for any text.
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

/// Asserts that a program of ours takes these arguments: it stops at the first that it does not
/// know or cannot read, and otherwise prints its help.
fn assert_arguments(command: &str, program: &Path, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).arg("--help").output();
    let output =
        output.unwrap_or_else(|error| panic!("$ {command}\n{}: {error}", program.display()));
    assert!(output.status.success(), "$ {command}\n{output:?}");
}

/// Returns the words behind one of them.
fn after<'a, 'w>(words: &'w [&'a str], word: &str) -> &'w [&'a str] {
    words.iter().position(|found| *found == word).map_or(&[], |at| &words[at + 1..])
}

fn assert_command(command: &str, server: &Server) {
    let words = command.split_whitespace().filter(|word| *word != "&");
    // A shell takes the quotes of a word away.
    let words: Vec<&str> = words.map(|word| word.trim_matches('\'')).collect();
    let built = testkit::server::program();
    let built = built.parent().unwrap();
    match words.as_slice() {
        ["make", ..] => {
            let dry = format!("{} --dry-run", words.join(" "));
            run(server, &dry);
        }
        ["cargo", "run", rest @ ..] => {
            assert_arguments(command, &built.join("corepulse"), after(rest, "--"));
        }
        ["corepulse", rest @ ..] => assert_arguments(command, &built.join("corepulse"), rest),
        ["cargo", "build" | "nextest" | "bench", ..] => {
            let status = Command::new("cargo").args([words[1], "--help"]).output().unwrap().status;
            assert!(status.success(), "$ {command}");
        }
        [program, ..] if program.starts_with("target/release/") => {
            // By a shell, which knows about quotes.
            let built = command.replacen("target/release", built.to_str().unwrap(), 1);
            run(server, &format!("{built} --help"));
        }
        ["curl" | "python3", ..] => {
            run(server, command);
        }
        [script, ..] if SCRIPTS.contains(script) => assert!(root().join(script).is_file()),
        [program, ..] => {
            assert!(ELSEWHERE.contains(program), "$ {command}\nno test for this program");
        }
        [] => {}
    }
}

#[test]
fn patterns_match_what_they_say() {
    assert!(matches("a…c", "abc") && matches("a…", "abc") && matches("abc", "abc"));
    assert!(!matches("a…c", "abd") && !matches("ab", "abc") && !matches("b…", "abc"));
}

#[test]
fn every_console_line_prints_what_is_shown() {
    let mut tested = 0;
    for document in documents() {
        let sessions = sessions(&fs::read_to_string(&document).unwrap());
        if sessions.is_empty() {
            continue;
        }
        let server = Server::start(&["--workers", "2"]);
        for (command, expected) in sessions {
            let printed = run(&server, &command);
            let lines: Vec<_> = printed.lines().map(str::trim_end).collect();
            let same = lines.len() == expected.len()
                && expected.iter().zip(&lines).all(|(pattern, line)| matches(pattern, line));
            let shown = expected.join("\n");
            assert!(same, "{}\n$ {command}\n{printed}\n---- shown is\n{shown}", document.display());
            tested += 1;
        }
    }
    assert!(tested >= 7, "only {tested} commands");
}

#[test]
fn every_command_is_one_that_there_is() {
    let server = Server::start(&["--workers", "2"]);
    let mut tested = 0;
    for document in documents() {
        for command in commands(&fs::read_to_string(document).unwrap()) {
            for part in command.split(" && ") {
                assert_command(part, &server);
                tested += 1;
            }
        }
    }
    assert!(tested >= 20, "only {tested} commands");
}

/// A link to a file of the project leads to one, and one to a heading to such a heading.
#[test]
fn every_link_leads_somewhere() {
    let anchor = |line: &str| {
        let text = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        text.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect::<String>()
    };
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") || link.contains(char::is_whitespace) {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            let shown = document.display();
            assert!(target.exists(), "{shown}: {link}");
            if !heading.is_empty() {
                let target = fs::read_to_string(target).unwrap();
                let found =
                    target.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
                assert!(found, "{shown}: {link}");
            }
        }
    }
}
