//! Turns, deadlines and panics of the control threads, with jobs that are not the server's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::*;
use crate::reload::Reload;
use percore::clock::Now;
use percore::http::handler::{AnswerSink, Context, RequestId, Ticket};
use percore::http::response::{Answer, Response, TEXT};
use percore::http::status::Status;

/// The sink of a test's answers.
#[derive(Debug)]
struct Answers(mpsc::Sender<(u64, Answer)>);

impl AnswerSink for Answers {
    fn deliver(&self, request: RequestId, answer: Answer) {
        let _ = self.0.send((request.number, answer));
    }
}

/// A client, which creates jobs and receives their answers.
struct Client {
    sink: Arc<dyn AnswerSink>,
    answers: mpsc::Receiver<(u64, Answer)>,
}

impl Client {
    fn new() -> Self {
        let (sender, answers) = mpsc::channel();
        Self { sink: Arc::new(Answers(sender)), answers }
    }

    fn ticket(&self, number: u64) -> Ticket {
        let context = Context {
            now: Now::default(),
            peer_is_loopback: true,
            peer: &None,
            identity: None,
            over_limit: false,
            draining: false,
            request: RequestId { number, ..RequestId::default() },
            answer_sink: &self.sink,
            extra_headers: "",
        };
        context.ticket()
    }

    /// A job of which the work is `work`.
    fn job_of(
        &self,
        number: u64,
        lane: Lane,
        work: impl FnOnce(&Execution<'_>, &mut Vec<u8>) -> Response + Send + 'static,
    ) -> Job {
        Job::new(lane, 0, u64::MAX, self.ticket(number), work)
    }

    /// A job that is answered with 200.
    fn job(&self, number: u64, lane: Lane) -> Job {
        self.job_of(number, lane, |_, _| Response::ok(TEXT, 0))
    }

    /// Receives the number of a request, and the status and the body of its answer.
    fn answer(&self) -> (u64, Status, String) {
        let (number, answer) = self.answers.recv_timeout(Duration::from_secs(10)).unwrap();
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        (number, answer.response.status, body)
    }
}

#[test]
fn lanes_take_turns() {
    let client = Client::new();
    let (queue, JobReceivers { lookup, others: [analyze, scrape, debug], .. }) = job_queues();
    for number in 0..50 {
        queue.submit(client.job(number, Lane::Scrape)).unwrap();
        queue.submit(client.job(100 + number, Lane::Analyze)).unwrap();
    }
    for number in 200..203 {
        queue.submit(client.job(number, Lane::Lookup)).unwrap();
    }
    let (stop, stopped) = channel::bounded(0);
    thread::scope(|scope| {
        let lanes = [lookup, analyze, scrape, debug];
        scope.spawn(move || run(&lanes, &stopped, Clock::start(), SampleTimer::NEVER));
        let order: Vec<u64> = (0..9).map(|_| client.answer().0).collect();
        assert_eq!(order, [200, 100, 0, 201, 101, 1, 202, 102, 2]);
        let rest: Vec<u64> = (0..94).map(|_| client.answer().0).collect();
        assert_eq!((rest[0], rest[93]), (103, 49));
        drop(stop);
    });
}

#[test]
fn a_job_that_has_waited_for_too_long_is_answered_so_and_takes_no_turn() {
    let client = Client::new();
    let (queue, JobReceivers { lookup, others: [_, scrape, _], .. }) = job_queues();
    let made = Arc::new(AtomicUsize::new(0));
    for (number, lane, deadline_ns) in [
        (0, Lane::Scrape, 0),
        (1, Lane::Scrape, 0),
        (2, Lane::Scrape, u64::MAX),
        (3, Lane::Scrape, u64::MAX),
        (4, Lane::Lookup, u64::MAX),
    ] {
        let made = Arc::clone(&made);
        let work = move |_: &Execution<'_>, _: &mut Vec<u8>| {
            made.fetch_add(1, Ordering::Relaxed);
            Response::ok(TEXT, 0)
        };
        queue.submit(Job::new(lane, 0, deadline_ns, client.ticket(number), work)).unwrap();
    }
    let (stop, stopped) = channel::bounded(0);
    thread::scope(|scope| {
        scope.spawn(move || run(&[scrape, lookup], &stopped, Clock::start(), SampleTimer::NEVER));
        for number in [0, 1] {
            let (found, status, body) = client.answer();
            assert_eq!((found, status), (number, Status::ServiceUnavailable));
            assert!(body.contains("--request-timeout"), "{body}");
        }
        let rest: Vec<_> =
            (0..3).map(|_| client.answer()).map(|(n, status, _)| (n, status)).collect();
        assert_eq!(rest, [2, 4, 3].map(|number| (number, Status::Ok)));
        drop(stop);
    });
    assert_eq!(made.load(Ordering::Relaxed), 3);
}

#[test]
fn a_panic_costs_one_job() {
    let client = Client::new();
    let (queue, JobReceivers { others: [_, scrape, _], .. }) = job_queues();
    for number in 0..3 {
        let work = move |_: &Execution<'_>, body: &mut Vec<u8>| {
            body.extend_from_slice(b"half");
            assert!(number != 1, "as is meant");
            Response::ok(TEXT, 0)
        };
        queue.submit(client.job_of(number, Lane::Scrape, work)).unwrap();
    }
    // The thread ends when its lane is empty and has no sender any more.
    drop(queue);
    let (_stop, stopped) = channel::bounded(0);
    run(&[scrape], &stopped, Clock::start(), SampleTimer::NEVER);
    let answers: Vec<_> = (0..3).map(|_| client.answer()).collect();
    assert_eq!([0, 2].map(|at| answers[at].1), [Status::Ok; 2]);
    let (number, status, body) = &answers[1];
    assert_eq!((*number, *status), (1, Status::InternalServerError));
    assert!(body.starts_with('{') && body.contains("made a mistake"), "{body}");
}

#[test]
fn a_sample_is_taken_each_second_whatever_the_others_do() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let mut timer = SampleTimer::new(Box::new(move |_| {
        assert_ne!(counter.fetch_add(1, Ordering::Relaxed), 1, "as is meant");
    }));
    let at = |mono_ms: u64| Now { mono_ns: mono_ms * 1_000_000, wall_us: 0 };
    let pause = |timer: &SampleTimer, ms| timer.pause(at(ms)).map(|pause| pause.as_millis());
    assert_eq!(pause(&timer, 250), Some(750));
    for (ms, samples, next_ms) in
        // The second one panics. One that is late is taken once, and does not put off the next.
        [
            (999, 0, 1),
            (1000, 1, 1000),
            (2300, 2, 700),
            (2999, 2, 1),
            (5900, 3, 100),
            (6000, 4, 1000),
        ]
    {
        timer.sample_if_due(at(ms));
        let found = (taken.load(Ordering::Relaxed), pause(&timer, ms));
        assert_eq!(found, (samples, Some(next_ms)), "at {ms}");
    }
    let mut never = SampleTimer::NEVER;
    never.sample_if_due(at(5000));
    assert_eq!(never.pause(at(5000)), None);
}

/// The thread waits for jobs, of which none come.
#[test]
fn samples_are_taken_while_nobody_asks_for_anything() {
    let (_queue, JobReceivers { others: [_, scrape, _], .. }) = job_queues();
    let (taken, samples) = mpsc::channel();
    let timer = SampleTimer::new(Box::new(move |now: Now| {
        let _ = taken.send(now.mono_ns);
    }));
    let (stop, stopped) = channel::bounded(0);
    thread::scope(|scope| {
        scope.spawn(move || run(&[scrape], &stopped, Clock::start(), timer));
        let times = [(); 2].map(|()| samples.recv_timeout(Duration::from_secs(10)).unwrap());
        assert!(times[0] >= SECOND_NS && times[1] >= 2 * SECOND_NS, "{times:?}");
        drop(stop);
    });
}

#[test]
fn a_panic_costs_one_profile() {
    let client = Client::new();
    let (queue, profiler) = profiler();
    let (mut switch, stopped) = profiler.stop_switch();
    thread::scope(|scope| {
        scope.spawn(|| profiler.run(&stopped, Clock::start()));
        queue.submit(client.job_of(0, Lane::Profile, |_, _| panic!("as is meant"))).unwrap();
        let (_, status, body) = client.answer();
        assert_eq!(status, Status::InternalServerError, "{body}");
        queue.submit(client.job(1, Lane::Profile)).unwrap();
        assert_eq!(client.answer(), (1, Status::Ok, String::new()));
        switch.stop();
    });
}

/// Also while the last profile is written down, and when its thread has ended.
#[test]
fn a_stopping_server_says_so_and_not_that_it_is_busy() {
    let client = Client::new();
    let (queue, profiler) = profiler();
    let (mut switch, stopped) = profiler.stop_switch();
    let submit = |job: Job| {
        queue.submit(job).map_err(|(job, error)| {
            job.fail(error);
            client.answer().1
        })
    };
    let (begin, begun) = mpsc::channel();
    let (finish, finished) = mpsc::channel::<()>();
    let first = client.job_of(0, Lane::Profile, move |execution, _| {
        begin.send(()).unwrap();
        (execution.sleep)(Duration::from_secs(60));
        finished.recv().unwrap();
        Response::ok(TEXT, 0)
    });
    thread::scope(|scope| {
        scope.spawn(move || profiler.run(&stopped, Clock::start()));
        assert_eq!(submit(first), Ok(()));
        begun.recv().unwrap();
        assert_eq!(submit(client.job(1, Lane::Profile)), Err(Status::TooManyRequests));
        switch.stop();
        assert_eq!(submit(client.job(2, Lane::Profile)), Err(Status::ServiceUnavailable));
        finish.send(()).unwrap();
        assert_eq!(client.answer().0, 0);
    });
    assert_eq!(submit(client.job(3, Lane::Profile)), Err(Status::ServiceUnavailable));
}

/// A file of a test: the outcomes of its reading, of which each is reported to the test.
struct TestFile(mpsc::Receiver<Result<String, Vec<String>>>, mpsc::Sender<()>);

impl Reload for TestFile {
    fn name(&self) -> &'static str {
        "test"
    }

    fn reload(&mut self) -> Result<String, Vec<String>> {
        self.1.send(()).unwrap();
        self.0.recv().expect("as is meant")
    }
}

#[test]
fn files_are_read_again_when_asked_and_neither_mistakes_nor_panics_end_that() {
    let (outcome, outcomes) = mpsc::channel();
    let (begin, begun) = mpsc::channel();
    let mut reloads = Reloads::default();
    reloads.add(Box::new(TestFile(outcomes, begin)));
    let counts = reloads.counts();
    let (requests, reloader) = reloader(reloads, Arc::clone(&counts));
    let (stop, stopped) = channel::bounded(0);
    let wait = || begun.recv_timeout(Duration::from_secs(10)).unwrap();
    let total = || counts.totals().next().unwrap().1;
    thread::scope(|scope| {
        scope.spawn(move || reloader.run(&stopped));
        requests.request();
        wait();
        // Those that come while a file is read are of one more reading, however many they are.
        for _ in 0..5 {
            requests.request();
        }
        outcome.send(Ok("3 things".to_owned())).unwrap();
        wait();
        assert_eq!(total(), [1, 0]);
        outcome.send(Err(vec!["a mistake".to_owned(), "another".to_owned()])).unwrap();
        while total() != [1, 1] {
            thread::yield_now();
        }
        assert_eq!(begun.try_recv(), Err(mpsc::TryRecvError::Empty));
        // The next reading panics.
        drop(outcome);
        requests.request();
        wait();
        requests.request();
        wait();
        while total() != [1, 3] {
            thread::yield_now();
        }
        drop(stop);
    });
}
