//! Where a coroutine waits for a later answer.

use std::sync::Arc;

use may::sync::Blocker;

use crate::http::handler::{Mailbox, RequestId};
use crate::http::response::Answer;
use crate::sync::Mutex;

/// The letterbox of one connection, which waits for one answer at a time.
#[derive(Debug, Default)]
pub(super) struct Letterbox(Mutex<Letter>);

#[derive(Debug, Default)]
enum Letter {
    #[default]
    None,
    Awaited(Arc<Blocker>),
    Here(Answer),
}

impl Letterbox {
    /// Waits for the answer; the worker serves others meanwhile.
    pub(super) fn wait(&self) -> Answer {
        loop {
            let blocker = Blocker::current();
            {
                let mut letter = self.0.lock();
                match std::mem::take(&mut *letter) {
                    Letter::Here(answer) => return answer,
                    Letter::None | Letter::Awaited(_) => {
                        *letter = Letter::Awaited(Arc::clone(&blocker));
                    }
                }
            }
            // It ends early only when the coroutine is cancelled, which nobody does.
            let _ = blocker.park(None);
        }
    }
}

impl Mailbox for Letterbox {
    fn deliver(&self, _: RequestId, answer: Answer) {
        let awaited = std::mem::replace(&mut *self.0.lock(), Letter::Here(answer));
        if let Letter::Awaited(blocker) = awaited {
            blocker.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::response::{Response, TEXT};
    use std::thread;

    #[test]
    fn an_answer_is_had_whether_it_comes_before_or_after() {
        let answer = |text: &str| Answer { response: Response::ok(TEXT, 0), body: text.into() };
        let letterbox = Arc::new(Letterbox::default());
        letterbox.deliver(RequestId::default(), answer("before"));
        assert_eq!(letterbox.wait(), answer("before"));
        let waiting = Arc::clone(&letterbox);
        let waiting = thread::spawn(move || waiting.wait());
        letterbox.deliver(RequestId::default(), answer("after"));
        assert_eq!(waiting.join().unwrap(), answer("after"));
    }
}
