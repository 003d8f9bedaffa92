//! Framing: the end of a request's body, and the persistence of the connection after it.
//!
//! RFC 9112, section 6: the one place where two parsers must never differ. Every field that matters
//! to framing is read here, and anything that could be read in two ways is refused.

use super::request_error::RequestError;
use super::uri::{is_authority, is_tchar};

/// The delimitation of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// This many bytes follow the head; 0 without any length.
    Length(u64),
    /// Chunks follow.
    Chunked,
}

/// The framing of a request, as its head gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// The delimitation of the body.
    pub body: Body,
    /// True if the peer waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// True if the connection may carry another request.
    pub keep_alive: bool,
    /// True for HTTP/1.0: an answer must not be chunked, and has to say that the connection stays
    /// open.
    pub http_1_0: bool,
}

/// The fields that decide about framing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FramingFields {
    hosts: u32,
    content_length: Option<u64>,
    /// True if `chunked` is the last transfer coding.
    chunked: bool,
    /// True if another coding is before it, or it is missing.
    other_coding: bool,
    expects_continue: bool,
    close: bool,
    keep_alive: bool,
}

impl FramingFields {
    /// Collects them from the names and values of a head's fields.
    pub(super) fn collect<'a>(
        pairs: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, RequestError> {
        let mut fields = Self::default();
        for (name, value) in pairs {
            // The length tells most other fields apart before any letter is compared.
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => fields.host(value)?,
                6 if name.eq_ignore_ascii_case("expect") => fields.expect(value)?,
                10 if name.eq_ignore_ascii_case("connection") => fields.connection(value),
                14 if name.eq_ignore_ascii_case("content-length") => fields.length(value)?,
                17 if name.eq_ignore_ascii_case("transfer-encoding") => fields.coding(value)?,
                _ => {}
            }
        }
        Ok(fields)
    }

    pub(super) fn decide(self, minor_version: u8) -> Result<Framing, RequestError> {
        let http_1_0 = minor_version == 0;
        // RFC 9112, section 3.2: 400 for a 1.1 request without Host, and for any with two.
        if self.hosts > 1 || (self.hosts == 0 && !http_1_0) {
            return Err(RequestError::Host);
        }
        // RFC 9112, section 6.3: 400 where chunked is not the last coding, for then nothing tells
        // the body's end. It also lets a server refuse a length beside a coding, "an attempt to
        // perform request smuggling". Section 6.1: a coding in HTTP/1.0 is faulty framing.
        if self.chunked || self.other_coding {
            if !self.chunked || http_1_0 || self.content_length.is_some() {
                return Err(RequestError::TransferEncoding);
            }
            if self.other_coding {
                return Err(RequestError::UnknownTransferCoding);
            }
        }
        // Section 6.3: a request with neither has no body, whatever its method.
        let body = match (self.chunked, self.content_length) {
            (true, _) => Body::Chunked,
            (false, length) => Body::Length(length.unwrap_or(0)),
        };
        // RFC 9112, section 9.3: 1.1 stays open unless told, 1.0 closes unless told.
        let keep_alive = !self.close && (!http_1_0 || self.keep_alive);
        // RFC 9110, section 10.1.1: an expectation in an HTTP/1.0 request is ignored.
        let expects_continue = self.expects_continue && !http_1_0;
        Ok(Framing { body, expects_continue, keep_alive, http_1_0 })
    }

    fn host(&mut self, value: &[u8]) -> Result<(), RequestError> {
        self.hosts = self.hosts.saturating_add(1);
        let host = value.trim_ascii();
        // A client sends an empty one for a target without an authority.
        if host.is_empty() || is_authority(host) { Ok(()) } else { Err(RequestError::Host) }
    }

    /// A list of expectations (RFC 9110, section 10.1.1), whose empty elements count for nothing.
    fn expect(&mut self, value: &[u8]) -> Result<(), RequestError> {
        let expectations = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        for expectation in expectations.filter(|expectation| !expectation.is_empty()) {
            if !expectation.eq_ignore_ascii_case(b"100-continue") {
                return Err(RequestError::Expectation);
            }
            self.expects_continue = true;
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// RFC 9110, section 8.6: `1*DIGIT`. A sign, a list (even of equal numbers) and a second field
    /// are all refused; what does not fit 64 bits is merely too long.
    fn length(&mut self, value: &[u8]) -> Result<(), RequestError> {
        let digits = value.trim_ascii();
        let well_formed = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        if !well_formed || self.content_length.is_some() {
            return Err(RequestError::ContentLength);
        }
        let length = digits.iter().fold(0_u64, |length, digit| {
            length.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
        });
        self.content_length = Some(length);
        Ok(())
    }

    /// RFC 9112, sections 6.1 and 7: tokens, of which `chunked` is only ever the last. It takes no
    /// parameters, and an empty list element is one that parsers differ in.
    fn coding(&mut self, value: &[u8]) -> Result<(), RequestError> {
        for coding in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if !is_token(coding) || self.chunked {
                return Err(RequestError::TransferEncoding);
            }
            self.chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.other_coding |= !self.chunked;
        }
        Ok(())
    }
}

/// Returns true if `bytes` are a token (RFC 9110, section 5.6.2).
fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_tchar)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(minor: u8, fields: &[(&str, &str)]) -> Result<Framing, RequestError> {
        let pairs = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        FramingFields::collect(pairs)?.decide(minor)
    }

    fn post(fields: &[(&str, &str)]) -> Result<Framing, RequestError> {
        let with_host: Vec<_> =
            std::iter::once(("Host", "a")).chain(fields.iter().copied()).collect();
        framing(1, &with_host)
    }

    #[test]
    fn lengths() {
        let length = |value| post(&[("Content-Length", value)]).map(|framing| framing.body);
        assert_eq!(length("0"), Ok(Body::Length(0)));
        assert_eq!(length(" 007 "), Ok(Body::Length(7)));
        assert_eq!(length("99999999999999999999999"), Ok(Body::Length(u64::MAX)));
        for wrong in ["", "+1", "-1", "1,1", "1 1", "0x10", "1.0", "abc", "1\u{a0}"] {
            assert_eq!(length(wrong), Err(RequestError::ContentLength), "{wrong:?}");
        }
        let twice = post(&[("Content-Length", "1"), ("content-length", "1")]);
        assert_eq!(twice, Err(RequestError::ContentLength));
        let none = post(&[]).unwrap();
        assert_eq!((none.body, none.keep_alive), (Body::Length(0), true));
    }

    #[test]
    fn transfer_codings() {
        let coding = |value| post(&[("Transfer-Encoding", value)]).map(|framing| framing.body);
        assert_eq!(coding("chunked"), Ok(Body::Chunked));
        assert_eq!(coding("CHUNKED"), Ok(Body::Chunked));
        for wrong in [
            "",
            ",",
            "chunked,",
            "chunked, chunked",
            "chunked, identity",
            "chunked;q=1",
            "\"chunked\"",
            "gzip",
            "identity",
            "xchunked",
            "gzip;q=1, chunked",
        ] {
            assert_eq!(coding(wrong), Err(RequestError::TransferEncoding), "{wrong:?}");
        }
        for unknown in ["gzip, chunked", "identity, chunked", "xchunked,chunked"] {
            assert_eq!(coding(unknown), Err(RequestError::UnknownTransferCoding), "{unknown:?}");
        }
        let both = [("Content-Length", "1"), ("Transfer-Encoding", "chunked")];
        assert_eq!(post(&both), Err(RequestError::TransferEncoding));
        let twice = [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")];
        assert_eq!(post(&twice), Err(RequestError::TransferEncoding));
        let unknown = [("Transfer-Encoding", "gzip"), ("Transfer-Encoding", "chunked")];
        assert_eq!(post(&unknown), Err(RequestError::UnknownTransferCoding));
        let both = [unknown[0], unknown[1], ("Content-Length", "1")];
        assert_eq!(post(&both), Err(RequestError::TransferEncoding));
        let old = framing(0, &[("Transfer-Encoding", "chunked")]);
        assert_eq!(old, Err(RequestError::TransferEncoding));
    }

    #[test]
    fn hosts() {
        let hosts = |minor, fields: &[(&str, &str)]| framing(minor, fields).is_ok();
        for good in ["a", "a.b:80", "[::1]:8080", "", " a ", "127.0.0.1"] {
            assert!(hosts(1, &[("host", good)]), "{good:?}");
        }
        for wrong in ["a b", "a/b", "user@a", "a:b", ":80", "[::1", "a%zz", "\u{e9}"] {
            assert!(!hosts(1, &[("host", wrong)]), "{wrong:?}");
        }
        assert!(!hosts(1, &[]));
        assert!(hosts(0, &[]));
        assert!(!hosts(1, &[("Host", "a"), ("HOST", "a")]));
        assert!(!hosts(0, &[("Host", "a"), ("HOST", "a")]));
    }

    #[test]
    fn connections_and_expectations() {
        let keep_alive = |minor, value| {
            framing(minor, &[("Host", "a"), ("Connection", value)])
                .map(|framing| framing.keep_alive)
        };
        assert_eq!(keep_alive(1, "upgrade"), Ok(true));
        assert_eq!(keep_alive(1, "Upgrade, CLOSE"), Ok(false));
        assert_eq!(keep_alive(0, "x"), Ok(false));
        assert_eq!(keep_alive(0, "Keep-Alive"), Ok(true));
        assert_eq!(keep_alive(1, "keep-alive, close"), Ok(false));

        let expect = |minor, value| {
            framing(minor, &[("Host", "a"), ("Expect", value)])
                .map(|framing| framing.expects_continue)
        };
        assert_eq!(expect(1, "100-Continue"), Ok(true));
        assert_eq!(expect(0, "100-continue"), Ok(false));
        assert_eq!(expect(1, "100-continue,, 100-CONTINUE,"), Ok(true));
        assert_eq!(expect(1, ""), Ok(false));
        for other in ["200-ok", "100-continue, x", "100-continue;q=1", "x 100-continue"] {
            assert_eq!(expect(1, other), Err(RequestError::Expectation), "{other}");
        }
    }
}
