//! Signals: which ends the server in order, which does nothing, and that none loses events.

use testkit::load::metric;
use testkit::{Process, Redis, Sent, get, get_here, post};

/// What ends a process that knows nothing of it (man 7 signal), and is no request to end.
const MEANINGLESS: [&str; 7] = ["USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "XFSZ"];

const EVENTS: u64 = 200;

/// Posts as many events as will have to be in Redis at the end.
fn post_all(process: &Process) -> Sent {
    let mut sent = Sent::default();
    let mut client = process.client();
    for number in 0..EVENTS {
        let (key, value) = metric("signalled", number, "1.5");
        assert_eq!(client.ask(&post(value.as_bytes())).status, 202);
        sent.add(key, value);
    }
    sent
}

/// Half of a service's life in a terminal: it is closed while events wait for Redis.
fn end_while_events_wait(signals: &[&str]) {
    let mut redis = Redis::start(&[]);
    let arguments = ["--workers", "2", "--drain-delay", "100ms", "--redis-url", &redis.url()];
    let mut process = Process::start(&arguments);
    redis.freeze();
    let sent = post_all(&process);
    for signal in signals {
        process.signal(signal);
    }
    process.log_line("draining");
    redis.thaw();
    let status = process.wait();
    assert_eq!(status.code(), Some(0), "{signals:?}: {status}");
    assert_eq!(sent.missing_from(&mut redis), Vec::<String>::new(), "{signals:?}");
    let last = process.last_line();
    assert_eq!(last["message"], "stopped", "{last}");
    assert_eq!((&last["stored"], &last["dropped"]), (&EVENTS.into(), &0.into()), "{last}");
}

#[test]
fn a_terminal_that_is_closed_loses_nothing() {
    end_while_events_wait(&["HUP"]);
}

/// A shell hands on the HUP that the kernel sends as well, and systemd may send one after TERM.
#[test]
fn a_second_hup_does_not_cut_the_stopping_short() {
    end_while_events_wait(&["HUP", "HUP"]);
    end_while_events_wait(&["TERM", "HUP"]);
}

#[test]
fn a_server_under_nohup_outlives_the_terminal() {
    let mut redis = Redis::start(&[]);
    let arguments = ["--workers", "2", "--redis-url", &redis.url()];
    let mut process = Process::start_after("trap '' HUP", &arguments);
    let sent = post_all(&process);
    process.signal("HUP");
    for _ in 0..20 {
        assert_eq!(process.client().ask(&get("/ready")).status, 200);
    }
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    assert_eq!(sent.missing_from(&mut redis), Vec::<String>::new());
}

#[test]
fn what_is_no_request_to_end_ends_nothing() {
    let mut redis = Redis::start(&[]);
    let mut process = Process::start(&["--workers", "2", "--redis-url", &redis.url()]);
    let profile = |process: &Process| {
        let answer = process.client().ask(&get_here("/debug/pprof/profile?seconds=1"));
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let send_all = |process: &Process| {
        for signal in MEANINGLESS {
            process.signal(signal);
            assert_eq!(process.client().ask(&get("/ready")).status, 200, "{signal}");
        }
    };
    send_all(&process);
    let sent = post_all(&process);
    profile(&process);
    // The profiler has had SIGPROF for itself, and left it: a sample may come late.
    send_all(&process);
    profile(&process);
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    assert_eq!(sent.missing_from(&mut redis), Vec::<String>::new());
}
