//! Tokens by a file: what each may do, and what becomes of those who have none.

use testkit::http_client::{metric, post_with};
use testkit::{HttpClient, HttpResponse, get};

use crate::in_process::InProcessServer;
use crate::token_file::TokenFile;

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn get_with(target: &str, fields: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").into_bytes()
}

fn write(client: &mut HttpClient, token: &str, body: &str) -> HttpResponse {
    client.request(&post_with(&bearer(token), body.as_bytes()))
}

fn events(devices: &[&str]) -> String {
    let event = |device: &&str| match *device {
        "" => r#"{"timestamp":17,"cpu":1,"rps":2}"#.to_owned(),
        device => format!(r#"{{"device_id":"{device}","timestamp":17,"cpu":1,"rps":2}}"#),
    };
    devices.iter().map(event).collect::<Vec<_>>().join("\n")
}

/// Returns the count of failures for a reason.
fn failures(client: &mut HttpClient, reason: &str) -> u64 {
    let answer = client.get("/metrics/prometheus");
    let start = format!("corepulse_auth_failures_total{{reason=\"{reason}\"}} ");
    answer.text().lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
}

#[test]
fn each_token_may_do_what_its_roles_say() {
    let file = TokenFile::new(
        "roles",
        &[
            ("pen", "write * -"),
            ("eye", "read * -"),
            ("both", "write,read * -"),
            ("key", "admin * -"),
        ],
    );
    let running = InProcessServer::start(&["--tokens", file.path(), "--read-token", "flag"]);
    let mut client = running.client();
    for (token, expected) in
        [("pen", 202), ("both", 202), ("eye", 401), ("flag", 401), ("key", 401), ("name-0", 401)]
    {
        assert_eq!(write(&mut client, token, &events(&["d1"])).status, expected, "{token}");
    }
    for path in ["/analyze", "/devices", "/devices/d1", "/anomalies", "/stats"] {
        for (token, expected) in [("eye", 200), ("both", 200), ("flag", 200), ("pen", 401)] {
            let answer = client.request(&get_with(path, &bearer(token)));
            assert_eq!(answer.status, expected, "{path} {token}");
        }
        assert_eq!(client.request(&get(path)).status, 401, "{path}");
    }
    for path in ["/metrics/d1:17", "/devices/d1/latest"] {
        for (token, expected) in [("pen", 200), ("eye", 200), ("flag", 200), ("key", 401)] {
            let answer = client.request(&get_with(path, &bearer(token)));
            assert_eq!(answer.status, expected, "{path} {token}");
        }
    }
    for (token, expected) in [("key", 200), ("pen", 403), ("eye", 403)] {
        // As from elsewhere.
        let answer =
            client.request(&get_with("/debug/pprof/", &format!("Via: a\r\n{}", bearer(token))));
        assert_eq!(answer.status, expected, "{token}");
    }
    // The exposition, the page and probes are open.
    for path in ["/metrics/prometheus", "/", "/health", "/ready", "/openapi.json"] {
        assert_eq!(client.request(&get(path)).status, 200, "{path}");
    }
    assert_eq!(failures(&mut client, "unknown"), 1);
    assert_eq!(failures(&mut client, "missing"), 5);
    assert!(failures(&mut client, "role") >= 10);
}

#[test]
fn a_prefix_bounds_what_is_written_and_looked_up() {
    let file = TokenFile::new("prefix", &[("gate", "write dev- -"), ("all", "write * -")]);
    let running = InProcessServer::start(&["--tokens", file.path()]);
    let mut client = running.client();
    let answer = write(&mut client, "gate", &events(&["dev-1"]));
    assert_eq!((answer.status, answer.text()), (202, "{\"accepted\":1,\"anomalies\":0}\n"));
    // Some may be written, and the others are named.
    let answer = write(&mut client, "gate", &events(&["dev-2", "other", "", "Dev-3", "dev-4"]));
    assert_eq!(answer.status, 202);
    let told = answer.json();
    assert_eq!((&told["accepted"], &told["rejected"]), (&2.into(), &3.into()), "{told}");
    let detail = "device_id: the token may write only ids that begin with \"dev-\"";
    for (at, index) in [1, 2, 3].into_iter().enumerate() {
        assert_eq!(told["errors"][at]["index"], index, "{told}");
        assert_eq!(told["errors"][at]["detail"], detail, "{told}");
    }
    // None may.
    for body in [events(&["other"]), events(&[""]), events(&["other", "dev"])] {
        let answer = write(&mut client, "gate", &body);
        assert_eq!(answer.status, 403, "{answer:?}");
        assert_eq!(answer.json()["errors"][0]["detail"], detail);
    }
    // What is wrong in itself is no question of rights.
    let bad = format!("{}\n{{", events(&["other"]));
    assert_eq!(write(&mut client, "gate", &bad).status, 400);
    for form in ["text/csv", "application/x-ndjson"] {
        let body = match form {
            "text/csv" => "device_id,cpu,rps\nother,1,2\n".to_owned(),
            _ => events(&["other"]),
        };
        let fields = format!("{}Content-Type: {form}\r\n", bearer("gate"));
        assert_eq!(client.request(&post_with(&fields, body.as_bytes())).status, 403, "{form}");
    }
    let looked_up = |client: &mut HttpClient, path: &str, token: &str| {
        client.request(&get_with(path, &bearer(token))).status
    };
    assert_eq!(write(&mut client, "all", &events(&["other", ""])).status, 202);
    for (path, gate, all) in [
        ("/metrics/dev-1:17", 200, 200),
        ("/metrics/%64ev-1:17", 200, 200),
        ("/devices/dev-1/latest", 200, 200),
        ("/metrics/other:17", 401, 200),
        ("/devices/other/latest", 401, 200),
        ("/metrics/17", 401, 200),
    ] {
        assert_eq!(looked_up(&mut client, path, "gate"), gate, "{path}");
        assert_eq!(looked_up(&mut client, path, "all"), all, "{path}");
    }
    let devices = client.get("/devices").json();
    let ids: Vec<_> = devices["devices"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(ids.len(), 4, "{devices}");
    let exposition = client.get("/metrics/prometheus");
    assert!(
        exposition.text().contains("corepulse_events_rejected_total{reason=\"forbidden\"} 10\n")
    );
}

#[test]
fn clients_of_influxdb_send_tokens_of_the_file_in_their_schemes() {
    let file = TokenFile::new("influx", &[("gate", "write dev- 5:60")]);
    let running = InProcessServer::start(&["--tokens", file.path()]);
    let mut client = running.client();
    let line = b"m,host=dev-1 cpu=1,rps=2 17000000000";
    let post = |client: &mut HttpClient, target: &str, authorization: &str, body: &[u8]| {
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nAuthorization: {authorization}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        client.request(&[head.as_bytes(), body].concat())
    };
    for authorization in ["Token gate", "Bearer gate", "Token any:gate", "Basic YW55OmdhdGU="] {
        assert_eq!(post(&mut client, "/write?db=a", authorization, line).status, 204);
    }
    let foreign = b"m,host=other cpu=1,rps=2";
    for (path, member) in [("/write", "error"), ("/api/v2/write", "message")] {
        let answer = post(&mut client, path, "Token gate", foreign);
        assert_eq!(answer.status, 403, "{answer:?}");
        let told = answer.json()[member].as_str().unwrap().to_owned();
        assert!(told.starts_with("forbidden: 1 of 1 lines rejected\nline 1: device_id:"), "{told}");
    }
    // The fifth is the last in a minute.
    assert_eq!(post(&mut client, "/write", "Token gate", line).status, 204);
    let over = post(&mut client, "/write", "Token gate", line);
    assert_eq!(over.status, 429, "{over:?}");
    assert!(over.header("retry-after").is_some(), "{over:?}");
}

#[test]
fn a_token_in_the_query_is_refused_and_told_why() {
    let file = TokenFile::new("query", &[("both", "write,read,admin * -")]);
    let running = InProcessServer::start(&["--tokens", file.path()]);
    let mut client = running.client();
    for target in ["/stats?token=both", "/analyze?access_token=both", "/debug/pprof/?Token=both"] {
        for fields in ["", &bearer("both")] {
            let answer = client.request(&get_with(target, fields));
            assert_eq!(answer.status, 400, "{target}");
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("belongs into Authorization"), "{detail}");
            assert!(!detail.contains("both"), "{detail}");
        }
    }
    for query in ["token=both", "u=any&p=both", "api_key=both"] {
        let target =
            format!("POST /write?{query} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nm a");
        let answer = client.request(target.as_bytes());
        assert_eq!(answer.status, 401, "{query}");
        assert!(answer.text().contains("one in the query does not count"), "{answer:?}");
    }
    let answer = client
        .request(b"POST /metrics?token=both HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(answer.status, 400);
}

#[test]
fn who_fails_again_and_again_is_told_to_wait() {
    let running = InProcessServer::start(&["--read-token", "eye"]);
    let mut client = running.client();
    // Nothing was tried.
    for _ in 0..100 {
        assert_eq!(client.get("/stats").status, 401);
    }
    let wrong = get_with("/stats", &bearer("ear"));
    let statuses: Vec<u16> = (0..100).map(|_| client.request(&wrong).status).collect();
    assert_eq!((statuses[0], statuses[99]), (401, 429), "{statuses:?}");
    let told = client.request(&wrong);
    let seconds: u32 = told.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&seconds), "{seconds}");
    // That was one guess, and the right token is still looked at: also beside a device that never
    // learns.
    assert_eq!(client.request(&get_with("/stats", &bearer("eye"))).status, 200);
    assert_eq!((failures(&mut client, "missing"), failures(&mut client, "unknown")), (100, 101));
}

#[test]
fn the_tokens_of_who_guesses_are_not_looked_at_and_those_of_others_are() {
    let running = InProcessServer::start(&["--ingest-token", "pen", "--read-token", "eye"]);
    let mut client = running.client();
    let mut stranger = HttpClient::connect_from(([127, 0, 0, 9], 0).into(), running.address);
    let body = metric("d1", 17);
    for number in 0..200 {
        let answer = write(&mut stranger, &format!("guess-{number}"), &body);
        assert!(matches!(answer.status, 401 | 429), "{answer:?}");
    }
    let told = write(&mut stranger, "pen", &body);
    assert_eq!(told.status, 429, "{told:?}");
    let seconds: u32 = told.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&seconds), "{seconds}");
    assert!(told.text().contains("Authorization: too many requests of this address"), "{told:?}");
    assert_eq!(stranger.request(&get_with("/stats", &bearer("eye"))).status, 429);
    // It may still do what needs no token.
    assert_eq!(stranger.get("/health").status, 200);
    assert_eq!(write(&mut client, "pen", &body).status, 202);
    assert_eq!(client.request(&get_with("/stats", &bearer("eye"))).status, 200);
    assert!(failures(&mut client, "limited") > 100);
    // It is forgiven by and by.
    testkit::wait::wait_until("the right token is looked at again", || {
        (write(&mut stranger, "pen", &body).status == 202).then_some(())
    });
}

/// Behind `Token` the text may be a token as a whole, or a user and a token: whoever changes one
/// part alone guesses all the same.
#[test]
fn a_guess_beside_a_constant_password_is_a_guess() {
    let running = InProcessServer::start(&["--ingest-token", "user:pen"]);
    for (address, guess) in
        [(7, |number| format!("{number}:pen!")), (8, |number| format!("user:{number}"))]
            as [(u8, fn(u32) -> String); 2]
    {
        let mut stranger =
            HttpClient::connect_from(([127, 0, 0, address], 0).into(), running.address);
        let mut write = |token: &str| {
            let head = format!(
                "POST /write HTTP/1.1\r\nHost: a\r\nAuthorization: Token {token}\r\n\
                 Content-Length: 26\r\n\r\nm,device_id=d1 cpu=1,rps=2"
            );
            stranger.request(head.as_bytes()).status
        };
        assert_eq!(write("user:pen"), 204);
        for number in 0..100 {
            assert!(matches!(write(&guess(number)), 401 | 429));
        }
        assert_eq!(write("user:pen"), 429, "{}", guess(0));
    }
}

/// Nine devices with tokens of yesterday do not keep out the tenth, which shares their address.
#[test]
fn devices_with_old_tokens_do_not_keep_out_the_one_beside_them() {
    let running = InProcessServer::start(&["--ingest-token", "pen"]);
    let mut client = running.client();
    let body = metric("d1", 17);
    for number in 0..200 {
        let answer = write(&mut client, &format!("old-{}", number % 20), &body);
        assert!(matches!(answer.status, 401 | 429), "{answer:?}");
    }
    assert_eq!(write(&mut client, "pen", &body).status, 202);
}

#[test]
fn the_exposition_asks_for_a_token_if_it_is_told_to() {
    let file = TokenFile::new("exposition", &[("pen", "write * -"), ("eye", "read * -")]);
    let flags = ["--tokens", file.path(), "--metrics-auth", "on", "--admin-token", "key"];
    let running = InProcessServer::start(&flags);
    let mut client = running.client();
    for (fields, expected) in
        [(String::new(), 401), (bearer("pen"), 401), (bearer("eye"), 200), (bearer("key"), 200)]
    {
        let answer = client.request(&get_with("/metrics/prometheus", &fields));
        assert_eq!(answer.status, expected, "{fields}");
        if expected == 401 {
            let detail = "Authorization: expected Bearer and the read or the admin token";
            assert_eq!(answer.json()["detail"], detail);
        }
    }
}
