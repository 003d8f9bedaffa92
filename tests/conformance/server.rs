//! The server for the tables: the whole of corepulse.

use std::net::SocketAddr;

use testkit::HttpClient;

use super::in_process::InProcessServer;

pub struct TestServer {
    running: InProcessServer,
    pub address: SocketAddr,
}

impl TestServer {
    pub fn start() -> Self {
        // One worker: see `Barrier`.
        let running = InProcessServer::start(&["--workers", "1"]);
        let address = running.address;
        Self { running, address }
    }

    pub fn client(&self) -> HttpClient {
        self.running.client()
    }
}
