//! Devices with a certificate and a token: what both together let them write and look up, in every
//! form of a body.

use testkit::http_client::metric;
use testkit::tls::{Authority, TlsFolder};
use testkit::{HttpClient, HttpResponse};

use crate::in_process::InProcessServer;
use crate::token_file::TokenFile;

/// A server that asks for certificates and tokens, and a client that has one of `gw-7`.
struct Bound {
    running: InProcessServer,
    client: HttpClient,
    _files: (TlsFolder, TokenFile),
}

impl Bound {
    fn start(test: &str, tokens: &[(&str, &str)]) -> Self {
        let (authority, clients) = (Authority::new(), Authority::new());
        let files = TlsFolder::new(&authority.server(), Some(&clients));
        let tokens = TokenFile::new(test, tokens);
        let mut flags = files.flags();
        flags.extend(["--tokens".to_owned(), tokens.path().to_owned()]);
        flags.extend(["--device-name".to_owned(), "device_id,deviceId".to_owned()]);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let running = InProcessServer::start(&flags);
        let client = running.tls_client(authority.client_config(Some(&clients.client("gw-7"))));
        Self { running, client, _files: (files, tokens) }
    }
}

fn request(client: &mut HttpClient, line: &str, fields: &str, body: &[u8]) -> HttpResponse {
    let head = format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    client.request(&[head.as_bytes(), body].concat())
}

fn post(client: &mut HttpClient, token: &str, form: &Form) -> HttpResponse {
    let Form { target, content_type, body, .. } = form;
    let fields = format!(
        "Authorization: Bearer {token}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n",
        body.len()
    );
    request(client, &format!("POST {target}"), &fields, body.as_bytes())
}

fn get(client: &mut HttpClient, token: &str, target: &str) -> u16 {
    let fields = format!("Authorization: Bearer {token}\r\n");
    request(client, &format!("GET {target}"), &fields, b"").status
}

/// A form in which a device can be named.
struct Form {
    name: &'static str,
    target: &'static str,
    content_type: &'static str,
    body: String,
}

/// Returns the forms with one event of a device each.
fn forms(device: &str) -> Vec<Form> {
    let json = |name, body: String| ("/metrics", "application/json", name, body);
    let (first, rest) = device.split_at(1);
    let escaped = format!("\\u{:04x}{rest}", first.as_bytes()[0]);
    let forms = [
        json("an object", format!(r#"{{"device_id":"{device}","cpu":1,"rps":2}}"#)),
        json("behind the fields", format!(r#"{{"cpu":1,"rps":2,"device_id":"{device}"}}"#)),
        json("another name", format!(r#"{{"deviceId":"{device}","cpu":1,"rps":2}}"#)),
        json("another case", format!(r#"{{"DEVICE_ID":"{device}","cpu":1,"rps":2}}"#)),
        json("escaped", format!(r#"{{"device_id":"{escaped}","cpu":1,"rps":2}}"#)),
        json("an array", format!(r#"[{{"device_id":"{device}","cpu":1,"rps":2}}]"#)),
        ("/metrics", "application/x-ndjson", "lines", metric(device, 17) + "\n"),
        ("/metrics", "text/csv", "a table", format!("device_id,cpu,rps\n{device},1,2\n")),
        ("/metrics", "text/csv", "quotes", format!("cpu,rps,deviceid\n1,2,\"{device}\"\n")),
        ("/write", "text/plain", "version 1", format!("m,host={device} cpu=1,rps=2")),
        ("/api/v2/write", "text/plain", "version 2", format!("m,device_id={device} cpu=1,rps=2")),
    ];
    let form = |(target, content_type, name, body)| Form { name, target, content_type, body };
    forms.map(form).into()
}

#[test]
fn each_form_of_a_body_is_bound_by_certificate_and_token() {
    let tokens = [("any", "write * -"), ("gate", "write gw- -"), ("other", "write dev- -")];
    let Bound { running, mut client, _files } = Bound::start("bound", &tokens);
    for (device, token, is_permitted) in [
        ("gw-7", "any", true),
        ("gw-7", "gate", true),
        ("gw-8", "any", false),
        ("gw-8", "gate", false),
        ("GW-7", "any", false),
        ("gw-", "gate", false),
        ("gw-70", "gate", false),
        // The certificate permits what the token does not, or none does what the other one does.
        ("gw-7", "other", false),
        ("dev-1", "other", false),
    ] {
        for form in forms(device) {
            let answer = post(&mut client, token, &form);
            let expected = match (is_permitted, form.target) {
                (false, _) => 403,
                (true, "/metrics") => 202,
                (true, _) => 204,
            };
            assert_eq!(answer.status, expected, "{device} {token} {}: {answer:?}", form.name);
        }
    }
    // The same without a certificate.
    let mut clear = running.client();
    for (device, is_permitted) in [("gw-8", true), ("GW-8", false), ("x", false)] {
        for form in forms(device) {
            let status = post(&mut clear, "gate", &form).status;
            assert_eq!(matches!(status, 202 | 204), is_permitted, "{device} {}", form.name);
        }
    }
}

#[test]
fn a_device_is_looked_up_by_who_may_have_written_it() {
    let tokens = [("any", "write * -"), ("gate", "write gw- -"), ("eye", "read * -")];
    let Bound { running, mut client, _files } = Bound::start("looked-up", &tokens);
    let mut clear = running.client();
    for device in ["gw-7", "gw-8", "dev-1"] {
        let form = Form {
            name: "",
            target: "/metrics",
            content_type: "application/json",
            body: metric(device, 1_700_000_000),
        };
        assert_eq!(post(&mut clear, "any", &form).status, 202);
    }
    for (device, token, in_clear, by_certificate) in [
        ("gw-7", "any", 200, 200),
        ("gw-7", "gate", 200, 200),
        ("gw-8", "any", 200, 401),
        ("gw-8", "gate", 200, 401),
        ("dev-1", "any", 200, 401),
        ("dev-1", "gate", 401, 401),
        // Who may read, reads all.
        ("gw-8", "eye", 200, 200),
    ] {
        let targets =
            [format!("/metrics/{device}:1700000000"), format!("/devices/{device}/latest")];
        for target in targets {
            assert_eq!(get(&mut clear, token, &target), in_clear, "{target} {token}");
            assert_eq!(get(&mut client, token, &target), by_certificate, "{target} {token}");
        }
    }
    // An event without a device is of nobody's certificate.
    assert_eq!(get(&mut client, "any", "/metrics/1700000000"), 401);
    assert_eq!(get(&mut clear, "any", "/metrics/1700000000"), 404);
}
