//! Clauses that other tests hold: it takes time, a flag or load to see them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::clauses::escaped;

/// A row without exchanges.
pub struct Elsewhere {
    pub clause: &'static str,
    pub asks: &'static str,
    pub does: &'static str,
    /// Under `tests/`.
    pub file: &'static str,
    pub test: &'static str,
}

const fn row(
    clause: &'static str,
    asks: &'static str,
    does: &'static str,
    file: &'static str,
    test: &'static str,
) -> Elsewhere {
    Elsewhere { clause, asks, does, file, test }
}

pub const ELSEWHERE: &[Elsewhere] = &[
    row(
        "RFC 9110, 8.4.1.3",
        "x-gzip is gzip",
        "gzip is inflated up to `--max-body`; what is damaged gets 400",
        "http/bad_input.rs",
        "damaged_gzip_is_refused",
    ),
    row(
        "RFC 9110, 9.3.2",
        "HEAD has the fields of GET (SHOULD)",
        "all of them, Content-Length included",
        "http/connection.rs",
        "head_has_the_fields_of_get_and_no_body",
    ),
    row(
        "RFC 9110, 10.1.1",
        "100 (Continue) before the content is read, or a final status (MUST)",
        "100 as soon as a head came without its body",
        "http/connection.rs",
        "continue_is_said_to_those_who_wait_and_before_the_answer",
    ),
    row(
        "RFC 9110, 10.1.1",
        "a final status instead of 100 where the head is refused, which says whether the rest is \
         read (MAY, SHOULD)",
        "401, 404, 405 and 415 before the body. It is read and thrown away, within `--max-body` \
         and `--request-timeout`, and the connection carries on; where the peer waits for 100, \
         that answer is the last",
        "http/connection.rs",
        "what_is_refused_by_its_head_is_answered_before_the_body",
    ),
    row(
        "RFC 9110, 10.2.3",
        "Retry-After with 503 (MAY)",
        "one to three seconds, by chance",
        "http/connection_limit.rs",
        "where_none_is_idle_only_probes_are_answered",
    ),
    row(
        "RFC 9110, 11.6.1",
        "WWW-Authenticate with each 401 (MUST)",
        "Bearer, under `--ingest-token`",
        "http/connection.rs",
        "the_ingest_token_covers_metrics_and_nothing_else",
    ),
    row(
        "RFC 9110, 15.5.9",
        "408 and close for a request that does not come in time (MAY)",
        "408 after `--request-timeout`, counted from its first byte",
        "http/deadlines.rs",
        "a_trickle_does_not_put_the_deadline_off",
    ),
    row(
        "RFC 9110, 15.5.14",
        "413 for content that is too large, and the connection may close",
        "413 by its announcement, its chunks, or after inflation",
        "http/bad_input.rs",
        "oversize_bodies_are_refused_however_they_come",
    ),
    row(
        "RFC 9112, 8",
        "an incomplete request is not acted on",
        "nothing of it is applied",
        "http/bad_input.rs",
        "a_request_truncated_at_any_byte_is_never_applied",
    ),
    row(
        "RFC 9112, 9.3.2",
        "answers in the order of their requests (MUST)",
        "also where another thread makes some of them",
        "http/connection.rs",
        "answers_keep_the_order_of_requests_whoever_makes_them",
    ),
    row(
        "RFC 9112, 9.5",
        "an idle connection may be closed at any time, gracefully (SHOULD)",
        "after `--idle-timeout`, with an orderly end",
        "http/deadlines.rs",
        "an_idle_connection_is_closed_in_its_time",
    ),
    row(
        "RFC 9112, 9.6",
        "close in the last answer (SHOULD), and a lingering close lest a reset eat it",
        "what still comes is read and thrown away for a second",
        "http/connection.rs",
        "the_refusal_of_a_long_upload_can_be_read",
    ),
    row(
        "RFC 9112, 9.6",
        "a server that stops says so in its last answers (SHOULD)",
        "each answer of the drain delay says close",
        "program/stopping.rs",
        "during_the_drain_delay_all_is_served_but_readiness",
    ),
];

/// Returns the table of these clauses, as `CLAUSES.md` has it.
pub fn appendix() -> String {
    let mut text =
        "\n## Held by other tests\n\nWhat takes time, a flag or load to see.\n\n".to_owned();
    text.push_str("| clause | asks for | here | test |\n|---|---|---|---|\n");
    for row in ELSEWHERE {
        let [asks, does] = [row.asks, row.does].map(escaped);
        let _ = writeln!(
            text,
            "| {} | {asks} | {does} | `tests/{}`: `{}` |",
            row.clause, row.file, row.test
        );
    }
    text
}

#[test]
fn what_other_tests_hold_is_there() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for row in ELSEWHERE {
        let text = fs::read_to_string(tests.join(row.file)).expect(row.file);
        let test = format!("#[test]\nfn {}()", row.test);
        assert!(text.contains(&test), "{}: no test {}", row.file, row.test);
    }
}
