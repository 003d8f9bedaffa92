//! The pace of replies: how long the writer sleeps until most of those that it awaits have come.
//!
//! Redis sends about a hundred replies at a time. A writer that waits on its socket is woken for
//! each such piece, and to be woken costs it as much as to send the commands did. So it sleeps for
//! most of the time that the replies took lately, and then takes them together. It sleeps for less
//! than that time, so a server that has become faster is noticed, and waits on its socket for the
//! rest, so one that has become slower is too.

/// A shorter sleep saves nothing.
const SLEEP_NS_MIN: u64 = 100_000;

/// An estimate that is far off costs no more than this.
const SLEEP_NS_MAX: u64 = 2_000_000;

#[derive(Debug, Default)]
pub(super) struct ReplyPace {
    /// The time from one reply to the next; 0 if it is not known.
    each_ns: u64,
    /// The time at which the last blocks were found to be complete.
    complete_ns: u64,
    has_slept: bool,
}

impl ReplyPace {
    /// Notes that blocks with so many commands, the first of which was sent at `sent_ns`, are
    /// complete.
    pub(super) fn note_complete(&mut self, commands: u64, sent_ns: u64, now_ns: u64) {
        let since_ns = sent_ns.max(self.complete_ns);
        self.each_ns = now_ns.saturating_sub(since_ns).checked_div(commands).unwrap_or(0);
        self.complete_ns = now_ns;
    }

    /// Notes that replies are waited for on the socket now.
    pub(super) const fn note_wait(&mut self) {
        self.has_slept = false;
    }

    /// Returns how long to sleep while so many replies are awaited; `None` if they are to be waited
    /// for, as they are after each sleep.
    pub(super) fn sleep_ns(&mut self, awaited: u64) -> Option<u64> {
        let all_ns = self.each_ns.saturating_mul(awaited);
        let ns = (all_ns - all_ns / 8).min(SLEEP_NS_MAX);
        if self.has_slept || ns < SLEEP_NS_MIN {
            return None;
        }
        self.has_slept = true;
        Some(ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sleeps_for_less_than_the_replies_took_and_once_for_each_wait() {
        let mut pace = ReplyPace::default();
        assert_eq!(pace.sleep_ns(800), None, "nothing is known");
        pace.note_complete(400, 1_000, 801_000);
        assert_eq!(pace.sleep_ns(400), Some(700_000));
        assert_eq!(pace.sleep_ns(400), None, "who has slept looks");
        pace.note_wait();
        assert_eq!(pace.sleep_ns(400), Some(700_000));
        pace.note_wait();
        assert_eq!(pace.sleep_ns(40), None, "too few to be worth it");
        assert_eq!(pace.sleep_ns(u64::MAX), Some(SLEEP_NS_MAX));
    }

    #[test]
    fn a_server_that_becomes_faster_or_slower_is_followed() {
        let (mut pace, mut now_ns, mut each_ns) = (ReplyPace::default(), 0, 4_000);
        for turn in 0..100 {
            each_ns = if turn == 50 { 40_000 } else { each_ns.max(500) };
            let sent_ns = now_ns;
            let slept_ns = pace.sleep_ns(100).unwrap_or(0);
            pace.note_wait();
            // The replies are there after a sleep that was too long, and waited for otherwise.
            now_ns += slept_ns.max(100 * each_ns);
            pace.note_complete(100, sent_ns, now_ns);
            if turn == 20 {
                each_ns = 500;
            }
            match turn {
                0..=20 => assert_eq!(pace.each_ns, 4_000),
                45..50 => assert!(pace.each_ns < 1_200, "{pace:?}"),
                50..=100 => assert_eq!(pace.each_ns, 40_000),
                _ => {}
            }
        }
    }

    #[test]
    fn blocks_behind_others_count_from_when_those_were_complete() {
        let mut pace = ReplyPace::default();
        pace.note_complete(100, 0, 200_000);
        pace.note_complete(100, 10_000, 500_000);
        assert_eq!(pace.each_ns, 3_000);
        pace.note_complete(0, 600_000, 700_000);
        assert_eq!(pace.each_ns, 0, "none of them was a command");
    }
}
