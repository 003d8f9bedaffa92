//! The server in this process, on a port of the kernel's choice.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "each test file uses a part of this, and a test that panics has failed"
)]

use std::net::{Ipv4Addr, SocketAddr};

use clap::Parser;
use corepulse::api::state::State;
use corepulse::config::Config;
use corepulse::config::arguments::Arguments;
use corepulse::server::{DrainReport, Server};
use testkit::HttpClient;
use testkit::tls::ClientConfig;

/// The options of a test that gives no others: a short end, and no pinning beside other tests.
const DEFAULTS: [(&str, &str); 4] =
    [("--listen", "127.0.0.1:0"), ("--pin", "off"), ("--workers", "2"), ("--drain-timeout", "3s")];

/// A running server; it drains when it goes out of scope.
pub struct InProcessServer {
    server: Option<Server>,
    pub address: SocketAddr,
    /// Where it speaks TLS, if it does.
    pub tls_address: Option<SocketAddr>,
}

impl InProcessServer {
    /// Starts one with these flags, each followed by its value.
    pub fn start(flags: &[&str]) -> Self {
        let mut all = vec!["corepulse"];
        for (flag, value) in DEFAULTS {
            if !flags.contains(&flag) {
                all.extend([flag, value]);
            }
        }
        all.extend(flags);
        let arguments = Arguments::try_parse_from(all).expect("the flags are known");
        let config = Config::check(&arguments).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let server = Server::start(&config).expect("a port is free");
        // A Unix socket is represented by an address that cannot be connected to.
        let address = server.bound().internet().unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into());
        let tls_address = server.bound().secure_internet();
        Self { address, tls_address, server: Some(server) }
    }

    /// Returns the state that all cores share.
    pub fn state(&self) -> &State {
        self.server.as_ref().expect("it runs until it is stopped").state()
    }

    pub fn client(&self) -> HttpClient {
        HttpClient::connect(self.address)
    }

    /// Connects with TLS.
    pub fn tls_client(&self, config: ClientConfig) -> HttpClient {
        HttpClient::connect_tls(self.tls_address.expect("it speaks TLS"), config)
    }

    /// Drains it and answers the final counts.
    pub fn stop(mut self) -> DrainReport {
        let server = self.server.take().expect("it runs until it is stopped");
        server.drain(|_| {})
    }
}

impl Drop for InProcessServer {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let report = server.drain(|_| {});
            // A second panic would hide the first.
            if !std::thread::panicking() {
                assert_eq!(report.threads_failed, 0, "{report:?}");
            }
        }
    }
}
