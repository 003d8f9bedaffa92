//! The program's words: flags, variables, mistakes, exit codes, and what it never says.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

#[path = "support/wire.rs"]
mod support;

use serde_json::Value;
use support::process::{Run, command, run};
use support::{Process, get};

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
    ("admin-token", "(not set)"),
    ("cors-origin", "(not set)"),
    ("log-format", "text"),
    ("log-level", "info"),
];

fn run_with(arguments: &[&str]) -> Run {
    run(command(arguments))
}

/// Whether a configuration has this line, wherever its value came from.
fn has(run: &Run, line: &str) -> bool {
    let values = run.output.lines().map(|line| line.split("  # ").next().unwrap());
    values.into_iter().any(|value| value == line)
}

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
    let expected = concat!("corepulse ", env!("CARGO_PKG_VERSION"));
    assert!(version.output.starts_with(expected), "{}", version.output);
}

#[test]
fn the_effective_configuration_is_printed() {
    let printed = run_with(&["--print-config"]);
    assert_eq!((printed.code, printed.errors.as_str()), (0, ""));
    for (flag, value) in FLAGS {
        let line = format!("{flag} = {value}");
        assert!(has(&printed, &line), "{line}: {}", printed.output);
    }
    let changed = run_with(&["--print-config", "--window", "20", "--store-ttl", "90s"]);
    assert!(has(&changed, "window = 20"), "{}", changed.output);
    assert!(has(&changed, "store-ttl = 1m 30s"), "{}", changed.output);
}

#[test]
fn each_value_says_where_it_came_from() {
    let mut command = command(&["--print-config", "--window=20", "--workers", "auto"]);
    command.env("COREPULSE_COOLDOWN", "7").env("COREPULSE_PIN", "");
    command.env("REDIS_URL", "rediss://writer:hunter2@cache/3").env("COREPULSE_WINDOW", "30");
    let printed = run(command);
    assert_eq!((printed.code, printed.errors.as_str()), (0, ""));
    for line in [
        "window = 20  # flag",
        "cooldown = 7  # COREPULSE_COOLDOWN",
        "pin = auto  # default",
        "min-samples = 16  # default",
        "redis-url = rediss://writer:***@cache:6379/3  # REDIS_URL",
        "ingest-token = (not set)  # default",
    ] {
        assert!(printed.output.lines().any(|found| found == line), "{line}: {}", printed.output);
    }
    for begin in
        ["workers = auto  # flag, derived: ", "max-connections = auto  # default, derived: "]
    {
        let line = printed.output.lines().find_map(|line| line.strip_prefix(begin));
        let number = line.unwrap_or_else(|| panic!("{begin}: {}", printed.output));
        assert!(number.parse::<usize>().is_ok_and(|number| number > 0), "{begin}{number}");
    }
    let ends = "  # default, derived: the host name";
    let instance = printed.output.lines().find(|line| line.starts_with("instance = "));
    assert!(instance.is_some_and(|line| line.ends_with(ends)), "{}", printed.output);
    assert!(!printed.output.contains("hunter2"), "{}", printed.output);
    // As on this machine: the kernel has its say in what was asked for.
    let asked = run_with(&["--print-config", "--max-connections", "4000000000"]);
    let (_, granted) = asked.output.split_once("4000000000  # flag, derived: ").unwrap();
    let granted: u64 = granted.lines().next().unwrap().parse().unwrap();
    assert!(granted < 4_000_000_000, "{granted}");
}

#[test]
fn a_variable_without_effect_is_told_with_what_it_may_be_meant_for() {
    let misspelt = [("COREPULSE_STORETTL", "9s"), ("COREPULSE_PORT", "8081")];
    let of_kubernetes = [
        ("COREPULSE_SERVICE_HOST", "10.0.0.1"),
        ("COREPULSE_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("COREPULSE_COMMIT", "abc"),
    ];
    let mut printing = command(&["--print-config"]);
    printing.envs(misspelt).envs(of_kubernetes);
    let printed = run(printing);
    assert_eq!(printed.code, 0, "{printed:?}");
    assert!(has(&printed, "store-ttl = 5m"), "{printed:?}");
    let expected = "corepulse: COREPULSE_PORT has no effect; did you mean COREPULSE_LISTEN?\n\
                    corepulse: COREPULSE_STORETTL has no effect; did you mean \
                    COREPULSE_STORE_TTL?\n";
    assert_eq!(printed.errors, expected);

    let mut process = Process::start_with(&[misspelt.as_slice(), &of_kubernetes].concat(), &[]);
    process.signal("TERM");
    process.wait();
    let told: Vec<_> = process.log_entries("has no effect");
    let names: Vec<_> = told.iter().map(|entry| (&entry["variable"], &entry["nearest"])).collect();
    let (port, listen) = ("COREPULSE_PORT".into(), "COREPULSE_LISTEN".into());
    let (ttl, nearest) = ("COREPULSE_STORETTL".into(), "COREPULSE_STORE_TTL".into());
    assert_eq!(names, [(&port, &listen), (&ttl, &nearest)], "{told:?}");
    assert!(told.iter().all(|entry| entry["level"] == "WARN"), "{told:?}");
}

#[test]
fn too_little_for_what_was_asked_is_told_at_the_start() {
    const FEW: &str = "leaves few connections";
    const MEMORY: &str = "may outgrow the memory";
    let told = |process: Process, message: &str| {
        let mut process = process;
        process.signal("TERM");
        process.wait();
        process.log_entries(message)
    };
    // A shell may lower its limits for good, and no process may raise them again.
    let few = told(Process::start_after("ulimit -n 300", &["--workers", "1"]), FEW);
    assert_eq!((&few[0]["level"], &few[0]["descriptors"]), (&"WARN".into(), &300.into()));
    let arguments = ["--workers", "1", "--max-connections", "200"];
    let fewer = told(Process::start_after("ulimit -n 200", &arguments), FEW);
    assert_eq!(fewer[0]["wanted"], "200", "{fewer:?}");
    assert!(fewer[0]["connections_max"].as_u64().unwrap() < 200, "{fewer:?}");
    let enough = ["--workers", "1", "--max-connections", "100"];
    assert_eq!(told(Process::start_after("ulimit -n 300", &enough), FEW), [] as [Value; 0]);

    let large = told(Process::start(&["--memory-store", "64TiB"]), MEMORY);
    assert_eq!(
        (&large[0]["level"], &large[0]["store_bytes"]),
        (&"WARN".into(), &(64_u64 << 40).into())
    );
    let many = told(Process::start(&["--max-devices", "100000000", "--window", "10000"]), MEMORY);
    assert!(many[0]["windows_bytes"].as_u64().unwrap() > 1 << 40, "{many:?}");
    let small = ["--memory-store", "4MiB", "--max-devices", "10"];
    assert_eq!(told(Process::start(&small), MEMORY), [] as [Value; 0]);
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
        assert!(has(&printed, line), "{line}: {}", printed.output);
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
        assert!(has(&run, "redis-url = redis://:***@cache:6379/0"), "{run:?}");
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
        assert!(has(&run, &format!("{flag} = {value}")), "{flag}: {}", run.output);
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
    let mut process = Process::start(&["--ingest-token", token]);
    assert_eq!(process.client().ask(&get("/metrics/1")).status, 401);
    process.signal("TERM");
    process.wait();
    assert!(!process.whole_log().contains(token));
}

#[test]
fn the_start_up_lines_say_what_runs() {
    let mut process = Process::start(&["--workers", "2"]);
    process.signal("TERM");
    process.wait();
    let log = process.whole_log();
    let listening = format!("listening on http://{}", process.address);
    for part in [&listening, "\"workers\":2", "not pinned: --pin off", "\"kind\":\"memory\""] {
        assert!(log.contains(part), "{part} in {log}");
    }
}
