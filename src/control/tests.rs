//! Turns, patience and panics of the control threads, with work that is not the server's.

use percore::http::handler::{Context, Mailbox, RequestId, Ticket};
use percore::http::response::{Answer, TEXT};
use percore::http::status::Status;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::*;
use crate::api::profile::{Form, ProfileJob, Wanted};
use crate::telemetry::exposition::Format;
use crate::telemetry::profile::ProfileError;

/// Where the answers of a test arrive.
#[derive(Debug)]
struct Posted(mpsc::Sender<(u64, Answer)>);

impl Mailbox for Posted {
    fn deliver(&self, request: RequestId, answer: Answer) {
        let _ = self.0.send((request.number, answer));
    }
}

/// Hands out tickets, and answers which request got which status and body.
struct Desk {
    mailbox: Arc<dyn Mailbox>,
    answers: mpsc::Receiver<(u64, Answer)>,
}

impl Desk {
    fn new() -> Self {
        let (sender, answers) = mpsc::channel();
        Self { mailbox: Arc::new(Posted(sender)), answers }
    }

    fn ticket(&self, number: u64) -> Ticket {
        let context = Context {
            now: Now::default(),
            peer_is_loopback: true,
            peer: &None,
            over_limit: false,
            draining: false,
            request: RequestId { number, ..RequestId::default() },
            mailbox: &self.mailbox,
            lines: "",
        };
        context.ticket()
    }

    fn job(&self, number: u64, work: Work, asked_ns: u64) -> Job {
        Job::new(work, self.ticket(number), 0, Now { mono_ns: asked_ns, ..Now::default() })
    }

    fn profile(&self, number: u64) -> ProfileJob {
        ProfileJob::new(Wanted { form: Form::Pprof, seconds: 60 }, self.ticket(number), 0)
    }

    fn answer(&self) -> (u64, Status, String) {
        let (number, answer) = self.answers.recv_timeout(Duration::from_secs(10)).unwrap();
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        (number, answer.response.status, body)
    }
}

fn lookup() -> Work {
    Work::Lookup { key: b"k".to_vec() }
}

const SCRAPE: Work = Work::Scrape { format: Format::Text, gzipped: false };

/// Asked in a far future, nobody has waited.
const NEVER_NS: u64 = u64::MAX;

/// Serves what is queued, until there is nothing left, with one thread for all lanes.
fn serve(jobs: Vec<Job>, make: impl Fn(&Work, Now, &mut Vec<u8>, usize) -> Response) {
    let (submissions, Jobs { lanes, .. }) = job_queues();
    jobs.into_iter().for_each(|job| submissions.submit(job).unwrap());
    drop(submissions);
    let Lanes { lookup, analyze, scrape, debug } = lanes;
    // Each lane ends the thread when it is empty and nobody can queue any more.
    let (_stop, stopped) = channel::bounded(0);
    for lane in &[lookup, analyze, scrape, debug] {
        work(std::slice::from_ref(lane), &stopped, Clock::start(), u64::MAX, &make);
    }
}

#[test]
fn lanes_take_turns() {
    let desk = Desk::new();
    let (submissions, Jobs { lanes, .. }) = job_queues();
    for number in 0..50 {
        submissions.submit(desk.job(number, SCRAPE, NEVER_NS)).unwrap();
        let analyze = Work::Analyze { device: None };
        submissions.submit(desk.job(100 + number, analyze, NEVER_NS)).unwrap();
    }
    for number in 200..203 {
        submissions.submit(desk.job(number, lookup(), NEVER_NS)).unwrap();
    }
    let Lanes { lookup, analyze, scrape, debug } = lanes;
    let (stop, stopped) = channel::bounded(0);
    thread::scope(|scope| {
        let lanes = [lookup, analyze, scrape, debug];
        scope.spawn(move || {
            let make = |_: &Work, _, _: &mut Vec<u8>, route| Response::ok(TEXT, route);
            work(&lanes, &stopped, Clock::start(), 0, make);
        });
        let order: Vec<u64> = (0..9).map(|_| desk.answer().0).collect();
        assert_eq!(order, [200, 100, 0, 201, 101, 1, 202, 102, 2]);
        let rest: Vec<u64> = (0..94).map(|_| desk.answer().0).collect();
        assert_eq!((rest[0], rest[93]), (103, 49));
        drop(stop);
    });
}

#[test]
fn whoever_has_waited_for_too_long_is_told_so_and_takes_no_turn() {
    let desk = Desk::new();
    let (submissions, Jobs { lanes, .. }) = job_queues();
    for (number, asked_ns) in [(0, 0), (1, 0), (2, NEVER_NS), (3, NEVER_NS)] {
        submissions.submit(desk.job(number, SCRAPE, asked_ns)).unwrap();
    }
    submissions.submit(desk.job(4, lookup(), NEVER_NS)).unwrap();
    let Lanes { lookup, scrape, .. } = lanes;
    let (stop, stopped) = channel::bounded(0);
    let made = AtomicUsize::new(0);
    thread::scope(|scope| {
        let made = &made;
        scope.spawn(move || {
            let make = |_: &Work, _, _: &mut Vec<u8>, route| {
                made.fetch_add(1, Ordering::Relaxed);
                Response::ok(TEXT, route)
            };
            work(&[scrape, lookup], &stopped, Clock::start(), 0, make);
        });
        for number in [0, 1] {
            let (found, status, body) = desk.answer();
            assert_eq!((found, status), (number, Status::ServiceUnavailable));
            assert!(body.contains("--request-timeout"), "{body}");
        }
        let rest: Vec<_> =
            (0..3).map(|_| desk.answer()).map(|(n, status, _)| (n, status)).collect();
        assert_eq!(rest, [2, 4, 3].map(|number| (number, Status::Ok)));
        drop(stop);
    });
    assert_eq!(made.into_inner(), 3);
}

#[test]
fn a_panic_costs_one_job() {
    let desk = Desk::new();
    let jobs = (0..3).map(|number| desk.job(number, SCRAPE, NEVER_NS)).collect();
    let count = AtomicUsize::new(0);
    serve(jobs, |_, _, body, route| {
        body.extend_from_slice(b"half");
        assert!(count.fetch_add(1, Ordering::Relaxed) != 1, "as is meant");
        Response::ok(TEXT, route)
    });
    let answers: Vec<_> = (0..3).map(|_| desk.answer()).collect();
    assert_eq!([0, 2].map(|at| answers[at].1), [Status::Ok; 2]);
    let (number, status, body) = &answers[1];
    assert_eq!((*number, *status), (1, Status::InternalServerError));
    assert!(body.starts_with('{') && body.contains("made a mistake"), "{body}");
}

#[test]
fn a_panic_costs_one_profile() {
    let desk = Desk::new();
    let (submission, jobs) = profiles::queue();
    let (mut stop, stopped) = jobs.stop();
    let count = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            jobs.work(&stopped, |_, _| {
                assert!(count.fetch_add(1, Ordering::Relaxed) > 0, "as is meant");
                Ok(b"profile".to_vec())
            });
        });
        submission.submit(desk.profile(0)).unwrap();
        let (_, status, body) = desk.answer();
        assert_eq!(status, Status::InternalServerError, "{body}");
        submission.submit(desk.profile(1)).unwrap();
        assert_eq!(desk.answer(), (1, Status::Ok, "profile".to_owned()));
        stop.now();
    });
}

/// Also while the last profile is written down, and when its thread has ended.
#[test]
fn a_stopping_server_says_so_and_not_that_it_is_busy() {
    let desk = Desk::new();
    let (submission, jobs) = profiles::queue();
    let (mut stop, stopped) = jobs.stop();
    let declined = |number| {
        submission.submit(desk.profile(number)).map_err(|(job, why)| {
            job.decline(why);
            desk.answer().1
        })
    };
    let (is_taken, taken) = mpsc::channel();
    let (finish, finished) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            jobs.work(&stopped, |_, stopped| {
                is_taken.send(()).unwrap();
                assert!(stopped.recv().is_err());
                finished.recv().unwrap();
                Err(ProfileError::Report)
            });
        });
        assert_eq!(declined(0), Ok(()));
        taken.recv().unwrap();
        assert_eq!(declined(1), Err(Status::TooManyRequests));
        stop.now();
        assert_eq!(declined(2), Err(Status::ServiceUnavailable));
        finish.send(()).unwrap();
        assert_eq!(desk.answer().0, 0);
    });
    assert_eq!(declined(3), Err(Status::ServiceUnavailable));
}
