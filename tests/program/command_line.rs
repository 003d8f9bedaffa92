//! The command line: flags, variables, errors, exit codes, and secrets, which are never printed.

use testkit::server::{command, run, run_with};
use testkit::{Server, get};

/// The flags of DESIGN section 8, each with what `--print-config` shows by default.
const FLAGS: &[(&str, &str)] = &[
    ("listen", ":8080"),
    ("workers", "auto"),
    ("pin", "auto"),
    ("engine", "percore"),
    ("redis-url", "(not set)"),
    ("redis-prefix", "metric:"),
    ("store-ttl", "5m"),
    ("store-queue", "64MiB"),
    ("store-overflow", "drop-oldest"),
    ("memory-store", "256MiB"),
    ("fields", "cpu=0..1e6,rps=0..1e12"),
    ("device-name", "device_id"),
    ("timestamp-name", "timestamp"),
    ("device-tag", "device_id,host"),
    ("window", "50"),
    ("z-threshold", "2"),
    ("min-samples", "16"),
    ("cooldown", "50"),
    ("max-devices", "100000"),
    ("device-ttl", "1h"),
    ("max-body", "1MiB"),
    ("max-connections", "auto"),
    ("idle-timeout", "1m 15s"),
    ("request-timeout", "10s"),
    ("max-connection-age", "5m"),
    ("drain-delay", "0s"),
    ("drain-timeout", "20s"),
    ("ingest-token", "(not set)"),
    ("read-token", "(not set)"),
    ("admin-token", "(not set)"),
    ("cors-origin", "(not set)"),
    ("log-format", "text"),
    ("log-level", "info"),
];

#[test]
fn help_and_version_go_to_standard_output() {
    let help = run_with(&["--help"]);
    assert_eq!((help.code, help.errors.as_str()), (0, ""));
    let more = [("instance", ""), ("print-config", ""), ("help", ""), ("version", "")];
    for (flag, _) in FLAGS.iter().chain(&more) {
        assert!(help.output.contains(&format!("--{flag}")), "--{flag} in {}", help.output);
        let variable = format!("COREPULSE_{}", flag.to_uppercase().replace('-', "_"));
        let has_variable = !["print-config", "help", "version"].contains(flag);
        assert_eq!(help.output.contains(&variable), has_variable, "{variable}");
    }
    assert!(help.output.contains("REDIS_URL"), "{}", help.output);
    let version = run_with(&["--version"]);
    assert_eq!((version.code, version.errors.as_str()), (0, ""));
    let number = concat!("corepulse ", env!("CARGO_PKG_VERSION"));
    let commit = version.output.strip_prefix(number).map(str::trim);
    let is_commit = |it: &str| it.is_empty() || it.starts_with('(') && it.ends_with(')');
    assert!(commit.is_some_and(is_commit), "{}", version.output);
}

#[test]
fn the_effective_configuration_is_printed() {
    let printed = run_with(&["--print-config"]);
    assert_eq!((printed.code, printed.errors.as_str()), (0, ""));
    for (flag, value) in FLAGS {
        let line = format!("{flag} = {value}");
        assert!(printed.has_setting(&line), "{line}: {}", printed.output);
    }
    let changed = run_with(&["--print-config", "--window", "20", "--store-ttl", "90s"]);
    assert!(changed.has_setting("window = 20"), "{}", changed.output);
    assert!(changed.has_setting("store-ttl = 1m 30s"), "{}", changed.output);
}

/// `corepulse --print-config | head -1` is no reason to panic.
#[test]
fn a_reader_that_went_away_is_no_panic() {
    for (arguments, codes) in
        [(&["--print-config"][..], [0, 1]), (&["--help"], [0, 0]), (&["--window", "x"], [64, 64])]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = command(arguments);
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        let code = command.status().unwrap().code().unwrap();
        assert!(codes.contains(&code), "{arguments:?}: {code}");
    }
}

#[test]
fn a_flag_goes_before_its_variable_and_that_before_the_default() {
    let mut variables = command(&["--print-config", "--window", "20"]);
    let pairs = [
        ("COREPULSE_WINDOW", "30"),
        ("COREPULSE_COOLDOWN", "7"),
        ("COREPULSE_MAX_BODY", "2MiB"),
        ("COREPULSE_LISTEN", "[::1]:0"),
        ("COREPULSE_INSTANCE", "pod-a"),
    ];
    variables.envs(pairs);
    let printed = run(variables);
    assert_eq!(printed.code, 0, "{}", printed.errors);
    let lines = [
        "window = 20",
        "cooldown = 7",
        "max-body = 2MiB",
        "listen = [::1]:0",
        "instance = pod-a",
        "min-samples = 16",
    ];
    for line in lines {
        assert!(printed.has_setting(line), "{line}: {}", printed.output);
    }
}

#[test]
fn a_wrong_redis_url_is_refused_however_it_comes_and_never_repeated() {
    let asked = |scheme: &str| {
        let url = format!("{scheme}://:hunter2@cache:6379/0");
        let mut runs = vec![run_with(&["--print-config", "--redis-url", &url])];
        for name in ["REDIS_URL", "COREPULSE_REDIS_URL"] {
            let mut command = command(&["--print-config"]);
            command.env(name, &url);
            runs.push(run(command));
        }
        assert!(runs.iter().all(|run| !format!("{run:?}").contains("hunter2")), "{runs:?}");
        runs
    };
    for run in asked("http") {
        assert_eq!((run.code, run.output.as_str()), (64, ""), "{run:?}");
        assert!(run.errors.contains("--redis-url: expected redis://"), "{run:?}");
        assert_eq!(run.errors.lines().count(), 1, "{run:?}");
    }
    for run in asked("redis") {
        assert_eq!((run.code, run.errors.as_str()), (0, ""), "{run:?}");
        assert!(run.has_setting("redis-url = redis://:***@cache:6379/0"), "{run:?}");
    }
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let mut empty = command(&["--print-config"]);
    empty.env("REDIS_URL", "");
    for (flag, _) in FLAGS {
        empty.env(format!("COREPULSE_{}", flag.to_uppercase().replace('-', "_")), "");
    }
    let run = run(empty);
    assert_eq!((run.code, run.errors.as_str()), (0, ""));
    for (flag, value) in FLAGS {
        assert!(run.has_setting(&format!("{flag} = {value}")), "{flag}: {}", run.output);
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let wrong = [
        ("--listen", "nowhere"),
        ("--workers", "0"),
        ("--pin", "maybe"),
        ("--engine", "carburettor"),
        ("--redis-prefix", "{a}:"),
        ("--store-ttl", "0s"),
        ("--store-queue", "1"),
        ("--store-overflow", "burst"),
        ("--memory-store", "lots"),
        ("--fields", "cpu,load %"),
        ("--device-name", "timestamp"),
        ("--timestamp-name", "the time"),
        ("--device-tag", "a b"),
        ("--window", "1"),
        ("--z-threshold", "-1"),
        ("--cooldown", "-1"),
        ("--max-devices", "many"),
        ("--device-ttl", "soon"),
        ("--max-body", "1TiB"),
        ("--max-connections", "0"),
        ("--idle-timeout", "10"),
        ("--request-timeout", "-1s"),
        ("--max-connection-age", "old"),
        ("--drain-timeout", "x"),
        ("--log-format", "xml"),
        ("--cors-origin", "app.example"),
        ("--log-level", "loud"),
    ];
    let arguments: Vec<String> =
        wrong.iter().map(|(flag, value)| format!("{flag}={value}")).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let run = run_with(&arguments);
    assert_eq!((run.code, run.output.as_str()), (64, ""), "{run:?}");
    for (flag, _) in wrong {
        let named = run.errors.lines().filter(|line| line.contains(&format!("{flag}:")));
        assert_eq!(named.count(), 1, "{flag} in {}", run.errors);
    }
    for line in run.errors.lines() {
        assert!(line.starts_with("corepulse: "), "{line}");
    }
}

#[test]
fn mistakes_between_flags_and_unknown_flags_are_usage_errors_too() {
    for (arguments, named) in [
        (&["--min-samples", "60"][..], "--min-samples"),
        (&["--drain-delay", "30s"], "--drain-delay"),
        (&["--windw", "60"], "--windw"),
        (&["--window"], "--window"),
        (&["surplus"], "surplus"),
    ] {
        let run = run_with(arguments);
        assert_eq!(run.code, 64, "{run:?}");
        assert_eq!(run.output, "", "{run:?}");
        assert!(run.errors.contains(named), "{run:?}");
    }
}

#[test]
fn secrets_are_never_printed() {
    let token = "hunter2-0123456789";
    let mut shown = vec![
        run_with(&["--print-config", "--ingest-token", token]),
        run_with(&["--ingest-token", token, "--window", "x"]),
        run_with(&["--admin-token", token, "--window", "x"]),
        run_with(&["--ingest-token", token, "--ingest-token", token]),
    ];
    for name in ["COREPULSE_INGEST_TOKEN", "COREPULSE_ADMIN_TOKEN", "COREPULSE_REDIS_URL"] {
        for argument in ["--help", "--print-config", "--unknown"] {
            let mut command = command(&[argument]);
            command.env(name, token);
            shown.push(run(command));
        }
    }
    assert!(shown[0].output.contains("ingest-token = (set)"), "{:?}", shown[0]);
    for run in shown {
        assert!(!run.output.contains(token) && !run.errors.contains(token), "{run:?}");
    }
    // Nor in the log of a run, whatever comes in.
    let mut server = Server::start(&["--ingest-token", token]);
    assert_eq!(server.client().request(&get("/metrics/1")).status, 401);
    server.signal("TERM");
    server.wait();
    assert!(!server.full_log().contains(token));
}

#[test]
fn the_start_up_lines_say_what_runs() {
    let mut server = Server::start(&["--workers", "2"]);
    server.signal("TERM");
    server.wait();
    let log = server.full_log();
    let listening = format!("listening on http://{}", server.address);
    for part in [&listening, "\"workers\":2", "not pinned: --pin off", "\"kind\":\"memory\""] {
        assert!(log.contains(part), "{part} in {log}");
    }
}
