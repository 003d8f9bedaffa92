//! Where a peer listens, and the one thread that serves.

use clap::Parser;
use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::metric::Json;

/// The options of every peer.
#[derive(Clone, Copy, Debug, Parser)]
pub struct Options {
    /// A loopback address; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// The parser of JSON; axum always uses `serde_json`.
    #[arg(long, value_enum, default_value = "sonic")]
    pub json: Json,
}

impl Options {
    /// Listens, and says where, as the floor says it; fails at an address that is taken, or is not
    /// of the loopback interface.
    pub fn listener(&self, name: &str) -> io::Result<TcpListener> {
        if !self.listen.ip().is_loopback() {
            return Err(io::Error::other("a peer serves its own machine only"));
        }
        let listener = TcpListener::bind(self.listen)?;
        listener.set_nonblocking(true)?;
        eprintln!("{name}: listening on {}", listener.local_addr()?);
        Ok(listener)
    }
}

/// Serves from this thread with a runtime of its own, until that fails.
pub fn run<S>(listener: TcpListener, serve: S) -> io::Result<()>
where
    S: AsyncFnOnce(tokio::net::TcpListener) -> io::Result<()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(
        tokio::task::LocalSet::new()
            .run_until(async { serve(tokio::net::TcpListener::from_std(listener)?).await }),
    )
}
