//! A member whose Redis and whose fellows talk nonsense.

use fastrand::Rng;

use super::super::*;
use super::process::{MS, Process};
use super::{Arc, FLEET_ANSWER_MS, Mutex, OUTBOX_MAX, Question};

const TEXTS: [&str; 9] = [
    "",
    "0",
    "1700000000",
    "99999999999999999999",
    "OK",
    "{}",
    r#"{"totals":{"accepted":-9223372036854775808,"pending":9223372036854775807}}"#,
    r#"{"seen_us":9223372036854775807,"totals":{"accepted":9223372036854775807}}"#,
    r#"{"seen_us":-9223372036854775808,"left":true,"protocol":1}"#,
];

/// Returns a reply of any shape.
fn reply(random: &mut Rng, member: &Member, depth: usize) -> Reply {
    match random.usize(..if depth > 2 { 4 } else { 7 }) {
        0 => Reply::Nil,
        1 => Reply::Integer(random.i64(..)),
        2 => Reply::Bytes(TEXTS[random.usize(..TEXTS.len())].into()),
        3 => Reply::Error(ErrorKind::ALL[random.usize(..ErrorKind::ALL.len())].into()),
        4 => {
            let count = random.usize(..5);
            Reply::List((0..count).map(|_| reply(random, member, depth + 1)).collect())
        }
        5 => {
            let numbers = [TEXTS[2], TEXTS[1]].map(|text| Reply::Bytes(text.into()));
            Reply::List(numbers.to_vec())
        }
        _ => {
            // A directory, perhaps with itself in it.
            let mut names = ["0".to_owned(), "x".to_owned(), member.own.me.to_string()].to_vec();
            names.extend((1..4).map(|number| format!("{number:016x}")));
            names.retain(|_| random.bool());
            let texts = names.into_iter().flat_map(|name| {
                let folded = format!(r#"{{"last":[["{}",{{"accepted":7}}]]}}"#, member.own.me);
                let value = match random.usize(..=TEXTS.len()) {
                    0 => folded,
                    at => TEXTS[at - 1].to_owned(),
                };
                [name, value]
            });
            Reply::List(texts.map(|text| Reply::Bytes(text.into_bytes())).collect())
        }
    }
}

#[test]
fn no_reply_and_no_message_is_too_much() {
    for seed in 0..300 {
        let mut random = Rng::with_seed(seed);
        let mut process = Process::new(0, 1_000_000, &mut random);
        let mut member = process.member.take().unwrap();
        let (mut now_ns, mut asked) = (0, 0);
        let given = Arc::<Mutex<Vec<u64>>>::default();
        for _ in 0..200 {
            now_ns += random.u64(..200 * MS);
            let now = process.now(now_ns);
            if random.bool() {
                let given = Arc::clone(&given);
                let asker = move |_| given.lock().unwrap().push(now_ns);
                member.ask(Question { text: vec![b'a'], asker: Box::new(asker) }, now);
                asked += 1;
            }
            if let Step::Send { batch, .. } = member.step(now) {
                let mut replies = Vec::new();
                for _ in &batch.commands {
                    replies.push(reply(&mut random, &member, 0));
                }
                if random.u8(..8) == 0 {
                    replies.truncate(random.usize(..=replies.len()));
                }
                let result = Ok(replies);
                let (sent_ns, received_ns) = (now.mono_ns, now.mono_ns + random.u64(..MS));
                let connection = random.bool().then_some(1);
                let exchange = Exchange { sent_ns, received_ns, connection, result };
                member.on_exchange(exchange, now);
            }
            let line = r#"{"kind":"ask","from":"0000000000000001","mailbox":"","round":1,"#;
            let text = format!("{line}\"until_us\":9223372036854775807,\"lengths\":[1]}}\na");
            member.on_mail(&text.as_bytes()[..random.usize(..=text.len())], now);
            let line = r#"{"kind":"answer","from":"0000000000000001","round":1,"at_us":7,"#;
            let text = format!("{line}\"totals\":{{\"accepted\":-1}},\"lengths\":[1]}}\na");
            member.on_mail(text.as_bytes(), now);
            assert!(member.outbox.len() <= OUTBOX_MAX);
        }
        now_ns += FLEET_ANSWER_MS * MS;
        member.step(process.now(now_ns));
        assert_eq!(given.lock().unwrap().len(), asked, "seed {seed}");
    }
}
