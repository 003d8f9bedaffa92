//! OpenMetrics 1.0 text.
//!
//! It differs from Prometheus text in what a strict parser refuses: a counter's family is named
//! without `_total`, units are announced, bounds are floating-point numbers, and the last line is
//! `# EOF`.

use std::fmt::{self, Display, Write};

use crate::telemetry::family::{Metric, MetricFamily, MetricType};
use percore::http::accept::weight;

const MEDIA_TYPE: &str = "application/openmetrics-text";

/// The units that are announced where a name ends with them.
const UNITS: [&str; 3] = ["seconds", "bytes", "ratio"];

/// Returns true if an `Accept` header prefers OpenMetrics to plain text, or has them equal, as
/// Prometheus does. A wildcard prefers neither.
pub fn is_preferred(accept: &str) -> bool {
    let wanted = weight(accept, MEDIA_TYPE);
    wanted > 0.0 && wanted >= weight(accept, "text/plain")
}

/// Writes all families and the end mark.
pub fn write(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families {
        // Writing to a string cannot fail.
        let _ = write_family(&mut text, family);
    }
    text.push_str("# EOF\n");
    text
}

fn write_family(text: &mut String, family: &MetricFamily) -> fmt::Result {
    let stem = family.name().strip_suffix("_total").unwrap_or(family.name());
    let kind = match family.get_field_type() {
        MetricType::COUNTER => "counter",
        MetricType::HISTOGRAM => "histogram",
        _ => "gauge",
    };
    writeln!(text, "# TYPE {stem} {kind}")?;
    for unit in UNITS {
        if stem.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')) {
            writeln!(text, "# UNIT {stem} {unit}")?;
        }
    }
    writeln!(text, "# HELP {stem} {}", escaped(family.help()))?;
    for metric in family.get_metric() {
        let mut line = |suffix: &str, bound: Option<&str>, value: &dyn Display| {
            write_name(text, stem, suffix, metric, bound)?;
            writeln!(text, " {value}")
        };
        match family.get_field_type() {
            MetricType::COUNTER => line("_total", None, &metric.get_counter().get_value())?,
            MetricType::HISTOGRAM => {
                let histogram = metric.get_histogram();
                for bucket in histogram.get_bucket() {
                    // A bound is a floating-point number: 1 is written 1.0.
                    let seconds = bucket.upper_bound();
                    let is_whole = seconds.fract() == 0.0;
                    let bound =
                        if is_whole { format!("{seconds:.1}") } else { seconds.to_string() };
                    line("_bucket", Some(&bound), &bucket.cumulative_count())?;
                }
                line("_bucket", Some("+Inf"), &histogram.get_sample_count())?;
                line("_count", None, &histogram.get_sample_count())?;
                line("_sum", None, &histogram.get_sample_sum())?;
            }
            _ => line("", None, &metric.get_gauge().get_value())?,
        }
    }
    Ok(())
}

fn write_name(
    text: &mut String,
    stem: &str,
    suffix: &str,
    metric: &Metric,
    bound: Option<&str>,
) -> fmt::Result {
    write!(text, "{stem}{suffix}")?;
    let labels = metric.get_label().iter().map(|label| (label.name(), label.value()));
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

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::family::counter;

    #[test]
    fn a_scraper_gets_what_it_prefers() {
        // The headers of Prometheus 2 and 3, a browser, curl, and some in between.
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
        let labels = vec![("c", "d\\\n\"e".to_owned()), ("f", String::new())];
        let family = counter("a_total", "A \"b\".", vec![(labels, 1.5.into())]);
        let expected = "# TYPE a counter\n# HELP a A \\\"b\\\".\n\
            a_total{c=\"d\\\\\\n\\\"e\",f=\"\"} 1.5\n# EOF\n";
        assert_eq!(write(&[family]), expected);
    }
}
