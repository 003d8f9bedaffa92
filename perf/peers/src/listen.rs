//! Where a peer listens, and a runtime for each of its cores.

use clap::Parser;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use crate::metric::Json;

/// As many as a busy listener has waiting.
const BACKLOG: i32 = 1024;

/// What every peer is started with.
#[derive(Clone, Copy, Debug, Parser)]
pub struct Options {
    /// A loopback address; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Threads that serve.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// What parses; axum has always `serde_json`.
    #[arg(long, value_enum, default_value = "sonic")]
    pub json: Json,
}

impl Options {
    /// A listener for each worker, all at one address, which is said as the floor says it.
    ///
    /// # Errors
    ///
    /// The address is not a loopback address, or is taken.
    pub fn listeners(&self, name: &str) -> io::Result<Vec<TcpListener>> {
        if !self.listen.ip().is_loopback() {
            return Err(io::Error::other("a peer serves its own machine only"));
        }
        let mut listeners = vec![bind(self.listen)?];
        let address = listeners[0].local_addr()?;
        for _ in 1..self.workers {
            listeners.push(bind(address)?);
        }
        say(name, address);
        Ok(listeners)
    }
}

/// The line that says where a server listens.
pub fn say(name: &str, address: SocketAddr) {
    eprintln!("{name}: listening on {address}");
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves each listener from a thread with a runtime of its own, until one fails.
///
/// # Errors
///
/// No thread or runtime can be had, or a listener fails.
pub fn runtime_per_core<S>(listeners: Vec<TcpListener>, serve: S) -> io::Result<()>
where
    S: AsyncFn(tokio::net::TcpListener) -> io::Result<()> + Clone + Send + 'static,
{
    let one = move |listener: TcpListener| -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let local = tokio::task::LocalSet::new();
            let serves = async { serve(tokio::net::TcpListener::from_std(listener)?).await };
            local.run_until(serves).await
        })
    };
    let threads: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let one = one.clone();
            thread::spawn(move || one(listener))
        })
        .collect();
    threads.into_iter().try_for_each(|thread| {
        thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")))
    })
}
