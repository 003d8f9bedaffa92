//! Header lines of static lifetime, because `may_minihttp` takes no others.

use std::collections::BTreeMap;

use crate::http::response::{Field, NEGOTIATED_BY, Persistence, Response};
use crate::sync::Mutex;

/// Every line that was ever sent. They are leaked, and a few dozen in all: types and methods are
/// constants, and `Retry-After` has three values.
#[derive(Debug, Default)]
pub(super) struct Fields(Mutex<BTreeMap<String, &'static str>>);

impl Fields {
    /// Calls `add` with each line of an answer that `may_minihttp` does not write by itself.
    pub(super) fn each(
        &self,
        response: Response,
        persistence: Persistence,
        mut add: impl FnMut(&'static str),
    ) {
        if response.status.permits_content() {
            add(self.of(format!("Content-Type: {}", response.content_type)));
        }
        if let Some(field) = response.field {
            let line = match field {
                Field::Allow(methods) => format!("Allow: {methods}"),
                Field::AcceptEncoding(codings) => format!("Accept-Encoding: {codings}"),
                Field::RetryAfter(seconds) => format!("Retry-After: {seconds}"),
                Field::WwwAuthenticate(challenge) => format!("WWW-Authenticate: {challenge}"),
                Field::ContentDisposition(how) => format!("Content-Disposition: {how}"),
                Field::CacheControl(how) => format!("Cache-Control: {how}"),
                Field::Negotiated { .. } => format!("Vary: {NEGOTIATED_BY}"),
                // `may_minihttp` writes one of its own, and two would be a fault.
                Field::ContentLength(_) => String::new(),
            };
            if !line.is_empty() {
                add(self.of(line));
            }
        }
        if response.field == Some(Field::Negotiated { gzipped: true }) {
            add("Content-Encoding: gzip");
        }
        response.extra_headers.split("\r\n").filter(|line| !line.is_empty()).for_each(&mut add);
        match persistence {
            Persistence::Open => {}
            Persistence::OpenSaid => add("Connection: keep-alive"),
            Persistence::Close => add("Connection: close"),
        }
    }

    fn of(&self, line: String) -> &'static str {
        let mut lines = self.0.lock();
        if let Some(known) = lines.get(&line) {
            return known;
        }
        let leaked: &'static str = Box::leak(line.clone().into_boxed_str());
        lines.insert(line, leaked);
        leaked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::response::JSON;

    #[test]
    fn a_line_is_made_once() {
        let fields = Fields::default();
        let of = |seconds, persistence| {
            let field = Some(Field::RetryAfter(seconds));
            let mut lines = Vec::new();
            let response = Response { field, ..Response::ok(JSON, 0) };
            fields.each(response, persistence, |line| lines.push(line));
            lines
        };
        let first = of(1, Persistence::Close);
        let expected = ["Content-Type: application/json", "Retry-After: 1", "Connection: close"];
        assert_eq!(first, expected);
        assert_eq!(of(2, Persistence::Open)[1], "Retry-After: 2");
        assert_eq!(of(1, Persistence::OpenSaid)[1].as_ptr(), first[1].as_ptr());
        assert_eq!(fields.0.lock().len(), 3);
    }
}
