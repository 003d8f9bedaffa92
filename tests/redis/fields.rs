//! Other fields: Redis holds the members that came, and a roll-out that changes the fields hides
//! only what could not be sent any more.

use testkit::{Redis, Server, StoreCounters, get, post, wait_until};

/// Names of 1 and 64 bytes, some with the same first eight.
const SIXTEEN: &str = "a,pressure,pressure1,pressure_2?,pressure_03?,name_of_13,exactly_sixteen_?,\
    x?,y?,z?,u?,v?,w?,s?,t?,nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn?";

fn start(redis: &Redis, fields: &str) -> Server {
    Server::start(&["--redis-url", &redis.url(), "--fields", fields])
}

/// Posts metrics, and waits until nothing is on its way.
fn send(server: &Server, metrics: &[&str]) {
    let answer = server.client().request(&post(metrics.join("\n").as_bytes()));
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json()["accepted"], metrics.len(), "{answer:?}");
    wait_until("it is written", || {
        (StoreCounters::scrape(server.address).pending == 0).then_some(())
    });
}

fn look_up(server: &Server, key: &str) -> Option<String> {
    let answer = server.client().request(&get(&format!("/metrics/{key}")));
    match answer.status {
        200 => Some(answer.text().trim_end().to_owned()),
        404 => None,
        _ => panic!("{answer:?}"),
    }
}

#[test]
fn redis_has_exactly_the_members_that_came() {
    let longest = "n".repeat(64);
    let sixteen = format!(
        r#"{{"a":1,"pressure":2.50,"pressure1":-3e-2,"pressure_2":4,"name_of_13":5,"{longest}":6"#
    );
    // Required fields are stored before the others.
    let stored =
        r#"{"timestamp":7,"a":1,"pressure":2.50,"pressure1":-3e-2,"name_of_13":5,"pressure_2":4"#;
    let all = |value: &str| {
        let member = |name: &str| format!(",\"{}\":{value}", name.trim_end_matches('?'));
        let names = SIXTEEN.split(',');
        let (optional, required): (Vec<_>, Vec<_>) = names.partition(|name| name.ends_with('?'));
        required.into_iter().chain(optional).map(member).collect::<String>()
    };
    let number = "1".repeat(128);
    for (fields, sent, stored) in [
        (
            "temperature?,humidity?=0..100,battery?",
            r#"{"device_id":"d1","HUMIDITY":4.0e1,"timestamp":7,"battery":null}"#.to_owned(),
            r#"{"timestamp":7,"humidity":4.0e1,"device_id":"d1"}"#.to_owned(),
        ),
        (
            "temperature?,humidity?=0..100,battery?",
            r#"{"battery":"3.70","device_id":"d1","temperature":-0,"timestamp":7}"#.to_owned(),
            r#"{"timestamp":7,"temperature":-0,"battery":3.70,"device_id":"d1"}"#.to_owned(),
        ),
        (
            SIXTEEN,
            format!(r#"{sixteen},"device_id":"d1","timestamp":7,"other":8}}"#),
            format!(r#"{stored},"{longest}":6,"device_id":"d1"}}"#),
        ),
        (
            SIXTEEN,
            format!(r#"{{"timestamp":7{},"device_id":"d1"}}"#, all(&number)),
            format!(r#"{{"timestamp":7{},"device_id":"d1"}}"#, all(&number)),
        ),
    ] {
        let mut redis = Redis::start(&[]);
        let server = start(&redis, fields);
        send(&server, &[&sent]);
        assert_eq!(redis.value("metric:d1:7").as_ref(), Some(&stored));
        assert_eq!(look_up(&server, "d1:7"), Some(stored));
    }
}

#[test]
fn a_change_of_fields_hides_only_what_could_not_be_sent() {
    let redis = Redis::start(&[]);
    let both = r#"{"timestamp":1,"temperature":21.5,"humidity":40,"device_id":"d1"}"#;
    let one = r#"{"timestamp":2,"temperature":21.5,"device_id":"d1"}"#;
    let cold = r#"{"timestamp":3,"temperature":-30,"device_id":"d1"}"#;
    let before = start(&redis, "temperature=-40..125,humidity?=0..100");
    send(&before, &[both, one, cold]);
    for (fields, found) in [
        ("temperature=-40..125,humidity?=0..100", [true, true, true]),
        // One more field, and another order.
        ("battery?,humidity?,temperature?", [true, true, true]),
        // A field that became required, is gone, or has another range or name.
        ("humidity,temperature", [true, false, false]),
        ("temperature", [false, true, true]),
        ("temperature=0..125,humidity?", [true, true, false]),
        ("Temperature,humidity?", [false, false, false]),
        ("cpu,rps", [false, false, false]),
    ] {
        // Both run beside each other, as in a roll-out.
        let after = start(&redis, fields);
        for ((number, value), is_found) in (1..).zip([both, one, cold]).zip(found) {
            let expected = is_found.then(|| value.to_owned());
            assert_eq!(look_up(&after, &format!("d1:{number}")), expected, "{fields}");
        }
    }
    assert_eq!(look_up(&before, "d1:1").as_deref(), Some(both));
}
