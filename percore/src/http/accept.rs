//! `Accept`: which media type a client prefers (RFC 9110, section 12.5.1).

/// Returns the largest weight that a header gives to a media type by its name. A wildcard prefers
/// nothing.
pub fn weight(accept: &str, media_type: &str) -> f64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_the_largest_weight_that_it_is_given() {
        for (accept, expected) in [
            ("", 0.0),
            ("*/*", 0.0),
            ("text/*", 0.0),
            ("text/html", 1.0),
            ("Text/HTML ; charset=utf-8;Q=0.25", 0.25),
            ("text/html;q=0.2, text/html;q=0.7, text/html;q=0.3", 0.7),
            ("text/html;q=x", 0.0),
            ("text/html;q=-1", 0.0),
            ("text/htmlx, application/xhtml+xml", 0.0),
        ] {
            assert!((weight(accept, "text/html") - expected).abs() < 1e-9, "{accept}");
        }
    }
}
