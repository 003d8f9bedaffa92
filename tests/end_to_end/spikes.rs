//! Series that ruin running sums, checked over HTTP after every single event.

use super::event::Event;
use super::json::Json;
use super::naive::{All, Device, Rules};
use super::server::{analyze, body_of, start};
use super::shape::Shape;
use testkit::HttpClient;

/// As [`follow_under`], by the defaults.
fn follow(client: &mut HttpClient, id: &str, values: impl Iterator<Item = [f64; 2]>) -> Device {
    follow_under(Rules::default(), client, id, values)
}

/// Sends these values one by one and checks `/analyze` after each; the reference's account.
fn follow_under(
    rules: Rules,
    client: &mut HttpClient,
    id: &str,
    values: impl Iterator<Item = [f64; 2]>,
) -> Device {
    let mut device = Device::under(rules, Shape::standard());
    for (second, values) in values.enumerate() {
        let event = Event::at(second, Some(id), values);
        let response = client.post_without_type(event.json());
        assert_eq!(response.status, 202, "{}", response.text());
        let anomalies = device.take(&event).len() as u64;
        assert_eq!(Json(response.text()).whole("anomalies"), anomalies);
        device.check(id, &analyze(client, id));
    }
    device
}

/// Noise from 0 to 1 of a fixed seed: the same events in every run.
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut random = fastrand::Rng::with_seed(seed);
    move || random.f64()
}

#[test]
fn spikes_of_1e12_leave_nothing_behind() {
    let server = start(2, &[]);
    let mut client = server.client();
    for (number, spread) in [0.0, 1e-9, 1e-6, 1e-3, 1.0].into_iter().enumerate() {
        let mut noise = noise(number as u64);
        let values = (0..320).map(|at| {
            let is_spike = at % 97 == 60 || at % 173 == 70;
            let cpu = if is_spike { 1e6 } else { 1.0 + spread * noise() };
            let rps = if is_spike { 1e12 } else { 1.0 + spread * noise() };
            [cpu, rps]
        });
        let device = follow(&mut client, &format!("spiky-{number}"), values);
        let spiky = device.points.iter().filter(|point| point.event.values()[1] == 1e12);
        assert_eq!(spiky.count(), 2 * 5, "every spike is found, by either field");
    }
}

#[test]
fn constant_series_are_calm_until_they_step() {
    let server = start(2, &[]);
    let mut client = server.client();
    for constant in [91.958, 0.1, 1.0 / 3.0, 999_999.9, 0.0_f64] {
        let level = [constant, constant * 1e6];
        let hair = level.map(|value| value + value.max(1.0) * 1e-12);
        let step = [level[0] + 1e-2, level[1] + 1e4];
        let calm = std::iter::repeat_n(level, 60);
        let values = calm.clone().chain([hair, step]).chain(calm);
        let device = follow(&mut client, &format!("constant-{constant}"), values);
        assert_eq!(device.points[0].event.values(), step);
    }
}

#[test]
fn tiny_deviations_around_large_values_are_told_apart() {
    let server = start(2, &[]);
    let mut client = server.client();
    let levels = [(1e12, 1e-3), (1e12, 1.0), (1e12 - 1.0, 1e4), (1e9, 1e-6), (1e5, 1e-9)];
    for (number, (level, spread)) in levels.into_iter().enumerate() {
        let mut noise = noise(10 + number as u64);
        let values = (0..150).map(|_| {
            let cpu = (level - spread * noise()) * 1e-6;
            [cpu, level - spread * noise()]
        });
        follow(&mut client, &format!("level-{number}"), values);
    }
}

#[test]
fn a_level_shift_is_learnt() {
    let server = start(1, &[]);
    let mut client = server.client();
    let mut noise = noise(20);
    let values = (0..400_u32).map(|at| {
        // With less noise a value would stand at 2 sigma of a window that has learnt a fifth.
        let level = f64::from(at / 100);
        let spread = 1.0 + noise() / 4.0;
        [level * 1e5 * spread, 10_f64.powf(level * 3.0) * spread]
    });
    let device = follow(&mut client, "shifting", values);
    let shifts = device.points.iter().filter(|point| point.event.values()[0] >= 1e5);
    assert!(shifts.count() >= 3);
    let text = analyze(&mut client, "shifting");
    assert!(!Json(&text).truth("cpu.anomaly"), "{text}");
}

#[test]
fn the_flags_decide_how_series_are_judged() {
    let flags = ["--window=7", "--z-threshold=2.75", "--min-samples=3", "--cooldown=2"];
    let server = start(2, &flags);
    let mut client = server.client();
    let rules = Rules { window: 7, threshold: 2.75, min_samples: 3, cooldown: 2 };
    let mut noise = noise(30);
    let values = (0..500).map(|_| [noise() * 100.0, noise() * noise()]);
    let device = follow_under(rules, &mut client, "other", values);
    let (points, episodes) = (device.points.len() as u64, device.episodes());
    assert!(episodes > 20 && episodes < points, "{episodes} of {points}");
    let all = All { events: device.events, ..All::under(rules, Shape::standard()) };
    all.check(&body_of(&mut client, "/analyze"));
}
