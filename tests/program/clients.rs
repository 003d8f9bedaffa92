//! The clients under `examples/clients/` as their users have them: each is run against the real
//! server, and every metric that it says it sent has to be there.
//!
//! They send the values that [`sent`] makes, in the forms that their languages write by themselves.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testkit::server::{FinishedProcess, run};
use testkit::{Exposition, Server, get};

const COUNT: usize = 20;
const TOKEN: &str = "one-of-ours";

/// The means of `cpu` and `rps` over all that a client sends.
fn sent() -> [f64; 2] {
    let mean = (COUNT - 1) as f64 / 2.0;
    [40.0 + mean, 1000.0 + 10.0 * mean]
}

fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clients").join(name)
}

/// The Python that `ci/setup` has put the client's packages into.
fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python")
}

/// Runs a client against a server of its own that asks for a token, and checks what has come.
fn try_out(device: &str, client: impl FnOnce(&Server) -> Command) {
    let server = Server::start(&["--workers", "2", "--ingest-token", TOKEN]);
    let mut command = client(&server);
    command.args([device, &COUNT.to_string()]).env("COREPULSE_INGEST_TOKEN", TOKEN);
    let FinishedProcess { code, output, errors } = run(command);
    assert_eq!((code, errors.as_str()), (0, ""), "{output}");
    assert!(output.contains("accepted"), "{output}");

    let answer = server.client().request(&get(&format!("/analyze?device_id={device}")));
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen: Value = serde_json::from_str(answer.text()).unwrap();
    let [cpu, rps] = sent();
    assert_eq!(seen["window"]["count"], COUNT, "{seen}");
    assert_eq!(seen["cpu"]["rolling_average"].as_f64(), Some(cpu), "{seen}");
    assert_eq!(seen["rps"]["rolling_average"].as_f64(), Some(rps), "{seen}");
    let samples = Exposition::scrape(server.address);
    // Each under a key of its own: none took another's place.
    assert_eq!(samples.sum("corepulse_store_stored_total"), COUNT as f64);
    assert_eq!(samples.sum("corepulse_store_coalesced_total"), 0.0);
}

/// A command with the server's URL as its first argument.
fn with_url(program: impl AsRef<Path>, script: Option<&str>, server: &Server) -> Command {
    let mut command = Command::new(program.as_ref());
    command.args(script.map(client)).arg(format!("http://{}", server.address));
    command
}

#[test]
fn python_with_requests() {
    try_out("python-1", |server| with_url(python(), Some("post.py"), server));
}

#[test]
fn node_with_fetch() {
    try_out("node-1", |server| with_url("node", Some("post.mjs"), server));
}

#[test]
fn c_with_libcurl() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let program = folder.join("post-c");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"]);
    compiler.arg(&program).arg(client("post.c")).arg("-lcurl");
    let compiled = run(compiler);
    assert_eq!(compiled.code, 0, "{}", compiled.errors);
    try_out("c-1", |server| with_url(&program, None, server));
}

#[test]
fn a_shell_with_curl() {
    try_out("shell-1", |server| with_url("sh", Some("post.sh"), server));
}

#[test]
fn a_raw_socket_as_a_board_has_it() {
    let server = Server::start(&["--workers", "2"]);
    let mut command = Command::new(python());
    command.arg(client("micropython.py"));
    command.args([server.address.ip().to_string(), server.address.port().to_string()]);
    command.args(["board-1", &COUNT.to_string()]);
    let FinishedProcess { code, output, errors } = run(command);
    assert_eq!((code, errors.as_str()), (0, ""), "{output}");
    // The server says when it was, and each time once.
    let mut times: Vec<&str> =
        output.lines().map(|line| line.split_once("'timestamp': ").unwrap().1).collect();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), COUNT, "{output}");
}

#[test]
fn a_client_says_what_the_server_refuses() {
    let server = Server::start(&["--workers", "2", "--ingest-token", TOKEN]);
    for (program, script) in [
        (python(), "post.py"),
        (PathBuf::from("node"), "post.mjs"),
        (PathBuf::from("sh"), "post.sh"),
    ] {
        let FinishedProcess { code, output, errors } =
            run(with_url(program, Some(script), &server));
        assert_ne!(code, 0, "{script}: {output}");
        let said = output + &errors;
        assert!(said.contains("the ingest token"), "{script}: {said}");
    }
}
