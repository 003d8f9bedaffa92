//! Events without a device: each core scores those that it receives as a series of its own.

use super::event::Event;
use super::json::Json;
use super::naive::{All, Device, check_recent};
use super::server::{body_of, connect_to_each_core, start};

#[test]
fn each_core_judges_its_own_anonymous_series() {
    let server = start(2, &[]);
    let mut clients = connect_to_each_core(&server);
    let mut series = [Device::default(), Device::default()];
    let (mut all, mut points) = (All::default(), Vec::new());
    let mut random = fastrand::Rng::with_seed(5);
    for second in 0..1200 {
        // The cores see different levels: one series of both would hold other anomalies.
        let core = random.usize(..2);
        let level = if core == 0 { 1.0 } else { 1e3 };
        let values = [level, level * 10.0].map(|level| level + random.f64().powi(4));
        let event = Event::at(second, None, values);
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
    assert!(points.len() > 50, "{}", points.len());
    let text = body_of(&mut clients[0], "/analyze");
    let json = Json(&text);
    all.check(&text);
    check_recent(json, None, points.iter());
    assert_eq!(json.whole("anomalies.points"), points.len() as u64, "{text}");
    let episodes: u64 = series.iter().map(Device::episodes).sum();
    assert_eq!(json.whole("anomalies.episodes"), episodes, "{text}");
    assert_eq!(json.whole("totals.devices"), 0, "{text}");
    assert_eq!(json.whole("totals.accepted"), 1200, "{text}");
}
