//! A server for the tables: the engine with a handler that accepts one body and little else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use percore::cores;
use percore::engine::{Engine, EngineConfig};
use percore::http::handler::{Context, Handler, Reply};
use percore::http::problem::problem;
use percore::http::request::{Method, Request};
use percore::http::response::{Field, JSON, Response, TEXT};
use percore::http::status::Status;
use percore::listen::Listen;
use percore::listener;
use percore::observer::Observer;
use percore::tls::acceptor::Acceptor;
use percore::tls::credentials::{CredentialTexts, Credentials};
use testkit::HttpClient;
use testkit::tls::{Authority, Identity};

use super::row::{ACCEPTED, HEALTHY, METRIC};

const READ: &str = "GET, HEAD, OPTIONS";
const WRITE: &str = "POST, OPTIONS";
const ALL: &str = "GET, HEAD, POST, OPTIONS";

/// The paths that can be read; `/analyze` only without a query, for nothing is known of a device.
const READABLE: [&str; 6] =
    ["/", "/health", "/ready", "/analyze", "/metrics/prometheus", "/metrics/1"];

struct Sample;

impl Sample {
    /// Answers what the head alone decides: the methods of a path, and paths without any.
    fn decide(request: &Request<'_>, body: &mut Vec<u8>) -> Option<Response> {
        let (allow, is_allowed) = match (request.path, request.method) {
            ("*", _) => (ALL, request.method == Method::Options),
            ("/metrics", method) => (WRITE, matches!(method, Method::Post | Method::Options)),
            ("/analyze", _) if request.query.is_some() => {
                return Some(problem(body, Status::NotFound, "no such device", None, 0));
            }
            ("/", _) if request.query.is_some() => {
                return Some(problem(body, Status::BadRequest, "no such parameter", None, 0));
            }
            (path, method) if READABLE.contains(&path) => {
                (READ, matches!(method, Method::Get | Method::Head | Method::Options))
            }
            _ => return Some(problem(body, Status::NotFound, "no such path", None, 0)),
        };
        let field = Some(Field::Allow(allow));
        if !is_allowed {
            return Some(problem(body, Status::MethodNotAllowed, "see Allow", field, 0));
        }
        let options = Response { field, ..Response::ok(TEXT, 0) };
        (request.method == Method::Options).then_some(options)
    }
}

impl Observer for Sample {}

impl Handler for Sample {
    fn handle(&mut self, request: &Request<'_>, _: &Context<'_>, body: &mut Vec<u8>) -> Reply {
        if let Some(decided) = Self::decide(request, body) {
            return Reply::Now(decided);
        }
        let ok = Response::ok(JSON, 0);
        Reply::Now(match (request.path, request.body) {
            ("/metrics", posted) if posted.trim_ascii() == METRIC.as_bytes() => {
                body.extend_from_slice(ACCEPTED.as_bytes());
                Response { status: Status::Accepted, ..ok }
            }
            ("/metrics", b"") => {
                let detail = "expected an event, found an empty body";
                problem(body, Status::BadRequest, detail, None, 0)
            }
            ("/metrics", _) => problem(body, Status::BadRequest, "body: not the metric", None, 0),
            _ => {
                body.extend_from_slice(HEALTHY.as_bytes());
                ok
            }
        })
    }

    fn check_head(
        &mut self,
        head: &Request<'_>,
        _: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Option<Response> {
        let decided = Self::decide(head, body);
        decided.filter(|response| response.status != Status::Ok)
    }
}

fn serve(authority: &Authority) -> io::Result<Engine> {
    let Identity { certificate, key } = authority.server();
    let credentials = Credentials::read(&CredentialTexts {
        certificates: Some(certificate.as_bytes()),
        key: Some(key.as_bytes()),
        client_authority: None,
    });
    let acceptor = Arc::new(Acceptor::new(credentials.expect("a certificate and its key")));
    let here = Listen::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    let [clear, secure] = [listener::open(&here, 1)?, listener::open(&here, 1)?];
    let both = clear.into_iter().zip(secure).map(|(clear, secure)| clear.with(secure, true));
    let config = EngineConfig { acceptor: Some(acceptor), ..EngineConfig::for_workers(1) };
    cores::start(both.collect(), &config, |_| Sample)
}

/// The running server, in clear and with TLS; its threads end with the test.
pub struct TestServer {
    _engine: Engine,
    pub address: SocketAddr,
    tls_address: SocketAddr,
    authority: Authority,
}

impl TestServer {
    pub fn start() -> Self {
        let authority = Authority::new();
        // One worker: see `Barrier`.
        let engine = serve(&authority).expect("two ports are free");
        let address = engine.bound().internet().expect("it listens by TCP");
        let tls_address = engine.bound().secure_internet().expect("it listens by TCP");
        Self { _engine: engine, address, tls_address, authority }
    }

    pub fn tls_client(&self) -> HttpClient {
        HttpClient::connect_tls(self.tls_address, self.authority.client_config(None))
    }

    pub fn client(&self) -> HttpClient {
        HttpClient::connect(self.address)
    }
}
