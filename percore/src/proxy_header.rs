//! The header of the PROXY protocol, by which a proxy that passes bytes on tells whose they are.
//!
//! Pure: bytes in, an address out. Both versions of the specification of HAProxy are read, "The
//! PROXY protocol", sections 2.1 and 2.2. A proxy may send one or none; as long as what has come
//! may be the start of one, more is asked for. What begins like one and is none ends the
//! connection: bytes must not be taken for a request that were meant as something else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first bytes of version 2: no other protocol begins so.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes of version 2 before its addresses.
const FIXED_BYTES: usize = 16;

/// The first bytes of version 1.
const WORD: &[u8] = b"PROXY ";

/// The longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;

/// The longest header. Version 2 has room for more in its extensions, which nothing here reads: a
/// certificate does not fit, the names and checksums that proxies send do.
pub const HEADER_BYTES_MAX: usize = 4 * 1024;

/// The first bytes of a connection, as far as they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The start of a header, or of something else: more is needed to know.
    Partial,
    /// No header: the connection speaks for itself.
    Absent,
    /// A header of so many bytes.
    Complete {
        /// Its length; what follows is of the client.
        bytes: usize,
        /// The client; `None` if the proxy speaks for itself, or does not say.
        client: Option<SocketAddr>,
    },
}

/// Something that begins like a header and is none, or is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads the header at the start of a connection.
///
/// # Errors
///
/// The connection cannot be understood.
pub fn parse(bytes: &[u8]) -> Result<ProxyHeader, Malformed> {
    if begins_like(bytes, &SIGNATURE) {
        return parse_binary(bytes);
    }
    if begins_like(bytes, WORD) {
        return parse_line(bytes);
    }
    Ok(ProxyHeader::Absent)
}

/// Returns true if one of them is the start of the other.
fn begins_like(bytes: &[u8], start: &[u8]) -> bool {
    let compared = bytes.len().min(start.len());
    bytes.get(..compared) == start.get(..compared)
}

/// Reads version 2.
fn parse_binary(bytes: &[u8]) -> Result<ProxyHeader, Malformed> {
    let Some(fixed) = bytes.first_chunk::<FIXED_BYTES>() else {
        return Ok(ProxyHeader::Partial);
    };
    let [.., version_command, family, high, low] = *fixed;
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if version_command >> 4 != 2 || length > HEADER_BYTES_MAX {
        return Err(Malformed);
    }
    let Some(rest) = bytes.get(FIXED_BYTES..length) else {
        return Ok(ProxyHeader::Partial);
    };
    let client = match (version_command & 0x0f, family) {
        // LOCAL: a check of the proxy's own, whatever addresses it gives.
        (0, _) => None,
        // TCP over IPv4: source, destination, and their ports.
        (1, 0x11) => {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *rest.first_chunk().ok_or(Malformed)?;
            Some((IpAddr::V4(Ipv4Addr::new(a, b, c, d)), [high, low]))
        }
        // TCP over IPv6.
        (1, 0x21) => {
            let addresses = rest.first_chunk::<36>().ok_or(Malformed)?;
            let source = addresses.first_chunk::<16>().ok_or(Malformed)?;
            let [.., high, low, _, _] = *addresses;
            Some((IpAddr::V6(Ipv6Addr::from_octets(*source)), [high, low]))
        }
        // Other families, as Unix sockets and what the proxy does not know.
        (1, _) => None,
        _ => return Err(Malformed),
    };
    let client = client.map(|(ip, port)| SocketAddr::new(ip, u16::from_be_bytes(port)));
    Ok(ProxyHeader::Complete { bytes: length, client })
}

/// Reads version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 40000 443`, or `PROXY UNKNOWN` and anything.
fn parse_line(bytes: &[u8]) -> Result<ProxyHeader, Malformed> {
    let line = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        let is_long = bytes.len() >= LINE_BYTES_MAX;
        return if is_long { Err(Malformed) } else { Ok(ProxyHeader::Partial) };
    };
    let line = line.get(..end).ok_or(Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed)?;
    let bytes = end + 2;
    let words: Vec<&str> = line.split(' ').collect();
    let client = match *words {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, source_port, port] => {
            let [source, destination] = [source, destination].map(str::parse::<IpAddr>);
            let (source, destination) =
                (source.map_err(|_| Malformed)?, destination.map_err(|_| Malformed)?);
            let is_v4 = family == "TCP4";
            if source.is_ipv4() != is_v4 || destination.is_ipv4() != is_v4 {
                return Err(Malformed);
            }
            let [source_port, _] = [port_of(source_port)?, port_of(port)?];
            Some(SocketAddr::new(source, source_port))
        }
        _ => return Err(Malformed),
    };
    Ok(ProxyHeader::Complete { bytes, client })
}

/// Reads a port as the specification writes it: without a sign or leading zeros.
fn port_of(text: &str) -> Result<u16, Malformed> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_canonical = is_number && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_canonical).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, rest].concat()
    }

    fn ipv4() -> Vec<u8> {
        binary(1, 0x11, &[192, 0, 2, 1, 198, 51, 100, 1, 0x9c, 0x40, 1, 0xbb])
    }

    fn ipv6(extension: &[u8]) -> Vec<u8> {
        let source = "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets();
        binary(1, 0x21, &[&source[..], &[1; 16], &[0x9c, 0x40, 1, 0xbb], extension].concat())
    }

    /// Headers that are right, with the client that they name.
    fn samples() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let line = |text: &str| format!("{text}\r\n").into_bytes();
        vec![
            (ipv4(), Some("192.0.2.1:40000")),
            (ipv6(b""), Some("[2001:db8::7]:40000")),
            (ipv6(b"\x03\0\x04abcd"), Some("[2001:db8::7]:40000")),
            (binary(0, 0, b""), None),
            (binary(0, 0x11, &[1; 12]), None),
            (binary(1, 0x31, &[b'/'; 216]), None),
            (binary(1, 0, &vec![0; HEADER_BYTES_MAX - FIXED_BYTES]), None),
            (line("PROXY TCP4 192.0.2.1 198.51.100.1 40000 443"), Some("192.0.2.1:40000")),
            (line("PROXY TCP6 2001:db8::7 ::1 40000 0"), Some("[2001:db8::7]:40000")),
            (line("PROXY UNKNOWN"), None),
            (line("PROXY UNKNOWN ffff:f::1 ::1 65535 65535"), None),
        ]
    }

    #[test]
    fn a_header_names_the_client_and_ends_where_it_says() {
        for (header, client) in samples() {
            let client = client.map(|client| client.parse().unwrap());
            let expected = Ok(ProxyHeader::Complete { bytes: header.len(), client });
            for behind in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"\r\n", b"PROXY "] {
                assert_eq!(parse(&[&header, behind].concat()), expected, "{header:?}");
            }
        }
    }

    #[test]
    fn every_proper_prefix_is_partial() {
        for (header, _) in samples() {
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end]), Ok(ProxyHeader::Partial), "{header:?} {end}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_left_alone_and_what_is_a_bad_one_is_not() {
        for absent in [
            "GET / HTTP/1.1\r\n",
            "POST",
            "PUT",
            "PROXZ",
            "proxy TCP4",
            "\r\nGET",
            "\r\n\r\nG",
            "\x16\x03\x01",
        ] {
            assert_eq!(parse(absent.as_bytes()), Ok(ProxyHeader::Absent), "{absent:?}");
        }
        for wrong in [
            "PROXY\r\n",
            "PROXY  TCP4 192.0.2.1 198.51.100.1 40000 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 40000\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 40000 443 \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 01 443\r\n",
            "PROXY TCP4 ::1 ::1 1 1\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.1 1 1\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 1\r\n",
            "PROXY TCP4 localhost 198.51.100.1 1 1\r\n",
        ] {
            // "PROXY\r\n" is no start of the word, either.
            let expected =
                if wrong == "PROXY\r\n" { Ok(ProxyHeader::Absent) } else { Err(Malformed) };
            assert_eq!(parse(wrong.as_bytes()), expected, "{wrong:?}");
        }
        let long = format!("PROXY UNKNOWN {}", "a".repeat(LINE_BYTES_MAX));
        assert_eq!(parse(long.as_bytes()), Err(Malformed));
        for wrong in [
            binary(2, 0x11, &[1; 12]),
            binary(1, 0x11, &[1; 11]),
            binary(1, 0x21, &[1; 35]),
            binary(1, 0x11, &vec![0; HEADER_BYTES_MAX - FIXED_BYTES + 1]),
            [&SIGNATURE[..], &[0x11, 0x11, 0, 0]].concat(),
        ] {
            assert_eq!(parse(&wrong), Err(Malformed), "{wrong:?}");
        }
    }

    proptest! {
        /// The decision stays, whatever comes behind it.
        #[test]
        fn more_bytes_change_nothing_that_is_known(
            sample in 0..11_usize,
            changed in prop::collection::vec((0..60_usize, any::<u8>()), 0..3),
            behind in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut bytes = samples().remove(sample).0;
            for (at, byte) in changed {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.extend(behind);
            let mut known = None;
            for end in 0..=bytes.len() {
                let found = parse(&bytes[..end]);
                if let Some(known) = known {
                    prop_assert_eq!(found, known, "at {}", end);
                } else if found != Ok(ProxyHeader::Partial) {
                    known = Some(found);
                }
            }
        }
    }
}
