//! Tokens as an operator has them: made, read at the start, and read again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use corepulse::config::token_digest::TokenDigest;
use testkit::http_client::{metric, post_with};
use testkit::server::run_with;
use testkit::{HttpClient, Server, get};

use crate::token_file::TokenFile;

const OLD: &str = "token-of-yesterday";
const NEW: &str = "token-of-tomorrow";

fn write(token: &str) -> Vec<u8> {
    let fields = format!("Authorization: Bearer {token}\r\n");
    post_with(&fields, metric("d1", 17).as_bytes())
}

/// Ends the load when a test is over, also by a panic.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Returns the counts of readings that went well and that did not.
fn reloads(server: &Server) -> [u64; 2] {
    let answer = server.client().request(&get("/metrics/prometheus"));
    ["ok", "failed"].map(|outcome| {
        let start = format!("corepulse_reloads_total{{what=\"tokens\",outcome=\"{outcome}\"}} ");
        answer.text().lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
    })
}

#[test]
fn a_new_token_is_printed_with_its_line_and_taken_with_it() {
    let made = run_with(&[
        "token",
        "new",
        "--name",
        "gate-7",
        "--role",
        "write,read",
        "--prefix",
        "d",
        "--limit",
        "100:1,2000:60",
    ]);
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(made.errors, "");
    let (token, line) = made.output.trim_end().split_once('\n').unwrap();
    let digest = TokenDigest::of(token.as_bytes());
    assert_eq!(line, format!("gate-7 {digest} write,read d 100:1,2000:60"));
    // 32 bytes in base64 behind the start.
    assert!(token.starts_with("cp_") && token.len() == 3 + 43, "{token}");
    let file = TokenFile::new("new", &[]);
    file.write_text(line);
    let server = Server::start(&["--workers", "1", "--tokens", file.path()]);
    assert_eq!(server.client().request(&write(token)).status, 202);
    assert_eq!(server.client().request(&write(&token.to_lowercase())).status, 401);

    let plain = run_with(&["token", "new"]);
    let (other, line) = plain.output.trim_end().split_once('\n').unwrap();
    assert_ne!(other, token);
    let digest = TokenDigest::of(other.as_bytes()).to_string();
    assert_eq!(line, format!("token-{} {digest} write * -", &digest[..8]));
    for (arguments, named) in [
        (&["--name", "a b"][..], "--name"),
        (&["--role", "wirte"], "write, read, admin"),
        (&["--prefix", ""], "--prefix"),
        (&["--limit", "100"], "EVENTS:SECONDS"),
        (&["surplus"], "surplus"),
    ] {
        let run = run_with(&[&["token", "new"], arguments].concat());
        assert!(run.code == 64 && run.errors.contains(named), "{run:?}");
    }
}

#[test]
fn every_mistake_is_told_at_the_start_with_those_of_flags() {
    let file = TokenFile::new("mistakes", &[]);
    file.write_text("a s3cret write * -\n\n# fine\nb\n");
    let run = run_with(&["--tokens", file.path(), "--window", "x"]);
    assert_eq!(run.code, 64, "{run:?}");
    let at = format!("corepulse: --tokens: {}: line", file.path());
    for line in [
        format!(
            "{at} 1: sha256: expected 64 hexadecimal digits, as of printf %s TOKEN | sha256sum"
        ),
        format!("{at} 4: expected NAME SHA256 ROLES PREFIX LIMIT, found 1 words"),
        "corepulse: --window: ".to_owned(),
    ] {
        assert!(run.errors.contains(&line), "{line} in {}", run.errors);
    }
    assert!(!run.errors.contains("s3cret"));
    let missing = run_with(&["--tokens", "/nowhere/tokens"]);
    assert!(missing.code == 64 && missing.errors.contains("No such file"), "{missing:?}");
    // The file is the server's: whoever asks for its health need not be able to read it.
    let health = run_with(&["healthcheck", "--tokens", file.path(), "--listen", "127.0.0.1:1"]);
    assert_eq!(health.code, 1, "{health:?}");
}

#[test]
fn a_hup_reads_the_file_again_and_a_broken_one_changes_nothing() {
    let file = TokenFile::new("hup", &[(OLD, "write * -")]);
    let mut server = Server::start(&["--workers", "2", "--tokens", file.path()]);
    let mut kept = server.client();
    let status = |client: &mut HttpClient, token: &str| client.request(&write(token)).status;
    assert_eq!((status(&mut kept, OLD), status(&mut kept, NEW)), (202, 401));
    assert_eq!(reloads(&server), [0, 0]);

    // Two at once, while devices get the new one.
    file.write(&[(OLD, "write * -"), (NEW, "write * -"), ("eye", "read * -")]);
    server.signal("HUP");
    let line = server.wait_for_log("read again: ");
    assert_eq!(line["what"], "tokens", "{line}");
    let told = line["message"].as_str().unwrap();
    assert!(told.ends_with("with those of flags, write 2, read 1, admin 0"), "{told}");
    assert_eq!((status(&mut kept, OLD), status(&mut kept, NEW)), (202, 202));
    assert_eq!(kept.get("/stats").status, 401);

    file.write_text("a s3cret write * -\n?\n");
    server.signal("HUP");
    let first = server.wait_for_log("line 1: sha256: expected");
    assert_eq!((&first["level"], &first["what"]), (&"ERROR".into(), &"tokens".into()), "{first}");
    server.wait_for_log("line 2: expected NAME");
    let last = server.wait_for_log("nothing is changed");
    assert_eq!(last["mistakes"], 2, "{last}");
    assert_eq!((status(&mut kept, OLD), status(&mut kept, NEW)), (202, 202));
    assert_eq!(reloads(&server), [1, 1]);

    // A file without readers would open what was closed.
    file.write(&[(NEW, "write * -")]);
    server.signal("HUP");
    server.wait_for_log("no token has the role read any more");
    assert_eq!((status(&mut kept, OLD), kept.get("/stats").status), (202, 401));

    // A token that is gone is none any more, also on a connection that has used it.
    file.write(&[(NEW, "write * -"), ("eye", "read * -")]);
    server.signal("HUP");
    server.wait_for_log("read again: ");
    assert_eq!((status(&mut kept, OLD), status(&mut kept, NEW)), (401, 202));

    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let log = server.full_log();
    for secret in ["s3cret", OLD, NEW] {
        assert!(!log.contains(secret), "{log}");
    }
}

/// The signal comes while devices send: no request of a good token fails, whatever the file holds.
#[test]
fn a_broken_file_under_load_fails_no_request() {
    let file = TokenFile::new("load", &[("pen", "write * -")]);
    let mut server = Server::start(&["--workers", "2", "--tokens", file.path()]);
    let address = server.address;
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let broken = ["", "?", "a b c d e", "\u{feff}", "pen", "#"];
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = HttpClient::connect(address);
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.request(&write("pen"));
                    assert_eq!(answer.status, 202, "{answer:?}");
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..20 {
            let before = sent.load(Ordering::Relaxed);
            let expected = if round % 2 == 0 {
                file.write_text(broken[round / 2 % broken.len()]);
                [round / 2, round / 2 + 1]
            } else {
                file.write(&[("pen", "write * -"), ("other", "write,read * -")]);
                [round / 2 + 1, round / 2 + 1]
            };
            server.signal("HUP");
            testkit::wait::wait_until("the file was read and requests went on", || {
                let is_read = reloads(&server) == expected.map(|count| count as u64);
                (is_read && sent.load(Ordering::Relaxed) > before + 10).then_some(())
            });
        }
    });
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn an_open_server_says_at_the_start_what_anybody_may_do() {
    let said = |listen: &str, flags: &[&str]| {
        let mut server = Server::start_at(listen, flags);
        server.signal("TERM");
        server.wait();
        let lines = server.log_entries("no token is asked for: anybody who reaches");
        lines.iter().map(|line| line["address"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let everywhere = said("0.0.0.0:0", &[]);
    assert_eq!(everywhere.len(), 1, "{everywhere:?}");
    assert!(everywhere[0].starts_with("0.0.0.0:"), "{everywhere:?}");
    assert_eq!(said("0.0.0.0:0", &["--admin-token", "key"]).len(), 1);
    let nothing = Vec::<String>::new();
    assert_eq!(said("127.0.0.1:0", &[]), nothing);
    for flag in ["--ingest-token", "--read-token"] {
        assert_eq!(said("0.0.0.0:0", &[flag, "pen"]), nothing, "{flag}");
    }
}
