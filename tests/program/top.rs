//! `corepulse top`: the state of the server in a terminal, and as plain text.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use testkit::child_process::ChildProcess;
use testkit::http_client::post_with;
use testkit::server::{program, run_with};
use testkit::{HttpClient, Redis, Server, post, wait_until};

fn server_with_a_device() -> (Server, String) {
    let server = Server::start(&["--read-token", "eye", "--instance", "roof"]);
    let metric = br#"{"cpu":41.5,"rps":1200,"device_id":"attic"}"#;
    let answer = HttpClient::connect(server.address).request(&post_with("", metric));
    assert_eq!(answer.status, 202);
    let listen = server.address.to_string();
    (server, listen)
}

#[test]
fn once_it_prints_plain_text() {
    let (_server, listen) = server_with_a_device();
    let shown = run_with(&["top", "--once", "--listen", &listen, "--read-token", "eye"]);
    assert_eq!((shown.code, shown.errors.as_str()), (0, ""));
    let lines: Vec<&str> = shown.output.lines().collect();
    assert!(lines[0].starts_with("corepulse ") && lines[0].contains(" at roof, up "), "{lines:?}");
    assert_eq!(lines[1], "all is well");
    let device = lines.iter().find(|line| line.starts_with("attic ")).unwrap();
    assert!(device.contains("41.5 (41.5)") && device.contains("1.2k (1.2k)"), "{device}");
    assert!(lines.contains(&"in total     1 accepted   0 rejected   0 anomalies"), "{lines:?}");
    assert!(!shown.output.contains('\u{1b}'), "a pipe gets no colours");
}

#[test]
fn a_server_elsewhere_is_named_by_its_url() {
    let (_server, listen) = server_with_a_device();
    let url = format!("http://{listen}/");
    // What the options say of this machine does not count then.
    let arguments = ["top", "--once", "--to", &url, "--listen", "127.0.0.1:1"];
    let shown = run_with(&[&arguments[..], &["--read-token", "eye"]].concat());
    assert_eq!((shown.code, shown.errors.as_str()), (0, ""));
    assert!(shown.output.contains(" at roof, up "), "{}", shown.output);
}

#[test]
fn what_keeps_it_from_showing_anything_is_said() {
    let (_server, listen) = server_with_a_device();
    for (arguments, named) in [
        (&["--listen", &listen][..], "it asks for --read-token"),
        (&["--listen", &listen, "--read-token", "ear"], "this is not its --read-token"),
        (&["--listen", "127.0.0.1:1"], "127.0.0.1:1: Connection refused"),
        (&["--to", "http://127.0.0.1:1"], "127.0.0.1:1: Connection refused"),
        (&["--to", "http://nowhere.invalid:81"], "nowhere.invalid:81: "),
        (&["--listen", "unix:/nowhere/at/all.sock"], "/nowhere/at/all.sock"),
    ] {
        let shown = run_with(&[&["top", "--once"], arguments].concat());
        assert_eq!((shown.code, shown.output.as_str()), (1, ""), "{arguments:?}");
        assert!(shown.errors.contains(named), "{}", shown.errors);
    }
    assert_eq!(run_with(&["top", "--twice"]).code, 64);
    for (url, named) in [("https://localhost", "TLS"), ("localhost:8080", "http://HOST:PORT")] {
        let shown = run_with(&["top", "--once", "--to", url]);
        assert_eq!((shown.code, shown.output.as_str()), (64, ""), "{url}");
        assert!(shown.errors.contains(named), "{}", shown.errors);
    }
}

#[test]
fn of_a_fleet_it_shows_all_replicas() {
    let redis = Redis::start(&[]);
    let start = |instance: &str| {
        let flags = ["--fleet", "edge", "--instance", instance, "--redis-url", &redis.url()];
        Server::start(&flags)
    };
    let (roof, cellar) = (start("roof"), start("cellar"));
    for (server, id) in [(&roof, "attic"), (&cellar, "boiler")] {
        let metric = format!(r#"{{"cpu":41.5,"rps":1200,"device_id":"{id}"}}"#);
        let answer = HttpClient::connect(server.address).request(&post(metric.as_bytes()));
        assert_eq!(answer.status, 202);
    }
    let listen = roof.address.to_string();
    let show =
        |flags: &[&str]| run_with(&[&["top", "--once", "--listen", &listen], flags].concat());
    for flags in [&[][..], &["--scope", "fleet"]] {
        let both = wait_until("an answer of both", || {
            let shown = show(flags);
            assert_eq!((shown.code, shown.errors.as_str()), (0, ""));
            shown.output.contains(" at roof, for 2 replicas, up ").then_some(shown.output)
        });
        let has = |id: &str| both.lines().any(|line| line.starts_with(id));
        assert!(has("attic ") && has("boiler ") && has("in total     2 accepted"), "{both}");
        assert!(both.contains("   cellar   ") || both.contains("busy   cellar   "), "{both}");
    }
    let one = show(&["--scope", "instance"]).output;
    assert!(one.contains(" at roof, up ") && one.contains("attic "), "{one}");
    assert!(!one.contains("boiler"), "{one}");
    let (_server, listen) = server_with_a_device();
    let flags = ["top", "--once", "--scope", "fleet", "--read-token", "eye", "--listen", &listen];
    let shown = run_with(&flags);
    assert_eq!(shown.code, 1);
    assert!(shown.errors.contains("it is in no fleet"), "{}", shown.errors);
}

/// By `script` of bsdutils, which is a terminal to the program that it runs.
#[test]
fn on_a_terminal_it_draws_until_q_is_pressed() {
    let (_server, listen) = server_with_a_device();
    let shown = format!("{} top --listen {listen} --read-token eye", program().display());
    // Its terminal has no size of its own.
    let line = format!("stty rows 40 cols 120 && exec {shown}");
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script.env("TERM", "xterm-256color");
    script.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = ChildProcess(script.spawn().expect("bsdutils is part of every Debian"));
    let mut output = child.0.stdout.take().unwrap();
    let (sender, drawn) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut bytes) {
            let _ = sender.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
        }
    });
    let mut screen = String::new();
    wait_until("the device on the screen", || {
        screen.extend(drawn.try_iter());
        screen.contains("attic").then_some(())
    });
    assert!(screen.contains("\u{1b}["), "{screen:?}");
    child.0.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    let status = wait_until("the end of the program", || child.0.try_wait().unwrap());
    assert!(status.success(), "{status:?}");
}
