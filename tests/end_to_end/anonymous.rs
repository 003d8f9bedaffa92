//! Events without a device: each core scores those that it receives as a series of its own.

use super::event::Event;
use super::json::Json;
use super::naive::{All, Device, Rules, check_counters, check_recent};
use super::server::{body_of, connect_to_each_core, start_for};
use super::shape::{Shape, optional, required};
use super::shapes;
use testkit::Exposition;

/// Sends events to one core or another, which `event` makes for a core and a second; the number of
/// anomalies among them.
fn follow(
    shape: &'static Shape,
    count: usize,
    mut event: impl FnMut(usize, usize, &mut fastrand::Rng) -> Event,
) -> usize {
    let server = start_for(shape, 2, &[]);
    let mut clients = connect_to_each_core(&server);
    let mut series = [(); 2].map(|()| Device::under(Rules::default(), shape));
    let (mut all, mut points) = (All::under(Rules::default(), shape), Vec::new());
    let mut random = fastrand::Rng::with_seed(5);
    for second in 0..count {
        let core = random.usize(..2);
        let event = event(core, second, &mut random);
        let response = clients[core].post_without_type(event.json());
        assert_eq!(response.status, 202, "{}", response.text());
        let json = Json(response.text());
        let found = series[core].take(&event);
        assert_eq!(json.whole("anomalies"), found.len() as u64, "{second}");
        let listed = json.find("anomalous").map_or(Vec::new(), Json::elements);
        assert_eq!(listed.len(), found.len(), "{}", response.text());
        for (listed, point) in listed.into_iter().zip(found) {
            point.check(listed, None);
        }
        points.extend_from_slice(found);
        all.events.push(event);
    }
    let text = body_of(&mut clients[0], "/analyze");
    let json = Json(&text);
    all.check(&text);
    check_recent(json, None, points.iter());
    check_counters(&Exposition::request(&mut clients[1]), shape, &series);
    assert_eq!(json.whole("anomalies.points"), points.len() as u64, "{text}");
    let episodes: u64 = series.iter().map(Device::episodes).sum();
    assert_eq!(json.whole("anomalies.episodes"), episodes, "{text}");
    assert_eq!(json.whole("totals.devices"), 0, "{text}");
    assert_eq!(json.whole("totals.accepted"), count as u64, "{text}");
    points.len()
}

#[test]
fn each_core_judges_its_own_anonymous_series() {
    let points = follow(Shape::standard(), 1200, |core, second, random| {
        // The cores see different levels: one series of both would hold other anomalies.
        let level = if core == 0 { 1.0 } else { 1e3 };
        let values = [level, level * 10.0].map(|level| level + random.f64().powi(4));
        Event::at(second, None, values)
    });
    assert!(points > 50, "{points}");
}

#[test]
fn each_core_judges_the_fields_of_its_anonymous_series() {
    let shape = Shape::leak(&[optional("a"), required("b"), optional("c"), optional("d")]);
    let points =
        follow(shape, 800, |core, second, random| shapes::event(shape, second, core, random));
    assert!(points > 50, "{points}");
}
