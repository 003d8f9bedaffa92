//! The parts of URIs that requests carry, as RFC 3986 defines them.
//!
//! Targets and `Host` decide at a proxy for whom a request is, and which rule guards it. A text
//! that the grammar does not allow is read by each implementation in its own way, so it is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns true for bytes of `absolute-path [ "?" query ]` (RFC 9112, section 3.2.1); the caller
/// checks that they begin with a slash.
pub(super) fn is_path_and_query(bytes: &[u8]) -> bool {
    are_in_classes(NAME | PATH | ESCAPE, bytes)
}

/// Returns true for `uri-host [ ":" port ]` with a host (RFC 9110, section 4.2.1). User information
/// is refused: section 4.2.4 calls it an attempt to deceive.
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    let (host, port) = host_and_port(bytes);
    is_host(host) && port.is_none_or(|port| port.is_empty() || is_port(port))
}

/// Returns true if the value of a `Host` is this machine under a name that nobody else can give to
/// it: `localhost` or a loopback address, with a port or without. The owner of a domain can have
/// any other name resolve to 127.0.0.1.
#[must_use]
pub fn is_this_machine(host: &[u8]) -> bool {
    let (name, _) = host_and_port(host.trim_ascii());
    let text = std::str::from_utf8(name).unwrap_or_default();
    let literal = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match literal {
        Some(address) => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    text.eq_ignore_ascii_case("localhost") || address.is_some_and(is_loopback)
}

/// Returns true for `uri-host ":" port`, the target of a CONNECT (RFC 9112, section 3.2.3).
pub(super) fn is_authority_form(bytes: &[u8]) -> bool {
    let (host, port) = host_and_port(bytes);
    is_host(host) && port.is_some_and(is_port)
}

/// Splits at the colon that no bracket encloses.
fn host_and_port(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    let literal_bytes = match bytes.first() {
        Some(b'[') => bytes.iter().position(|byte| *byte == b']').unwrap_or_default(),
        _ => 0,
    };
    let after = bytes.get(literal_bytes..).unwrap_or_default();
    match after.iter().position(|byte| *byte == b':') {
        Some(at) => (
            bytes.get(..literal_bytes + at).unwrap_or_default(),
            bytes.get(literal_bytes + at + 1..),
        ),
        None => (bytes, None),
    }
}

/// Returns true for a name, an IPv4 address (which is written like one), or an IPv6 address in
/// brackets. Escapes are refused: no name needs a second spelling, and not every server takes them.
fn is_host(bytes: &[u8]) -> bool {
    if let [b'[', address @ .., b']'] = bytes {
        let text = std::str::from_utf8(address).unwrap_or_default();
        return text.parse::<Ipv6Addr>().is_ok();
    }
    !bytes.is_empty() && are_in_classes(NAME, bytes)
}

/// Returns true if `byte` is a `tchar`, of which tokens are made (RFC 9110, section 5.6.2).
pub(super) fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_port(bytes: &[u8]) -> bool {
    let mut port = 0_u32;
    for &byte in bytes {
        if !byte.is_ascii_digit() {
            return false;
        }
        port = port.saturating_mul(10).saturating_add(u32::from(byte - b'0'));
    }
    !bytes.is_empty() && port <= u32::from(u16::MAX)
}

/// `unreserved` and `sub-delims` (RFC 3986, sections 2.2 and 2.3).
const NAME: u8 = 1;
/// The further bytes of paths and queries (RFC 3986, sections 3.3 and 3.4).
const PATH: u8 = 2;
/// The percent sign.
const ESCAPE: u8 = 4;
/// Bytes that are in no URI.
const OTHER: u8 = 8;

/// The class of each byte.
#[expect(clippy::indexing_slicing, reason = "evaluated when the crate is compiled")]
const CLASSES: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let mut byte = 0;
    while byte < classes.len() {
        classes[byte] = match byte as u8 {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => NAME,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => NAME,
            b':' | b'@' | b'/' | b'?' => PATH,
            b'%' => ESCAPE,
            _ => OTHER,
        };
        byte += 1;
    }
    classes
};

/// Returns true if `bytes` are of these classes; where those have escapes, two hexadecimal digits
/// follow each `%` (RFC 3986, section 2.1).
fn are_in_classes(classes: u8, bytes: &[u8]) -> bool {
    let class = |byte: u8| CLASSES.get(usize::from(byte)).copied().unwrap_or(OTHER);
    let found = bytes.iter().fold(0, |found, byte| found | class(*byte));
    let is_whole = |after: &[u8]| {
        let digits = after.first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    // Hardly any request has a percent sign.
    let has_escapes = found & ESCAPE != 0;
    found & !classes == 0
        && (!has_escapes || bytes.split(|byte| *byte == b'%').skip(1).all(is_whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        for good in [
            "a",
            "a.b-c_d~e:80",
            "127.0.0.1:",
            "[::1]",
            "[2001:db8::7]:8080",
            "a,b;c=d",
            "a:00080",
            "a:65535",
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for wrong in [
            "",
            ":",
            ":80",
            "a:b",
            "a:80:80",
            "a:-1",
            "a:+1",
            "a:65536",
            "a:99999999999",
            "[::1",
            "::1",
            "[::1]80",
            "[]",
            "[a]",
            "[::1%25lo]",
            "a]b",
            "[a]b",
            "user@a",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a%2db",
            "a%",
            "a%4",
            "a%zz",
            "\u{e9}",
            "a\"b",
            "<a>",
            "a|b",
            "a^b",
        ] {
            assert!(!is_authority(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn this_machine_is_what_nobody_else_can_name() {
        for own in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1",
            "127.0.0.1:8080",
            " 127.255.1.2: ",
            "[::1]",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_this_machine(own.as_bytes()), "{own}");
        }
        for other in [
            "",
            ":80",
            "attacker.example",
            "localhost.attacker.example",
            "127.0.0.1.attacker.example:8080",
            "127.0.0.1.",
            "127.1",
            "2130706433",
            "0.0.0.0",
            "10.0.0.1:8080",
            "[::]",
            "[::2]:80",
            "::1",
            "localhost]",
            "[localhost]",
            "[127.0.0.1]",
            "\u{e9}",
        ] {
            assert!(!is_this_machine(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn only_a_connect_needs_the_port() {
        assert!(is_authority_form(b"a:443") && is_authority_form(b"[::1]:443"));
        for wrong in ["a", "a:", ":443", "[::1]", "a:0x1", "a:443/", "http://a:443"] {
            assert!(!is_authority_form(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn paths_and_queries() {
        for good in ["", "/", "//", "/a/b?c=d&e/f?g", "/a:b@c;d=e,f", "/%00%fF", "/~!$'()*+"] {
            assert!(is_path_and_query(good.as_bytes()), "{good}");
        }
        let wrong = ["#", " ", "\"", "<", ">", "\\", "^", "`", "{", "|", "}", "[", "]", "\u{e9}"];
        for wrong in wrong.into_iter().chain(["%", "%4", "%zz", "%%41", "%+1", "\0", "\x7f"]) {
            assert!(!is_path_and_query(format!("/a{wrong}").as_bytes()), "{wrong}");
            assert!(!is_path_and_query(format!("/a?{wrong}").as_bytes()), "{wrong}");
        }
    }
}
