//! OpenMetrics 1.0 text, written by hand.
//!
//! It differs from Prometheus text in what a strict parser refuses: a counter's family is named
//! without `_total`, units are announced, bounds are floating-point numbers, and the last line is
//! `# EOF`.

use std::fmt::Write;

use crate::telemetry::latency::BOUNDS_NS;
use crate::telemetry::snapshot::{Family, Sample, Value};
use crate::telemetry::table::{Kind, Unit};

const MEDIA_TYPE: &str = "application/openmetrics-text";

/// Whether an `Accept` header prefers OpenMetrics to plain text; on a tie it does, as for
/// Prometheus. A wildcard asks for nothing in particular.
#[must_use]
pub fn is_preferred(accept: &str) -> bool {
    let wanted = weight(accept, MEDIA_TYPE);
    wanted > 0.0 && wanted >= weight(accept, "text/plain")
}

/// The largest weight that the header gives to a media type, RFC 9110, section 12.5.1.
fn weight(accept: &str, media_type: &str) -> f64 {
    let ranges = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(media_type) {
            return None;
        }
        let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        quality.map_or(Some(1.0), |quality| quality.parse::<f64>().ok())
    });
    ranges.fold(0.0, f64::max)
}

/// Writes all families and the end mark.
pub fn write(families: impl Iterator<Item = Family>) -> String {
    let mut text = String::new();
    for family in families {
        // A String takes whatever is written to it.
        let _ = write_family(&mut text, &family);
    }
    text.push_str("# EOF\n");
    text
}

/// Nanoseconds as seconds.
#[must_use]
pub fn seconds(ns: impl Into<u128>) -> f64 {
    ns.into() as f64 / 1e9
}

fn write_family(text: &mut String, family: &Family) -> std::fmt::Result {
    let stem = family.name.strip_suffix("_total").unwrap_or(&family.name);
    let (kind, suffix) = match family.kind {
        Kind::Counter => ("counter", "_total"),
        Kind::Gauge => ("gauge", ""),
        Kind::Histogram => ("histogram", ""),
    };
    writeln!(text, "# TYPE {stem} {kind}")?;
    for unit in [Unit::Seconds, Unit::Bytes, Unit::Ratio].map(Unit::name) {
        if stem.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')) {
            writeln!(text, "# UNIT {stem} {unit}")?;
        }
    }
    writeln!(text, "# HELP {stem} {}", escaped(&family.help))?;
    for sample in &family.samples {
        match sample.value {
            Value::Number(value) => {
                write_name(text, stem, suffix, sample, None)?;
                writeln!(text, " {value}")?;
            }
            Value::Buckets(buckets) => {
                for (bound_ns, count) in BOUNDS_NS.iter().zip(buckets.cumulative) {
                    write_name(text, stem, "_bucket", sample, Some(&bound(*bound_ns)))?;
                    writeln!(text, " {count}")?;
                }
                write_name(text, stem, "_bucket", sample, Some("+Inf"))?;
                writeln!(text, " {}", buckets.count)?;
                write_name(text, stem, "_count", sample, None)?;
                writeln!(text, " {}", buckets.count)?;
                write_name(text, stem, "_sum", sample, None)?;
                writeln!(text, " {}", seconds(buckets.sum_ns))?;
            }
        }
    }
    Ok(())
}

fn write_name(
    text: &mut String,
    stem: &str,
    suffix: &str,
    sample: &Sample,
    bound: Option<&str>,
) -> std::fmt::Result {
    write!(text, "{stem}{suffix}")?;
    let labels = sample.labels.iter();
    let labels = labels.map(|(name, value)| (&**name, &**value));
    let mut separator = '{';
    for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        write!(text, "{separator}{name}=\"{}\"", escaped(value))?;
        separator = ',';
    }
    if separator == ',' {
        text.push('}');
    }
    Ok(())
}

/// A bucket's bound in seconds: a floating-point number, so 1 is written 1.0.
fn bound(ns: u64) -> String {
    let seconds = seconds(ns);
    if seconds.fract() == 0.0 {
        return format!("{seconds:.1}");
    }
    seconds.to_string()
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_what_it_prefers() {
        // What Prometheus 2 and 3 send, a browser, curl, and some in between.
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert!(is_preferred(prometheus));
        assert!(is_preferred("application/openmetrics-text"));
        assert!(is_preferred("text/plain;q=0.5, Application/OpenMetrics-Text; q=0.5"));
        assert!(!is_preferred("text/plain, application/openmetrics-text;q=0.5"));
        assert!(!is_preferred("application/openmetrics-text;q=0"));
        assert!(!is_preferred("application/openmetrics-text;q=x"));
        assert!(!is_preferred("text/html,*/*;q=0.8"));
        assert!(!is_preferred("*/*"));
        assert!(!is_preferred(""));
    }

    #[test]
    fn label_values_are_escaped() {
        let family = Family {
            name: "a_total".into(),
            kind: Kind::Counter,
            help: "A \"b\".".into(),
            samples: vec![Sample {
                labels: vec![("c".into(), "d\\\n\"e".into()), ("f".into(), "".into())],
                value: Value::Number(1.5),
            }],
        };
        let expected = "# TYPE a counter\n# HELP a A \\\"b\\\".\n\
            a_total{c=\"d\\\\\\n\\\"e\",f=\"\"} 1.5\n# EOF\n";
        assert_eq!(write([family].into_iter()), expected);
    }
}
