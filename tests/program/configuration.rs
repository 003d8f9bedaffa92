//! The sources of the configuration, and the warnings about it at the start.

use serde_json::Value;
use testkit::Server;
use testkit::server::{command, run, run_with};

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

/// One variable changes the fields of a whole deployment, and what is printed may be given again.
#[test]
fn fields_and_names_are_printed_as_they_may_be_given() {
    let given = [
        ("fields", " Temperature?=-40..125~0.50, humidity?=0..100,pressure=3e4..1.1e5,battery? "),
        ("device-name", "deviceId, serial"),
        ("timestamp-name", "ts,@timestamp"),
        ("device-tag", "sensor"),
    ];
    let expected = [
        ("fields", "Temperature?=-40..125~0.5,humidity?=0..100,pressure=30000..110000,battery?"),
        ("device-name", "deviceId,serial"),
        ("timestamp-name", "ts,@timestamp"),
        ("device-tag", "sensor"),
    ];
    for given in [given, expected] {
        let variable = |flag: &str| format!("COREPULSE_{}", flag.to_uppercase().replace('-', "_"));
        let mut by_variable = command(&["--print-config"]);
        by_variable.envs(given.map(|(flag, value)| (variable(flag), value)));
        let arguments = given.map(|(flag, value)| format!("--{flag}={value}"));
        let mut by_flag = command(&["--print-config"]);
        by_flag.args(&arguments);
        for run in [run(by_variable), run(by_flag)] {
            assert_eq!((run.code, run.errors.as_str()), (0, ""));
            for (flag, value) in expected {
                assert!(run.has_setting(&format!("{flag} = {value}")), "{flag}: {}", run.output);
            }
        }
    }
}

#[test]
fn every_mistake_in_fields_and_names_is_told_at_once() {
    let run = run_with(&[
        "--fields=load %,t=5..1~x,Cpu,cpu,timestamp,rps=0..inf",
        "--device-name=a b,timestamp",
        "--timestamp-name=device_id",
        "--device-tag=",
    ]);
    assert_eq!((run.code, run.output.as_str()), (64, ""), "{run:?}");
    let begin = ["fields"; 6].into_iter().chain(["device-name"; 2]);
    let begin = begin.chain(["timestamp-name", "device-tag"]);
    let begin: Vec<_> = begin.map(|flag| format!("corepulse: --{flag}: expected ")).collect();
    let ends = [
        "found \"load %\"",
        "found \"t=5..1~x\"",
        "found \"t=5..1~x\"",
        "found \"timestamp\"",
        "found \"rps=0..inf\"",
        "found \"cpu\"",
        "found \"a b\"",
        "found \"timestamp\"",
        "found \"device_id\"",
        "found \"\"",
    ];
    let lines: Vec<_> = run.errors.lines().collect();
    assert_eq!(lines.len(), ends.len(), "{}", run.errors);
    for ((line, begin), end) in lines.iter().zip(begin).zip(ends) {
        assert!(line.starts_with(&begin) && line.ends_with(end), "{line}: {end}");
    }
    // Names that are good by themselves, but not beside each other.
    let run = run_with(&["--fields=Serial,b", "--device-name=serial,ts", "--timestamp-name=TS"]);
    assert_eq!((run.code, run.errors.lines().count()), (64, 2), "{run:?}");
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
    assert!(printed.has_setting("store-ttl = 5m"), "{printed:?}");
    let expected = "corepulse: COREPULSE_PORT has no effect; did you mean COREPULSE_LISTEN?\n\
                    corepulse: COREPULSE_STORETTL has no effect; did you mean \
                    COREPULSE_STORE_TTL?\n";
    assert_eq!(printed.errors, expected);

    let mut server =
        Server::start_with_environment(&[misspelt.as_slice(), &of_kubernetes].concat(), &[]);
    server.signal("TERM");
    server.wait();
    let told: Vec<_> = server.log_entries("has no effect");
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
    let told = |server: Server, message: &str| {
        let mut server = server;
        server.signal("TERM");
        server.wait();
        server.log_entries(message)
    };
    // A shell may lower its limits for good, and no process may raise them again.
    let few = told(Server::start_from_shell("ulimit -n 300", &["--workers", "1"]), FEW);
    assert_eq!((&few[0]["level"], &few[0]["descriptors"]), (&"WARN".into(), &300.into()));
    let arguments = ["--workers", "1", "--max-connections", "200"];
    let fewer = told(Server::start_from_shell("ulimit -n 200", &arguments), FEW);
    assert_eq!(fewer[0]["wanted"], "200", "{fewer:?}");
    assert!(fewer[0]["connections_max"].as_u64().unwrap() < 200, "{fewer:?}");
    let enough = ["--workers", "1", "--max-connections", "100"];
    assert_eq!(told(Server::start_from_shell("ulimit -n 300", &enough), FEW), [] as [Value; 0]);

    let large = told(Server::start(&["--memory-store", "64TiB"]), MEMORY);
    assert_eq!(
        (&large[0]["level"], &large[0]["store_bytes"]),
        (&"WARN".into(), &(64_u64 << 40).into())
    );
    let many = told(Server::start(&["--max-devices", "100000000", "--window", "10000"]), MEMORY);
    assert!(many[0]["windows_bytes"].as_u64().unwrap() > 1 << 40, "{many:?}");
    let small = ["--memory-store", "4MiB", "--max-devices", "10"];
    assert_eq!(told(Server::start(&small), MEMORY), [] as [Value; 0]);
}
