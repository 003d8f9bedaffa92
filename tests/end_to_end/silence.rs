//! Devices that fall silent: forgotten, while what the instance has counted stays.

use super::event::{Event, Reading};
use super::json::Json;
use super::naive::{Device, Rules};
use super::server::{analyze, body_of, poll, start, start_for};
use super::shape::{Shape, optional, required};
use std::time::{Duration, Instant};
use testkit::{Exposition, StoreCounters};

#[test]
fn a_silent_device_is_forgotten_and_no_total_falls() {
    let server = start(2, &["--device-ttl=1s"]);
    let mut client = server.client();
    let mut random = fastrand::Rng::with_seed(3);
    let start = Instant::now();
    for number in 0..400 {
        let id = format!("d{}", number % 10);
        let cpu = if number >= 380 { 1e6 } else { random.f64() };
        let event = Event::at(number, Some(&id), [cpu, 1.0]);
        assert_eq!(client.post_without_type(event.json()).status, 202);
    }
    let known = analyze(&mut client, "d9");
    assert_eq!(Json(&known).whole("totals.accepted"), 40);
    assert!(Json(&known).truth("cpu.anomaly"), "{known}");
    let before = body_of(&mut client, "/analyze");
    let scrape_before = Exposition::request(&mut client);
    assert!(Json(&before).whole("anomalies.points") >= 20, "{before}");
    assert_eq!(Json(&before).whole("totals.devices"), 10, "{before}");

    poll(&mut client, "/analyze?device_id=d0", |response| response.status == 404);
    assert!(start.elapsed() >= Duration::from_secs(1), "forgotten too early");
    for id in 0..10 {
        let target = format!("/analyze?device_id=d{id}");
        poll(&mut client, &target, |response| response.status == 404);
    }
    // Its slot is freed soon after, although no device posts.
    poll(&mut client, "/analyze", |response| Json(response.text()).whole("totals.devices") == 0);
    let after = body_of(&mut client, "/analyze");
    let (before, now) = (Json(&before), Json(&after));
    for total in ["anomalies.points", "anomalies.episodes", "totals.accepted"] {
        assert_eq!(now.whole(total), before.whole(total), "{total}: {after}");
    }
    for whole in ["window", "cpu", "rps", "anomalies.recent"] {
        assert_eq!(now.at(whole).0, before.at(whole).0, "{whole}");
    }
    let scrape = Exposition::request(&mut client);
    scrape.check_monotonic_since(&scrape_before);
    StoreCounters::from_exposition(scrape.clone());
    assert_eq!(scrape.value("corepulse_devices"), 0.0);

    // A device that comes back starts afresh.
    let event = Event::at(500, Some("d0"), [1.0, 1.0]);
    assert_eq!(client.post_without_type(event.json()).status, 202);
    let text = analyze(&mut client, "d0");
    assert_eq!(Json(&text).whole("totals.accepted"), 1, "{text}");
    assert_eq!(Json(&text).whole("window.count"), 1, "{text}");
    assert_eq!(Json(&text).whole("anomalies.points"), 0, "{text}");
    assert_eq!(Json(&text).at("anomalies.recent").0, "[]", "{text}");
    let text = body_of(&mut client, "/analyze");
    assert_eq!(Json(&text).whole("totals.accepted"), 401, "{text}");
}

#[test]
fn a_silent_devices_fields_are_forgotten_each_of_them() {
    for fields in [
        [optional("a"), optional("b"), optional("c")],
        [required("a"), optional("b"), optional("c")],
    ] {
        let shape = Shape::leak(&fields);
        let server = start_for(shape, 1, &["--device-ttl=1s"]);
        let mut client = server.client();
        let mut send = |second: usize, names: &str| {
            let fields = shape.fields().filter(|field| names.contains(&field.name));
            let readings = fields.map(|field| Reading::of(field, (second % 7).to_string()));
            let event = Event::of(second, Some("d"), readings.collect());
            assert_eq!(client.post_without_type(event.json()).status, 202);
            event
        };
        for second in 0..60 {
            send(second, if second % 2 == 0 { "abc" } else { "ab" });
        }
        poll(&mut server.client(), "/analyze?device_id=d", |response| response.status == 404);
        let mut device = Device::under(Rules::default(), shape);
        device.take(&send(60, "ac"));
        device.check("d", &analyze(&mut server.client(), "d"));
    }
}
