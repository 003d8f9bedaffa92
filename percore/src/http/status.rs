//! The status codes that this server sends (RFC 9110, section 15).

macro_rules! statuses {
    ($($Status:ident $code:literal $reason:literal,)+) => {
        /// A status code with its reason phrase.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "each is its RFC 9110 name")]
        pub enum Status { $($Status),+ }

        impl Status {
            /// Every status, in the order of [`Status::index`].
            pub const ALL: [Self; [$($code),+].len()] = [$(Self::$Status),+];

            /// The codes of [`Status::ALL`].
            pub const CODES: [u16; Self::ALL.len()] = [$($code),+];

            const fn parts(self) -> (u16, &'static str, &'static str) {
                match self {
                    $(Self::$Status => {
                        ($code, $reason, concat!("HTTP/1.1 ", $code, " ", $reason, "\r\n"))
                    })+
                }
            }
        }
    };
}

statuses! {
    Ok 200 "OK",
    Accepted 202 "Accepted",
    NoContent 204 "No Content",
    NotModified 304 "Not Modified",
    BadRequest 400 "Bad Request",
    Unauthorized 401 "Unauthorized",
    Forbidden 403 "Forbidden",
    NotFound 404 "Not Found",
    MethodNotAllowed 405 "Method Not Allowed",
    RequestTimeout 408 "Request Timeout",
    ContentTooLarge 413 "Content Too Large",
    UriTooLong 414 "URI Too Long",
    UnsupportedMediaType 415 "Unsupported Media Type",
    ExpectationFailed 417 "Expectation Failed",
    MisdirectedRequest 421 "Misdirected Request",
    TooManyRequests 429 "Too Many Requests",
    RequestHeaderFieldsTooLarge 431 "Request Header Fields Too Large",
    InternalServerError 500 "Internal Server Error",
    NotImplemented 501 "Not Implemented",
    ServiceUnavailable 503 "Service Unavailable",
    HttpVersionNotSupported 505 "HTTP Version Not Supported",
}

impl Status {
    /// Returns the index in [`Status::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Returns true if an answer of this status may have content (RFC 9110, sections 15.3.5 and
    /// 15.4.5).
    pub const fn permits_content(self) -> bool {
        !matches!(self, Self::NoContent | Self::NotModified)
    }

    /// Returns the three digits.
    pub const fn code(self) -> u16 {
        self.parts().0
    }

    /// Returns the reason phrase, which is also the `title` of a problem.
    pub const fn reason(self) -> &'static str {
        self.parts().1
    }

    /// Returns the status line with its line end.
    pub const fn line(self) -> &'static str {
        self.parts().2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_stands_at_its_index_in_rising_order() {
        for (index, status) in Status::ALL.into_iter().enumerate() {
            assert_eq!(status.index(), index);
            let expected = format!("HTTP/1.1 {} {}\r\n", status.code(), status.reason());
            assert_eq!(status.line(), expected);
        }
        assert!(Status::ALL.windows(2).all(|pair| pair[0].code() < pair[1].code()));
    }
}
