//! A pipelined series of requests is answered like its requests one by one.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::exchange::{End, FOLLOWER, Server, read};
use super::row::Case;
use super::tables;
use testkit::HttpResponse;

/// Series that are tried.
const SERIES: u32 = 96;

/// Cases of a series, those that are never looked at included.
const CASES_MAX: usize = 24;

/// A case with what it is answered when it is sent alone.
struct Alone {
    case: Case,
    answers: Vec<HttpResponse>,
}

/// Every case of the tables: first those after which a connection carries on, then the others.
fn all_alone(server: &mut Server) -> (Vec<Alone>, Vec<Alone>) {
    let rows = tables().into_iter().flat_map(|(_, rows)| rows);
    let cases = rows.flat_map(|row| row.cases);
    let alone = cases.map(|case| {
        let answers = server.exchange(&case, [&case.sent[..]]).answers;
        Alone { case, answers }
    });
    alone.partition(|alone| alone.case.stays_open)
}

/// The series as one case: what follows one that closes is sent and never answered.
fn joined(series: &[&Alone]) -> Case {
    let ends = |alone: &&Alone| !alone.case.stays_open;
    let answered = series.iter().position(ends).map_or(series.len(), |at| at + 1);
    let expected = series[..answered].iter().flat_map(|alone| alone.case.answers.clone());
    Case {
        sent: series.iter().flat_map(|alone| alone.case.sent.clone()).collect(),
        answers: expected.collect(),
        stays_open: !series.iter().any(ends),
    }
}

#[test]
fn a_random_series_is_answered_like_its_requests_one_by_one() {
    let mut server = Server::start();
    let (open, closed) = all_alone(&mut server);
    let requests = prop::collection::vec(0..open.len(), 1..CASES_MAX);
    let last = prop::option::of((0..closed.len(), 0..CASES_MAX));
    let piece_bytes = prop_oneof![Just(usize::MAX), 1..2000_usize];
    let mut runner = TestRunner::new(Config { cases: SERIES, ..Config::default() });
    runner
        .run(&(requests, last, piece_bytes), |(requests, last, piece_bytes)| {
            let mut series: Vec<&Alone> = requests.iter().map(|&at| &open[at]).collect();
            if let Some((which, place)) = last {
                series.insert(place.min(series.len()), &closed[which]);
            }
            let joined = joined(&series);
            let mut singly: Vec<HttpResponse> =
                series.iter().flat_map(|alone| alone.answers.clone()).collect();
            singly.truncate(joined.answers.len());
            let mut client = server.client();
            for piece in joined.sent.chunks(piece_bytes).chain([FOLLOWER]) {
                // After the last answer the server may have closed already.
                let sent = client.try_send(piece);
                prop_assert!(sent.is_ok() || !joined.stays_open, "{sent:?}");
            }
            prop_assert_eq!(read(&mut client, &joined, End::Any).answers, singly);
            Ok(())
        })
        .unwrap_or_else(|fault| panic!("{fault}"));
}
