//! The forms of a body: the same events, written in each of the ways that the server takes.

use flate2::{Compression, write::GzEncoder};
use std::io::Write;
use testkit::http_client::post_with;
use testkit::{HttpClient, HttpResponse};

use super::event::{Event, array, ndjson};

/// A way to write events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// One object; the only form of one event alone.
    Single,
    Array,
    Ndjson,
}

impl Form {
    /// Those of any number of events.
    pub(crate) const BATCHES: [Self; 2] = [Self::Array, Self::Ndjson];

    /// Sends these events in one request, compressed if `is_gzip`.
    pub(crate) fn send<'a>(
        self,
        client: &mut HttpClient,
        is_gzip: bool,
        events: impl ExactSizeIterator<Item = &'a Event>,
    ) -> HttpResponse {
        let body = self.body(events);
        if !is_gzip {
            return client.post_without_type(body);
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body.as_bytes()).unwrap();
        client.request(&post_with("Content-Encoding: gzip\r\n", &encoder.finish().unwrap()))
    }

    fn body<'a>(self, mut events: impl ExactSizeIterator<Item = &'a Event>) -> String {
        match self {
            Self::Single => {
                assert_eq!(events.len(), 1);
                events.next().unwrap().json()
            }
            Self::Array => array(events),
            Self::Ndjson => ndjson(events),
        }
    }
}
