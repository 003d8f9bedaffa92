//! The status codes that this server sends (RFC 9110, section 15).

/// A status code with its reason phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is its RFC 9110 name")]
pub enum Status {
    Ok,
    Accepted,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    ContentTooLarge,
    UriTooLong,
    UnsupportedMediaType,
    ExpectationFailed,
    MisdirectedRequest,
    TooManyRequests,
    RequestHeaderFieldsTooLarge,
    InternalServerError,
    NotImplemented,
    ServiceUnavailable,
    HttpVersionNotSupported,
}

impl Status {
    /// Every status, in the order of [`Status::index`].
    pub const ALL: [Self; 19] = [
        Self::Ok,
        Self::Accepted,
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::ContentTooLarge,
        Self::UriTooLong,
        Self::UnsupportedMediaType,
        Self::ExpectationFailed,
        Self::MisdirectedRequest,
        Self::TooManyRequests,
        Self::RequestHeaderFieldsTooLarge,
        Self::InternalServerError,
        Self::NotImplemented,
        Self::ServiceUnavailable,
        Self::HttpVersionNotSupported,
    ];

    /// The codes of [`Status::ALL`].
    #[expect(clippy::indexing_slicing, reason = "evaluated when the crate is compiled")]
    pub const CODES: [u16; Self::ALL.len()] = {
        let mut codes = [0; Self::ALL.len()];
        let mut index = 0;
        while index < codes.len() {
            codes[index] = Self::ALL[index].code();
            index += 1;
        }
        codes
    };

    /// The place in [`Status::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The three digits.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.parts().0
    }

    /// The reason phrase, also the `title` of a problem.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        self.parts().1
    }

    /// The status line with its line end.
    #[must_use]
    pub const fn line(self) -> &'static str {
        self.parts().2
    }

    const fn parts(self) -> (u16, &'static str, &'static str) {
        macro_rules! status {
            ($code:literal, $reason:literal) => {
                ($code, $reason, concat!("HTTP/1.1 ", $code, " ", $reason, "\r\n"))
            };
        }
        match self {
            Self::Ok => status!(200, "OK"),
            Self::Accepted => status!(202, "Accepted"),
            Self::BadRequest => status!(400, "Bad Request"),
            Self::Unauthorized => status!(401, "Unauthorized"),
            Self::Forbidden => status!(403, "Forbidden"),
            Self::NotFound => status!(404, "Not Found"),
            Self::MethodNotAllowed => status!(405, "Method Not Allowed"),
            Self::RequestTimeout => status!(408, "Request Timeout"),
            Self::ContentTooLarge => status!(413, "Content Too Large"),
            Self::UriTooLong => status!(414, "URI Too Long"),
            Self::UnsupportedMediaType => status!(415, "Unsupported Media Type"),
            Self::ExpectationFailed => status!(417, "Expectation Failed"),
            Self::MisdirectedRequest => status!(421, "Misdirected Request"),
            Self::TooManyRequests => status!(429, "Too Many Requests"),
            Self::RequestHeaderFieldsTooLarge => status!(431, "Request Header Fields Too Large"),
            Self::InternalServerError => status!(500, "Internal Server Error"),
            Self::NotImplemented => status!(501, "Not Implemented"),
            Self::ServiceUnavailable => status!(503, "Service Unavailable"),
            Self::HttpVersionNotSupported => status!(505, "HTTP Version Not Supported"),
        }
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
