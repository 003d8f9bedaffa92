//! The limit of a load: the server, or something else.
//!
//! CPU time a request is a server's at its best while its core is full. Where something else is the
//! limit, the generator or Redis, a faster server has an emptier core than a slower one, and pays
//! more for each time that it wakes up. At a fixed rate nobody should be the limit.

use crate::generator::number;
use crate::measurement::Measurement;
use crate::summary::Group;

/// A process that uses less of its core than this waits for something else.
const BUSY: f64 = 0.9;

/// Below this share of the offered rate the server has not kept up. The last answers come after the
/// last request is due, so it is never quite one.
const KEPT_UP: f64 = 0.98;

/// Returns what is to be known of a server's measurements beside their medians, if anything is.
pub fn note(group: &Group) -> Option<String> {
    let median = |value: fn(&Measurement) -> f64| group.spread(value).median;
    let server = median(Measurement::server_share);
    let generator = median(Measurement::generator_share);
    let offered = median(|m| m.offered_per_second.unwrap_or(f64::NAN));
    let achieved = median(Measurement::requests_per_second);
    let kept = median(|m| number(m.kept) / number(m.accepted.max(1)));
    let dropped = median(|m| number(m.dropped));
    let mut said = Vec::new();
    if offered.is_nan() && server < BUSY {
        let who = if generator < BUSY { "neither was" } else { "the generator was" };
        said.push(format!("{who} the limit, so compare the CPU time and not the requests/s"));
    }
    if !offered.is_nan() && generator > BUSY {
        said.push("the generator was the limit: the latencies are its own".to_owned());
    }
    if achieved < offered * KEPT_UP {
        said.push(format!("{achieved:.0} of {offered:.0} requests/s were answered"));
    }
    if kept < BUSY || dropped > 0.0 {
        let percent = kept * 100.0;
        said.push(format!("{percent:.0} % of the events were kept, {dropped:.0} were dropped"));
    }
    (!said.is_empty()).then(|| {
        format!(
            "{}, {}: {} ({:.0} % of a core for the server, {:.0} % for the generator)",
            group.conditions,
            group.server,
            said.join("; "),
            server * 100.0,
            generator * 100.0
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
        Group::all(&[measurement]).first().and_then(note)
    }

    #[test]
    fn whoever_else_was_the_limit_is_named_and_what_was_not_carried() {
        assert_eq!(said(1.9, 1.9, |_| {}), None);
        assert_eq!(said(0.5, 0.5, |m| m.offered_per_second = Some(500.0)), None);
        let text = said(1.4, 1.9, |_| {}).unwrap();
        assert!(text.starts_with("NDJSON, 1,000 events, Redis, a: the generator was"), "{text}");
        assert!(text.contains("(70 % of a core for the server, 95 % for the gen"), "{text}");
        let says = |server, generator, change, what| {
            let text = said(server, generator, change).unwrap();
            assert!(text.contains(what), "{text}");
        };
        says(1.4, 1.4, |_| {}, "neither was the limit");
        says(1.4, 1.9, |m| m.offered_per_second = Some(500.0), "the latencies are its own");
        says(0.5, 0.5, |m| m.offered_per_second = Some(1000.0), "500 of 1000 requests/s were");
        says(1.9, 0.5, |m| (m.kept, m.dropped) = (200_000, 7), "20 % of the events were kept, 7");
    }
}
