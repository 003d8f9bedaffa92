//! The slot in which a coroutine waits for a later answer.

use std::sync::Arc;

use may::sync::Blocker;

use crate::http::handler::{AnswerSink, RequestId};
use crate::http::response::Answer;
use crate::sync::Mutex;

/// The slot of one connection, which waits for one answer at a time.
#[derive(Debug, Default)]
pub(super) struct AnswerSlot(Mutex<Slot>);

/// The state of the slot, with the number of the request.
#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    Awaited(u64, Arc<Blocker>),
    Filled(u64, Answer),
}

impl AnswerSlot {
    /// Waits for the answer to request `number`; the worker serves others meanwhile.
    pub(super) fn wait(&self, number: u64) -> Answer {
        loop {
            let blocker = Blocker::current();
            {
                let mut slot = self.0.lock();
                match std::mem::take(&mut *slot) {
                    Slot::Filled(of, answer) if of == number => return answer,
                    Slot::Empty | Slot::Awaited(..) | Slot::Filled(..) => {
                        *slot = Slot::Awaited(number, Arc::clone(&blocker));
                    }
                }
            }
            // It returns early only when the coroutine is cancelled, which does not happen.
            let _ = blocker.park(None);
        }
    }
}

impl AnswerSink for AnswerSlot {
    fn deliver(&self, request: RequestId, answer: Answer) {
        let awaited = {
            let mut slot = self.0.lock();
            let is_late = match &*slot {
                Slot::Empty => false,
                Slot::Awaited(number, _) | Slot::Filled(number, _) => request.number < *number,
            };
            if is_late {
                return;
            }
            std::mem::replace(&mut *slot, Slot::Filled(request.number, answer))
        };
        if let Slot::Awaited(_, blocker) = awaited {
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
        let answer_slot = Arc::new(AnswerSlot::default());
        answer_slot.deliver(RequestId::default(), answer("before"));
        assert_eq!(answer_slot.wait(0), answer("before"));
        let waiting = Arc::clone(&answer_slot);
        let waiting = thread::spawn(move || waiting.wait(0));
        answer_slot.deliver(RequestId::default(), answer("after"));
        assert_eq!(waiting.join().unwrap(), answer("after"));
    }

    #[test]
    fn an_answer_to_another_request_is_not_taken_for_it() {
        let to = |number| RequestId { number, ..RequestId::default() };
        let answer = |text: &str| Answer { response: Response::ok(TEXT, 0), body: text.into() };
        let answer_slot = Arc::new(AnswerSlot::default());
        // The answer to a request that was answered at once, and its ticket dropped.
        answer_slot.deliver(to(1), answer("lost"));
        answer_slot.deliver(to(2), answer("second"));
        answer_slot.deliver(to(1), answer("lost"));
        assert_eq!(answer_slot.wait(2), answer("second"));
        let waiting = Arc::clone(&answer_slot);
        let waiting = thread::spawn(move || waiting.wait(3));
        while !matches!(&*answer_slot.0.lock(), Slot::Awaited(..)) {
            thread::yield_now();
        }
        answer_slot.deliver(to(1), answer("lost"));
        answer_slot.deliver(to(3), answer("third"));
        assert_eq!(waiting.join().unwrap(), answer("third"));
    }
}
