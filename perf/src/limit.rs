//! The limit of a load: the server, or something else.
//!
//! CPU time a request is a server's at its best while its core is full. Where something else is the
//! limit, the generator or Redis, a faster server has an emptier core than a slower one, and pays
//! more for each time that it wakes up. At a fixed rate nobody should be the limit.

use crate::measurement::{Measurement, number};
use crate::summary::Group;

/// A process that uses less of its core than this waits for something else.
pub const BUSY: f64 = 0.9;

/// Below this share of the offered rate the server has not kept up. The last answers come after the
/// last request is due, so it is never quite one.
const KEPT_UP: f64 = 0.98;

/// Returns what is to be known of a server's measurements beside their medians, if anything is.
pub fn note(group: &Group) -> Option<String> {
    let offered = group.spread(|m| m.offered_per_second.unwrap_or(f64::NAN)).median;
    let percent = |value: fn(&Measurement) -> f64| group.spread(value).median * 100.0;
    let (server, generator) =
        (percent(Measurement::server_share), percent(Measurement::generator_share));
    let kept = percent(Measurement::kept_share);
    let dropped = group.spread(|m| number(m.dropped)).median;
    let achieved = group.spread(Measurement::requests_per_second).median;
    let full = BUSY * 100.0;
    let mut said = Vec::new();
    if offered.is_nan() && server < full {
        let who = if generator < full { "neither was" } else { "the generator was" };
        said.push(format!("{who} the limit, so compare the CPU time and not the requests/s"));
    }
    if !offered.is_nan() && generator > full {
        said.push("the generator was the limit: the latencies are its own".to_owned());
    }
    if achieved < offered * KEPT_UP {
        said.push(format!("{achieved:.0} of {offered:.0} requests/s were answered"));
    }
    if kept < full || dropped > 0.0 {
        said.push(format!("{kept:.0} % of the events were kept, {dropped:.0} were dropped"));
    }
    let Group { heat, server: label, .. } = group;
    (!said.is_empty()).then(|| {
        format!(
            "{heat}, {label}: {} ({server:.0} % of a core for the server, {generator:.0} % for the \
             generator)",
            said.join("; ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::Store;
    use crate::report::tests::measurement;

    /// The note on one measurement of 2 s.
    fn said(server: f64, generator: f64, change: fn(&mut Measurement)) -> Option<String> {
        let mut measurement = measurement(0, Store::Redis, "a", server);
        measurement.generator_cpu_seconds = generator;
        change(&mut measurement);
        let all = [measurement];
        Group::all(&all).first().and_then(note)
    }

    #[test]
    fn a_server_that_is_its_own_limit_needs_no_note() {
        assert_eq!(said(1.9, 1.9, |_| {}), None);
        assert_eq!(said(0.5, 0.5, |m| m.offered_per_second = Some(500.0)), None);
    }

    #[test]
    fn whoever_else_was_the_limit_is_named() {
        let text = said(1.4, 1.9, |_| {}).unwrap();
        assert!(text.starts_with("NDJSON, 1,000 events, Redis, a: the generator was"), "{text}");
        assert!(
            text.ends_with("(70 % of a core for the server, 95 % for the generator)"),
            "{text}"
        );
        assert!(said(1.4, 1.4, |_| {}).unwrap().contains("neither was the limit"));
        let text = said(1.4, 1.9, |m| m.offered_per_second = Some(500.0)).unwrap();
        assert!(text.contains("the latencies are its own"), "{text}");
    }

    #[test]
    fn what_was_not_carried_is_said() {
        let text = said(0.5, 0.5, |m| m.offered_per_second = Some(1000.0)).unwrap();
        assert!(text.contains("500 of 1000 requests/s were answered"), "{text}");
        let text = said(1.9, 0.5, |m| (m.kept, m.dropped) = (200_000, 7)).unwrap();
        assert!(text.contains("20 % of the events were kept, 7 were dropped"), "{text}");
    }
}
