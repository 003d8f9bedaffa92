//! The server for the tables: the whole of corepulse.

use std::net::SocketAddr;

use testkit::HttpClient;
use testkit::tls::{Authority, TlsFolder};

use super::in_process::InProcessServer;

pub struct TestServer {
    running: InProcessServer,
    pub address: SocketAddr,
    authority: Authority,
    _files: TlsFolder,
}

impl TestServer {
    pub fn start() -> Self {
        let authority = Authority::new();
        let files = TlsFolder::new(&authority.server(), None);
        let tls = files.flags();
        // One worker: see `Barrier`.
        let flags = ["--workers", "1"].into_iter().chain(tls.iter().map(String::as_str));
        let running = InProcessServer::start(&flags.collect::<Vec<_>>());
        let address = running.address;
        Self { running, address, authority, _files: files }
    }

    pub fn tls_client(&self) -> HttpClient {
        self.running.tls_client(self.authority.client_config(None))
    }

    pub fn client(&self) -> HttpClient {
        self.running.client()
    }
}
