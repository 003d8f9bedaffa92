//! Flags about Redis, and the values that are refused.

use testkit::server::run_with;

/// A part of the URL that was ignored might lead to another database.
#[test]
fn a_name_in_the_query_of_a_redis_url_that_is_not_known_is_a_usage_error() {
    for (url, named) in [
        ("redis://cache?db=2", "redis://host/2"),
        ("redis+sentinel://a,b/main?sentinel_pasword=hunter2", "sentinel_password"),
    ] {
        let run = run_with(&["--redis-url", url]);
        assert_eq!((run.code, run.output.as_str()), (64, ""), "{run:?}");
        assert!(run.errors.contains(named) && !run.errors.contains("hunter2"), "{run:?}");
    }
}

#[test]
fn a_database_or_a_port_that_cannot_be_is_a_usage_error() {
    for (url, expected) in [
        ("redis://:hunter2@cache/-1", "a database from 0 on"),
        ("redis+unix:///run/redis.sock?db=-1&pass=hunter2", "a database from 0 on"),
        ("redis+sentinel://a,b/main/-2", "a database from 0 on"),
        ("redis://:hunter2@cache:0", "a port from 1"),
        ("rediss://cache:0/1", "a port from 1"),
        ("redis+sentinel://a,b:0/main", "a port from 1"),
        ("redis+cluster://a:7000,b:0", "a port from 1"),
    ] {
        let run = run_with(&["--redis-url", url]);
        assert_eq!((run.code, run.output.as_str()), (64, ""), "{url}: {run:?}");
        assert!(run.errors.contains(expected) && !run.errors.contains("hunter2"), "{run:?}");
    }
}

/// A queue that refuses what does not fit has to take the largest request at some time.
#[test]
fn a_queue_too_small_for_the_largest_request_is_a_usage_error() {
    let reject = ["--redis-url", "redis://127.0.0.1:1", "--store-overflow", "reject"];
    for (arguments, least) in [
        (&["--store-queue", "5MiB", "--workers", "2"][..], "6MiB"),
        (&["--max-body", "64MiB", "--store-queue", "32MiB", "--workers", "2"], "33MiB"),
        (&["--store-queue", "15MiB", "--workers", "200"], "16MiB"),
    ] {
        let run = run_with(&[&reject[..], &["--listen", "127.0.0.1:0"], arguments].concat());
        assert_eq!((run.code, run.output.as_str()), (64, ""), "{run:?}");
        assert!(run.errors.contains("--store-queue") && run.errors.contains(least), "{run:?}");
    }
}
