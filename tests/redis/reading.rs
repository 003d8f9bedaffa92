//! Reading of a server with Redis: the newest metric of a device, and outages in words.

use testkit::{HttpClient, Redis, Server, assert_problem, get, post, wait_until};

#[test]
fn the_newest_metric_is_in_redis_and_an_outage_is_told() {
    let mut redis = Redis::start(&[]);
    let server = Server::start(&["--workers", "2", "--redis-url", &redis.url()]);
    let mut client = HttpClient::connect(server.address);
    let latest = get("/devices/d1/latest");
    for (timestamp, cpu) in [(1_700_000_005_u64, 1), (1_700_000_001, 2)] {
        let metric =
            format!("{{\"timestamp\":{timestamp},\"cpu\":{cpu},\"rps\":3,\"device_id\":\"d1\"}}");
        assert_eq!(client.request(&post(metric.as_bytes())).status, 202);
        let found = wait_until("the metric that came last", || {
            let answer = client.request(&latest);
            (answer.status == 200 && answer.json()["timestamp"] == timestamp).then_some(answer)
        });
        assert_eq!(found.text(), format!("{metric}\n"));
    }
    let stats = |client: &mut HttpClient| client.request(&get("/stats")).json();
    let well = stats(&mut client);
    assert_eq!((&well["store"]["up"], &well["problems"]), (&true.into(), &serde_json::json!([])));

    redis.kill();
    let away = wait_until("the outage", || {
        let stats = stats(&mut client);
        (stats["store"]["up"] == false).then_some(stats)
    });
    let problem = &away["problems"][0];
    assert_eq!(problem["kind"], "store_away");
    assert_eq!(problem["since"], away["store"]["away_since"]);
    let (started, since) = (away["started"].as_str().unwrap(), problem["since"].as_str().unwrap());
    assert!(started < since && since <= away["time"].as_str().unwrap(), "{away}");
    let port = redis.address().port().to_string();
    assert!(problem["text"].as_str().unwrap().contains(&port), "{problem}");
    assert_problem(&client.request(&latest), 503, b"");

    redis.run();
    let back = wait_until("the end of the outage", || {
        let stats = stats(&mut client);
        (stats["store"]["up"] == true).then_some(stats)
    });
    assert_eq!(back["problems"], serde_json::json!([]));
    assert!(back["store"]["away_since"].is_null());
    // It came back empty, and is asked again after the pause of look-ups.
    let empty = wait_until("the end of the pause", || {
        let answer = client.request(&latest);
        (answer.status != 503).then_some(answer)
    });
    assert_problem(&empty, 404, b"");
}

#[test]
fn an_instance_says_which_fleet_it_is_in_and_whether_that_can_be_asked() {
    let mut redis = Redis::start(&[]);
    let flags = ["--workers", "2", "--redis-url", &redis.url(), "--fleet", "edge"];
    let server = Server::start(&flags);
    let mut client = HttpClient::connect(server.address);
    let mut wait_for = |expected: serde_json::Value| {
        wait_until("the state of the fleet", || {
            let fleet = &client.request(&get("/stats")).json()["fleet"];
            (*fleet == expected).then_some(())
        });
    };
    wait_for(serde_json::json!({"name": "edge", "up": true, "members": 1, "missed": 0}));
    redis.kill();
    wait_for(serde_json::json!({"name": "edge", "up": false, "members": null, "missed": null}));
}
