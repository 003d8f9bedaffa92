//! The client behind proxies, as `Forwarded` (RFC 7239) and `X-Forwarded-For` name it.
//!
//! Each proxy adds the address that it was asked from. So the lists are read from their end: as
//! long as an address is that of a trusted proxy, the one before it is known from that proxy; the
//! first other one is the client. What stands before that, the client may have written itself, and
//! what a peer sends that is no trusted proxy is not read at all.
//!
//! A proxy adds to one of the two fields and passes the other on as it came. If they do not agree,
//! one of them is the client's own invention, and neither is believed.

use std::net::{IpAddr, SocketAddr};

use percore::http::headers::Headers;
use percore::http::peer::Peer;
use percore::networks::Networks;

/// The peer of a request behind proxies.
#[derive(Debug)]
pub(super) struct Forwarded<'a> {
    peer: &'a dyn Peer,
    headers: Headers<'a>,
    proxies: &'a Networks,
}

impl<'a> Forwarded<'a> {
    /// Returns the peer of a request that came from `peer`, which may be one of the proxies.
    pub(super) const fn new(
        peer: &'a dyn Peer,
        headers: Headers<'a>,
        proxies: &'a Networks,
    ) -> Self {
        Self { peer, headers, proxies }
    }

    /// Returns the client that the proxies name; `None` if they name none.
    fn client(&self) -> Option<IpAddr> {
        let lines = |name| self.headers.values(name).map(String::from_utf8_lossy);
        let lists = |name| lines(name).collect::<Vec<_>>().join(",");
        let [standard, usual] = [lists("forwarded"), lists("x-forwarded-for")];
        let standard = client(elements(&standard).into_iter().map(node_of_element), self.proxies);
        let usual = client(usual.split(',').map(address), self.proxies);
        match (standard, usual) {
            (None, found) | (found, None) => found,
            (standard, usual) => standard.filter(|_| standard == usual),
        }
    }
}

impl Peer for Forwarded<'_> {
    fn address(&self) -> Option<SocketAddr> {
        let peer = self.peer.address();
        if !self.proxies.contains(peer.map(|peer| peer.ip())) {
            return peer;
        }
        // Nobody tells the port.
        self.client().map_or(peer, |client| Some(SocketAddr::new(client, 0)))
    }
}

/// Returns the client of a list of addresses, of which the last is told by a trusted proxy: the
/// last one that is no proxy, or the first of all. One that is unknown ends what is known.
fn client(
    nodes: impl DoubleEndedIterator<Item = Option<IpAddr>>,
    proxies: &Networks,
) -> Option<IpAddr> {
    let mut client = None;
    for node in nodes.rev() {
        let address = node?;
        client = Some(address);
        if !proxies.contains(client) {
            break;
        }
    }
    client
}

/// Reads an address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`,
/// `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    address.or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// Returns the address of an element of `Forwarded`, if it has one: it may be `unknown`, or a name
/// that only the proxy understands.
fn node_of_element(element: &str) -> Option<IpAddr> {
    let pairs = split_unquoted(element, b';')?.into_iter();
    let node = pairs.filter_map(|pair| pair.trim().split_once('=')).find_map(|(name, value)| {
        name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
    })?;
    address(node.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(node))
}

/// Returns the elements of `Forwarded`; an absent field has none, and neither has one with a quote
/// that is not closed: it may be the client's, and would make the proxy's element a part of its
/// own.
fn elements(list: &str) -> Vec<&str> {
    let elements = split_unquoted(list, b',').unwrap_or_default();
    elements.into_iter().filter(|element| !element.trim().is_empty()).collect()
}

/// Splits a text at a separator that does not stand in quotes (RFC 9110, section 5.6.4); `None` if
/// one is not closed.
fn split_unquoted(text: &str, separator: u8) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            // Bytes of ASCII are characters of their own.
            _ if byte == separator && !is_quoted => {
                parts.extend(text.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    (!is_quoted).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use percore::http::head_cache::HeadCache;
    use proptest::prelude::*;

    /// Returns the address of a peer that sends these fields, where 10.0.0.0/8 are proxies.
    fn peer(peer: &str, fields: &str) -> String {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut heads = HeadCache::default();
        let headers = heads.read(head.as_bytes()).unwrap().unwrap().headers;
        let proxies = Networks::parse("10.0.0.0/8,2001:db8:a::/48").unwrap();
        let peer = peer.parse::<SocketAddr>().ok();
        let found = Forwarded::new(&peer, headers, &proxies).address().unwrap();
        if found.port() == 0 { found.ip().to_string() } else { found.to_string() }
    }

    #[test]
    fn the_first_address_from_the_end_that_is_no_proxy_is_the_client() {
        for (fields, expected) in [
            ("", "10.0.0.1:5"),
            ("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 192.0.2.1:4711\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 198.51.100.9, 192.0.2.1, 10.2.3.4\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 198.51.100.9\r\nX-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"),
            ("x-forwarded-for: 10.1.1.1,10.2.2.2\r\n", "10.1.1.1"),
            ("X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7"),
            ("X-Forwarded-For: [2001:db8::7]:80\r\n", "2001:db8::7"),
            ("X-Forwarded-For: ::ffff:192.0.2.1\r\n", "192.0.2.1"),
            ("Forwarded: for=192.0.2.1\r\n", "192.0.2.1"),
            ("Forwarded: For=\"192.0.2.1:80\";proto=https;by=10.0.0.1\r\n", "192.0.2.1"),
            ("Forwarded: proto=http;for=\"[2001:db8::7]:4711\"\r\n", "2001:db8::7"),
            ("Forwarded: for=198.51.100.9, for=192.0.2.1;by=\"a,for=1.1.1.1\"\r\n", "192.0.2.1"),
            ("Forwarded: for=192.0.2.1, for=10.3.3.3\r\n", "192.0.2.1"),
            // Agreed on, however they are written.
            ("Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 9.9.9.9, 192.0.2.1\r\n", "192.0.2.1"),
        ] {
            assert_eq!(peer("10.0.0.1:5", fields), expected, "{fields}");
        }
        assert_eq!(peer("[2001:db8:a::1]:5", "X-Forwarded-For: 192.0.2.1\r\n"), "192.0.2.1");
        assert_eq!(peer("[::ffff:10.0.0.1]:5", "X-Forwarded-For: 192.0.2.1\r\n"), "192.0.2.1");
    }

    #[test]
    fn who_is_no_trusted_proxy_is_not_believed() {
        for fields in [
            "X-Forwarded-For: 192.0.2.1\r\n",
            "Forwarded: for=192.0.2.1\r\n",
            "X-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\n",
        ] {
            assert_eq!(peer("192.0.2.77:5", fields), "192.0.2.77:5", "{fields}");
        }
    }

    /// Then the peer is the proxy that should have known.
    #[test]
    fn what_is_unknown_or_contradictory_names_nobody() {
        for fields in [
            "X-Forwarded-For: unknown\r\n",
            "X-Forwarded-For: 192.0.2.1, \r\n",
            "X-Forwarded-For: 192.0.2.1, localhost\r\n",
            "Forwarded: for=unknown\r\n",
            "Forwarded: for=_hidden, for=_SEVKISEK\r\n",
            "Forwarded: for=192.0.2.1, proto=http\r\n",
            "Forwarded: for=192.0.2.1, for=\"\r\n",
            "Forwarded: for=198.51.100.9\r\nX-Forwarded-For: 192.0.2.1\r\n",
        ] {
            assert_eq!(peer("10.0.0.1:5", fields), "10.0.0.1:5", "{fields}");
        }
    }

    proptest! {
        /// Nothing that a client writes before what the proxy adds changes who it is.
        #[test]
        fn a_client_does_not_choose_its_address(written in "[ -~]{0,60}") {
            let usual = format!("X-Forwarded-For: {written}, 192.0.2.1\r\n");
            prop_assert_eq!(peer("10.0.0.1:5", &usual), "192.0.2.1");
            for (end, own) in ["\r\nForwarded: ", ", "].into_iter()
                .flat_map(|end| ["192.0.2.1", "\"192.0.2.1:80\""].map(|own| (end, own)))
            {
            let standard = format!("Forwarded: {written}{end}for={own}\r\n");
            let found = peer("10.0.0.1:5", &standard);
            // A quote that it leaves open makes the whole unreadable: then nobody is named.
            let is_open = found == "10.0.0.1:5" && written.contains('"');
            prop_assert!(found == "192.0.2.1" || is_open, "{} {}", standard, found);
            }
        }
    }

    #[test]
    fn a_quote_that_is_left_open_makes_no_part_of_what_the_proxy_adds() {
        for own in ["for=192.0.2.1", "for=\"192.0.2.1:80\"", "for=\"192.0.2.1:80\";proto=http"] {
            for written in ["for=9.9.9.9;a=\"", "for=9.9.9.9;a=\"\\", "for=\"9.9.9.9"] {
                let fields = format!("Forwarded: {written}, {own}\r\n");
                assert_eq!(peer("10.0.0.1:5", &fields), "10.0.0.1:5", "{fields}");
            }
        }
    }
}
