//! `Accept-Encoding`, and the coding that it may ask for (RFC 9110, section 12.5.3).

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Returns true if gzip is preferred to no coding, from the lines of the field, which are one list.
pub fn wants_gzip<'a>(lines: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut gzip, mut identity, mut others) = (None, None, None);
    for element in lines.flat_map(|line| line.split(|byte| *byte == b',')) {
        let Some((coding, weight)) = weighted(element) else {
            continue;
        };
        let named = |name: &str| coding.eq_ignore_ascii_case(name);
        let place = if named("gzip") || named("x-gzip") {
            &mut gzip
        } else if named("identity") {
            &mut identity
        } else if coding == "*" {
            &mut others
        } else {
            continue;
        };
        *place = (*place).max(Some(weight));
    }
    let gzip = gzip.or(others).unwrap_or(0);
    // Without being mentioned, identity is accepted but not asked for.
    gzip > 0 && gzip >= identity.or(others).unwrap_or(0)
}

/// Parses a coding with its weight in thousandths (RFC 9110, section 12.4.2).
fn weighted(element: &[u8]) -> Option<(&str, u16)> {
    let mut parts = std::str::from_utf8(element).ok()?.split(';').map(str::trim);
    let coding = parts.next().filter(|coding| !coding.is_empty())?;
    let Some(weight) = parts.next() else {
        return Some((coding, 1000));
    };
    let (name, value) = weight.split_once('=')?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !name.eq_ignore_ascii_case("q") || !digits || parts.next().is_some() {
        return None;
    }
    let thousandths = format!("{fraction:0<3}").parse().ok()?;
    match (whole, thousandths) {
        ("0", thousandths) => Some((coding, thousandths)),
        ("1", 0) => Some((coding, 1000)),
        _ => None,
    }
}

/// Compresses a body. It takes some milliseconds for each hundred kilobytes: too long for a core.
pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing into memory cannot fail.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn wants(lines: &[&str]) -> bool {
        wants_gzip(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn gzip_is_sent_where_it_is_preferred() {
        for lines in [
            &["gzip"][..],
            &["gzip, deflate, br, zstd"],
            &["X-GZIP;Q=0.001"],
            &["br", "gzip"],
            &["*"],
            &["gzip;q=0.5, identity; q=0.5"],
            &["deflate, *;q=0.1"],
            &["identity;q=0, *"],
            &["gzip ; q=1.000", ""],
            &["gzip;q=0.2,gzip"],
        ] {
            assert!(wants(lines), "{lines:?}");
        }
        for lines in [
            &[][..],
            &[""],
            &["identity"],
            &["deflate, br"],
            &["gzip;q=0"],
            &["gzip;q=0.000, *"],
            &["*;q=0"],
            &["gzip;q=0.4, identity;q=0.5"],
            &["gzip;q=0.4", "identity"],
            &["gzip;q=2"],
            &["gzip;q=1.001"],
            &["gzip;q=0.0001"],
            &["gzip;q=-1"],
            &["gzip;q="],
            &["gzip;level=1"],
            &["gzip;q=1;q=1"],
            &["gzipped"],
            &["\u{e9}"],
        ] {
            assert!(!wants(lines), "{lines:?}");
        }
    }

    #[test]
    fn what_is_compressed_comes_back() {
        for plain in [&b""[..], b"a", &b"corepulse_".repeat(10_000)] {
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(&*gzip(plain)).read_to_end(&mut back).unwrap();
            assert_eq!(back, plain);
        }
        assert!(gzip(&b"corepulse_".repeat(10_000)).len() < 1_000);
    }
}
