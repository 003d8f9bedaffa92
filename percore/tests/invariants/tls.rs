//! The invariants of a connection with TLS, for all bytes.
//!
//! The first byte says how the others come: as they are, laid over the first bytes of a client, or
//! as the contents of records with the right keys.
//!
//! - A core goes on, whatever it receives.
//! - A handshake that was not damaged is made, and a request after it answered.

use std::sync::{Arc, LazyLock, Mutex};

use percore::clock::Now;
use percore::engine::EngineConfig;
use percore::http::handler::{Context, Handler, Reply, Ticket};
use percore::http::request::Request;
use percore::http::response::{Answer, Response, TEXT};
use percore::observer::Observer;
use percore::offline::OfflineCore;
use percore::tls::acceptor::Acceptor;
use percore::tls::credentials::{CredentialTexts, Credentials};
use testkit::tls::{Authority, Identity, RecordForge, client_of};

/// The types of records: change of ciphers, alert, handshake, data, and one that TLS has no more.
const KINDS: [u8; 5] = [20, 21, 22, 23, 24];

/// Connections that receive something and are given up.
const PIECES_MAX: usize = 64;

/// The authority and the credentials, made once, as that takes its time.
static SIDES: LazyLock<(Authority, Arc<Acceptor>)> = LazyLock::new(|| {
    let authority = Authority::new();
    let Identity { certificate, key } = authority.server();
    let credentials = Credentials::read(&CredentialTexts {
        certificates: Some(certificate.as_bytes()),
        key: Some(key.as_bytes()),
        client_authority: None,
    });
    let acceptor = Acceptor::new(credentials.expect("a certificate and its key"));
    (authority, Arc::new(acceptor))
});

/// A handler that answers some requests later.
struct Sometimes(Arc<Mutex<Vec<Ticket>>>);

impl Observer for Sometimes {}

impl Handler for Sometimes {
    fn handle(
        &mut self,
        request: &Request<'_>,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Reply {
        if request.path == "/later" {
            self.0.lock().expect("no panic yet").push(context.ticket());
            return Reply::Later;
        }
        body.extend_from_slice(b"fine");
        Reply::Now(Response::ok(TEXT, 0))
    }
}

/// A core without sockets, and the tickets that it has given out.
struct Side {
    core: OfflineCore<Sometimes>,
    tickets: Arc<Mutex<Vec<Ticket>>>,
}

impl Side {
    fn new() -> Self {
        let tickets = Arc::new(Mutex::new(Vec::new()));
        let acceptor = Some(Arc::clone(&SIDES.1));
        let config = EngineConfig { acceptor, ..EngineConfig::for_workers(1) };
        Self { core: OfflineCore::new(Sometimes(Arc::clone(&tickets)), &config), tickets }
    }

    fn connect(&mut self) -> usize {
        self.core.connect_securely(Now::default())
    }

    /// Sends bytes on a connection, and returns the answer.
    fn send(&mut self, slot: usize, bytes: &[u8]) -> Vec<u8> {
        self.core.receive(slot, bytes, Now::default(), Now::default());
        self.core.sent(slot).to_vec()
    }

    /// Answers what waits, and returns all that was sent since the last bytes came.
    fn answer_later(&mut self, slot: usize) -> Vec<u8> {
        for ticket in self.tickets.lock().expect("no panic yet").drain(..) {
            let response = Response::ok(TEXT, 0);
            ticket.answer(Answer { response, body: b"late".to_vec() });
        }
        self.core.wake(Now::default(), Now::default());
        self.core.sent(slot).to_vec()
    }

    /// Makes a handshake and returns its connection, with a maker of further records.
    fn establish(&mut self) -> (usize, RecordForge) {
        let mut config = SIDES.0.client_config(None);
        config.enable_secret_extraction = true;
        let mut client = client_of(config);
        let slot = self.connect();
        loop {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).expect("there is room");
            }
            if bytes.is_empty() {
                break;
            }
            let answer = self.send(slot, &bytes);
            let mut rest = &answer[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("it is there");
                client.process_new_packets().expect("the server keeps to TLS");
            }
        }
        assert!(!client.is_handshaking(), "the handshake is not done");
        (slot, RecordForge::new(client))
    }
}

/// Fails if anything above does not hold of these bytes.
pub fn check(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let mut side = Side::new();
    match mode % 3 {
        0 => send_raw(&mut side, rest),
        1 => send_damaged(&mut side, rest),
        _ => send_records(&mut side, rest),
    }
    let (slot, mut forge) = side.establish();
    let answer = side.send(slot, &forge.record(23, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(answer.first(), Some(&23), "another connection is not answered");
}

/// Sends bytes in pieces, of which the first byte says the size.
fn send_raw(side: &mut Side, data: &[u8]) {
    let Some((size, stream)) = data.split_first() else {
        return;
    };
    let slot = side.connect();
    for piece in stream.chunks(1 + usize::from(*size)).take(PIECES_MAX) {
        side.send(slot, piece);
    }
}

/// Sends the first bytes of a client with others laid over them, from the offset that the first
/// two say.
fn send_damaged(side: &mut Side, data: &[u8]) {
    let Some(([high, low], over)) = data.split_first_chunk::<2>().map(|(at, over)| (*at, over))
    else {
        return;
    };
    let mut hello = Vec::new();
    let mut client = client_of(SIDES.0.client_config(None));
    client.write_tls(&mut hello).expect("there is room");
    let start = usize::from(u16::from_be_bytes([high, low])) % hello.len();
    for (byte, over) in hello[start..].iter_mut().zip(over) {
        *byte ^= over;
    }
    let slot = side.connect();
    let (one, two) = hello.split_at(start);
    side.send(slot, one);
    side.send(slot, two);
    side.send(slot, over);
}

/// Sends records with the right keys. Each is two bytes, type and length, and its contents; the
/// type also says whether it is sent alone, and whether requests are answered after it.
fn send_records(side: &mut Side, mut data: &[u8]) {
    let (slot, mut forge) = side.establish();
    let mut together = Vec::new();
    while let Some(([kind, length], rest)) = data.split_first_chunk::<2>() {
        let (content, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        data = rest;
        together.extend(forge.record(KINDS[usize::from(kind % 8) % KINDS.len()], content));
        if kind & 0x80 == 0 {
            side.send(slot, &together);
            together.clear();
        }
        if kind & 0x40 != 0 {
            side.answer_later(slot);
        }
    }
    side.send(slot, &together);
    side.answer_later(slot);
}

/// An answer is written while part of a message of the handshake waits for its rest.
#[test]
fn half_a_message_does_not_keep_answers_from_being_written() {
    let mut side = Side::new();
    let (slot, mut forge) = side.establish();
    let request = forge.record(23, b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
    // Four bytes of the five of a change of keys (RFC 8446, section 4.6.3).
    let half = forge.record(22, &[24, 0, 0, 1]);
    assert_eq!(side.send(slot, &[request, half].concat()), b"");
    let answer = side.answer_later(slot);
    assert_eq!(answer.first(), Some(&23), "{answer:?}");
    // Its rest asks for new keys, in return for which the server changes its own.
    let rest = forge.record(22, &[1]);
    let length = side.send(slot, &rest).len();
    let answer = side.send(slot, &forge.record(21, &[1, 0]));
    assert!(length > 0 || !answer.is_empty(), "the message was not taken");
}

/// However many come at once, a turn takes a few steps of handshakes, and requests come between.
#[test]
fn a_storm_of_handshakes_leaves_requests_their_share() {
    const CLIENTS: usize = 100;
    const STEPS: usize = percore::limits::HANDSHAKE_STEPS_PER_TURN;
    let mut side = Side::new();
    let (polite, mut forge) = side.establish();
    let mut hellos = Vec::new();
    for _ in 0..CLIENTS {
        let mut hello = Vec::new();
        let mut client = client_of(SIDES.0.client_config(None));
        client.write_tls(&mut hello).expect("there is room");
        hellos.push((side.connect(), hello));
    }
    let mut inputs: Vec<_> = hellos.iter().map(|(slot, hello)| (*slot, &hello[..])).collect();
    let request = |forge: &mut RecordForge| forge.record(23, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let first = request(&mut forge);
    // The request comes last.
    inputs.push((polite, &first));
    side.core.receive_each(&inputs, Now::default(), Now::default());
    let answered = |side: &mut Side| {
        hellos.iter().filter(|(slot, _)| !side.core.sent(*slot).is_empty()).count()
    };
    let mut done = 0;
    for turn in 1..=CLIENTS {
        assert_eq!(side.core.sent(polite).first(), Some(&23), "turn {turn}: no answer");
        let before = std::mem::replace(&mut done, answered(&mut side));
        assert!(done - before <= STEPS, "turn {turn}: {before} to {done}");
        if done == CLIENTS {
            assert_eq!(turn, CLIENTS.div_ceil(STEPS), "a turn took none");
            return;
        }
        side.send(polite, &request(&mut forge));
    }
    panic!("{done} of {CLIENTS} handshakes were answered");
}
