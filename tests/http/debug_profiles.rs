//! `/debug/pprof/profile` and `/debug/pprof/flamegraph`: their contents, the clients that may have
//! them, and their end.

use std::env;
use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

use crate::in_process::InProcessServer;
use flate2::read::GzDecoder;
use testkit::http_client::metric;
use testkit::pprof::Profile;
use testkit::server::program;
use testkit::{
    HttpClient, HttpResponse, LoadLoop, Server, TIMEOUT, assert_problem, get, get_as_localhost,
    post, wait_until,
};

const PROFILE: &str = "/debug/pprof/profile";
const FLAMEGRAPH: &str = "/debug/pprof/flamegraph";
const PAGES: [&str; 2] = [PROFILE, FLAMEGRAPH];

/// Functions that a server under load is met in, with the thread that they run on.
const OURS: [&str; 3] =
    ["percore::event_loop::", "corepulse::api::ingest::", "corepulse::metric::decode::"];

/// Profiles that are taken before something is said to be missing.
const PROFILES_MAX: u32 = 8;

/// Posts without a pause; every request has to be answered with 202.
fn start_load(server: &Server) -> LoadLoop {
    let body = format!("{}\n", metric("d1", 1_700_000_000)).repeat(500);
    LoadLoop::repeat(server.address, 1, vec![post(body.as_bytes())], 202)
}

/// Returns true if a profile is being taken, which excludes another one. Without one, this takes a
/// second.
fn is_profiling(server: &Server) -> bool {
    server.client().request(&get_as_localhost(&format!("{PROFILE}?seconds=1"))).status == 429
}

/// A client whose profile is being taken.
fn begin(server: &Server, request: &[u8]) -> HttpClient {
    wait_until("a profile is being taken", || {
        let mut client = server.client();
        client.send(request);
        // The question may be first to arrive; then it is the profile that is not taken.
        is_profiling(server).then_some(client)
    })
}

fn decoded(answer: &HttpResponse) -> Profile {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    let disposition = "attachment; filename=\"profile.pb.gz\"";
    assert_eq!(answer.header("content-disposition"), Some(disposition));
    let mut bytes = Vec::new();
    GzDecoder::new(&*answer.body).read_to_end(&mut bytes).expect("it is gzipped");
    Profile::parse(&bytes)
}

/// Takes profiles under load until one shows what `has` looks for: a machine that is shared may
/// give the server a hundredth of its time in those two seconds. The last one is answered.
fn profile_under_load(server: &Server, has: impl Fn(&Profile) -> bool) -> Profile {
    let load = start_load(server);
    let mut client = server.client();
    let mut profile = Profile::default();
    for _ in 0..PROFILES_MAX {
        profile = decoded(&client.request(&get_as_localhost(&format!("{PROFILE}?seconds=2"))));
        let duration = Duration::from_nanos(profile.duration_ns);
        assert!((Duration::from_secs(2)..TIMEOUT).contains(&duration), "{duration:?}");
        if has(&profile) {
            break;
        }
    }
    assert!(load.stop() > 0);
    profile
}

/// Those of our functions that a profile does not show.
fn missing(profile: &Profile) -> Vec<&'static str> {
    let is_there =
        |function: &&str| profile.functions.iter().any(|name| name.starts_with(*function));
    OURS.into_iter().filter(|function| !is_there(function)).collect()
}

/// Returns true if a profile has frames of the C library, where system calls are made.
fn enters_the_c_library(profile: &Profile) -> bool {
    profile.innermost.iter().any(|name| name.contains("libc_"))
}

#[test]
fn a_profile_under_load_names_our_functions_and_threads() {
    let server = Server::start(&["--workers", "1"]);
    let profile = profile_under_load(&server, |profile| {
        missing(profile).is_empty() && enters_the_c_library(profile) && profile.samples >= 20
    });
    assert_eq!(missing(&profile), [""; 0], "{profile:?}");
    assert!(profile.threads.contains("core-0"), "{profile:?}");
    assert!(profile.samples >= 20, "{profile:?}");
    assert!(enters_the_c_library(&profile), "{profile:?}");
}

/// An upgrade renames the new file over the old one, whose program goes on running.
#[test]
fn a_program_whose_file_was_replaced_is_shown_with_names() {
    let folder = env::temp_dir().join(format!("corepulse-{}-replaced", std::process::id()));
    fs::create_dir(&folder).expect("a folder for the copy");
    let (program, newer) = (folder.join("corepulse"), folder.join("newer"));
    fs::copy(self::program(), &program).expect("a copy of the program");
    let server = Server::start_copy(&program, &["--workers", "1"]);
    fs::write(&newer, "another program").unwrap();
    fs::rename(&newer, &program).unwrap();
    let profile = profile_under_load(&server, |profile| missing(profile).is_empty());
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(missing(&profile), [""; 0], "{profile:?}");
}

#[test]
fn a_flamegraph_is_a_picture_with_our_functions() {
    let server = Server::start(&["--workers", "1"]);
    let load = start_load(&server);
    let mut client = server.client();
    let mut take = || client.request(&get_as_localhost(&format!("{FLAMEGRAPH}?seconds=1")));
    let mut answer = take();
    for _ in 1..PROFILES_MAX {
        if answer.text().contains(OURS[0]) {
            break;
        }
        answer = take();
    }
    assert!(load.stop() > 0);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("image/svg+xml"));
    let svg = answer.text();
    assert!(svg.starts_with("<?xml") && svg.trim_end().ends_with("</svg>"), "{svg}");
    for name in ["core-0", OURS[0]] {
        assert!(svg.contains(name), "{name}: {svg}");
    }
}

#[test]
fn an_idle_server_has_a_picture_as_well() {
    let server = Server::start(&["--workers", "1"]);
    let answer = server.client().request(&get_as_localhost(&format!("{FLAMEGRAPH}?seconds=1")));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text().contains("<svg"), "{answer:?}");
    let profile =
        decoded(&server.client().request(&get_as_localhost(&format!("{PROFILE}?seconds=1"))));
    assert!(profile.duration_ns >= 1_000_000_000, "{profile:?}");
}

#[test]
fn only_one_is_taken_at_a_time_and_all_else_goes_on() {
    let server = Server::start(&["--workers", "1"]);
    let mut first = begin(&server, &get_as_localhost(&format!("{PROFILE}?seconds=3")));
    for page in PAGES {
        let request = get_as_localhost(&format!("{page}?seconds=1"));
        let second = server.client().request(&request);
        assert_problem(&second, 429, &request);
        let seconds: u32 = second.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3).contains(&seconds));
    }
    let mut client = server.client();
    for page in ["/health", "/analyze", "/metrics/prometheus", "/debug/pprof/threads", "/"] {
        assert_eq!(client.request(&get_as_localhost(page)).status, 200, "{page}");
    }
    assert!(is_profiling(&server), "all that was answered meanwhile");
    decoded(&first.receive());
    // A client that has a profile may ask for the next.
    decoded(&first.request(&get_as_localhost(&format!("{PROFILE}?seconds=1"))));
    assert!(!is_profiling(&server));
}

#[test]
fn seconds_are_a_whole_number_up_to_a_minute() {
    let running = InProcessServer::start(&["--workers", "1"]);
    let mut client = running.client();
    for page in PAGES {
        for bad in ["", "0", "61", "-1", "1.5", "ten", "5s", "18446744073709551617"] {
            let request = get_as_localhost(&format!("{page}?seconds={bad}"));
            let problem = assert_problem(&client.request(&request), 400, &request);
            assert!(problem["detail"].as_str().unwrap().starts_with("seconds: "), "{problem}");
        }
    }
}

#[test]
fn who_may_not_look_gets_none() {
    let running = InProcessServer::start(&["--workers", "1", "--admin-token", "s3cret"]);
    let mut client = running.client();
    for page in PAGES {
        for method in ["GET", "HEAD"] {
            let head = format!("{method} {page}?seconds=1 HTTP/1.1\r\nHost: localhost\r\n");
            client.send(format!("{head}Via: 1.1 proxy\r\n\r\n").as_bytes());
            let answer = client.try_receive(method == "HEAD").unwrap().unwrap();
            assert_eq!(answer.status, 403, "{method} {page}");
        }
    }
    let fields = "Via: 1.1 proxy\r\nAuthorization: Bearer s3cret\r\n";
    let request = format!("GET {PROFILE}?seconds=1 HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    decoded(&client.request(request.as_bytes()));
}

/// The length of a profile is known only when it has been taken, and HEAD does not ask for that.
#[test]
fn head_takes_no_profile() {
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.client();
    for page in PAGES {
        for _ in 0..3 {
            client.send(format!("HEAD {page} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        }
        for _ in 0..3 {
            let head = client.head_without_length();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(!head.to_ascii_lowercase().contains("content-length"), "{head}");
        }
        client
            .send(format!("HEAD {page}?seconds=0 HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        assert_eq!(client.receive_response_to_head().status, 400);
    }
    assert!(!is_profiling(&server));
}

/// The profile ends early and is answered; the server is gone long before it would have ended.
#[test]
fn a_stopping_server_does_not_wait_for_a_profile() {
    for page in PAGES {
        let mut server = Server::start(&["--workers", "1"]);
        let mut client = begin(&server, &get_as_localhost(&format!("{page}?seconds=60")));
        let since = Instant::now();
        server.signal("TERM");
        let answer = client.receive();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.closes_connection(), "{answer:?}");
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "{status}");
        assert!(since.elapsed() < TIMEOUT, "{:?}", since.elapsed());
    }
}

#[test]
fn without_a_folder_for_temporary_files_it_says_so() {
    let server = Server::start_with_environment(&[("TMPDIR", "/nowhere")], &["--workers", "1"]);
    let request = get_as_localhost(&format!("{PROFILE}?seconds=1"));
    let problem = assert_problem(&server.client().request(&request), 503, &request);
    assert!(problem["detail"].as_str().unwrap().contains("TMPDIR"), "{problem}");
    assert_eq!(server.client().request(&get("/health")).status, 200);
}
