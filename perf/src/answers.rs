//! Answers read off a connection: a 202 says how many events it accepted, and whoever asks for
//! [`first`] takes nothing else.

/// An acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Head and body.
    pub length: usize,
    /// The events that it says were accepted.
    pub accepted: u64,
    /// Whether it says that it is the last of its connection.
    pub closes: bool,
}

/// An answer with whatever status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// Head and body.
    pub length: usize,
    /// As the status line has it.
    pub status: u16,
    /// What follows the head.
    pub body: &'a [u8],
    /// Whether it says that it is the last of its connection.
    pub closes: bool,
}

/// The reply that `bytes` start with, whatever it says. `None` while it is not whole.
///
/// # Errors
///
/// When it is not HTTP, or does not say how long it is.
pub fn reply(bytes: &[u8]) -> Result<Option<Reply<'_>>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes).map_err(|e| format!("an answer: {e}"))? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok())
        .ok_or("an answer without a Content-Length")?;
    let closes = response.headers.iter().any(|header| {
        let is_connection = header.name.eq_ignore_ascii_case("connection");
        is_connection && header.value.eq_ignore_ascii_case(b"close")
    });
    let Some(body) = bytes.get(head..head + length) else {
        return Ok(None);
    };
    let status = response.code.ok_or("an answer without a status")?;
    Ok(Some(Reply { length: head + length, status, body, closes }))
}

impl Reply<'_> {
    /// The events that it says were accepted.
    ///
    /// # Errors
    ///
    /// When it is not a 202, or does not say what was accepted.
    pub fn accepted(&self) -> Result<u64, String> {
        let text = || String::from_utf8_lossy(self.body);
        match self.status {
            202 => accepted(self.body)
                .ok_or_else(|| format!("an answer without `accepted`: {}", text())),
            other => Err(format!("an answer with {other}: {}", text())),
        }
    }
}

/// The answer that `bytes` start with. `None` while it is not whole.
///
/// # Errors
///
/// When the answer is not HTTP, not a 202, or does not say what was accepted.
pub fn first(bytes: &[u8]) -> Result<Option<Answer>, String> {
    let Some(reply) = reply(bytes)? else { return Ok(None) };
    let accepted = reply.accepted()?;
    Ok(Some(Answer { length: reply.length, accepted, closes: reply.closes }))
}

/// The number behind `"accepted":`.
fn accepted(body: &[u8]) -> Option<u64> {
    let name = b"\"accepted\":";
    let at = body.windows(name.len()).position(|window| window == name)?;
    let digits = body.get(at + name.len()..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 29\r\n\r\n\
        {\"accepted\":1,\"anomalies\":0}\n";

    #[test]
    fn every_proper_prefix_is_partial() {
        for end in 0..ANSWER.len() {
            assert_eq!(first(&ANSWER[..end]), Ok(None), "at byte {end}");
        }
        let two = [ANSWER, ANSWER].concat();
        let one = Answer { length: ANSWER.len(), accepted: 1, closes: false };
        assert_eq!(first(&two), Ok(Some(one)));
    }

    #[test]
    fn the_last_answer_says_so() {
        let text =
            String::from_utf8_lossy(ANSWER).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        assert!(first(text.as_bytes()).unwrap().unwrap().closes);
    }

    #[test]
    fn what_is_no_acknowledgement_is_an_error() {
        for text in [
            "HTTP/1.1 503 Busy\r\nContent-Length: 15\r\n\r\n{\"accepted\":12}",
            "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 202 Accepted\r\n\r\n",
            "SSH-2.0",
        ] {
            assert!(first(text.as_bytes()).is_err(), "{text}");
        }
    }
}
