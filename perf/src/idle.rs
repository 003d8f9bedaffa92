//! Connections by the ten thousand that post once and then say nothing.

use crate::answers;
use crate::drive::now_ms;
use crate::scenario::{Scenario, Traffic};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Connections from one source address: the kernel has some 28,000 ports for each.
const PER_SOURCE: usize = 5_000;

/// An answer that takes longer does not come.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Opens as many connections, each from one of several loopback addresses; each posts one metric
/// and has its answer when the next is opened.
///
/// # Errors
///
/// When one cannot be opened, or is not answered with 202.
pub fn open(address: SocketAddr, connections: usize) -> Result<Vec<TcpStream>, String> {
    let mut requests = Requests::new(address, Scenario::Single);
    let mut open = Vec::with_capacity(connections);
    for number in 0..connections {
        let fault = |e: String| format!("connection {number}: {e}");
        let mut stream = connect(address, number).map_err(|e| fault(e.to_string()))?;
        post(&mut stream, requests.make()).map_err(fault)?;
        open.push(stream);
    }
    Ok(open)
}

/// Posts as many metrics over one connection, each after the answer to the one before.
///
/// # Errors
///
/// When there is no connection, or one is not answered with 202.
pub fn post_in_turn(address: SocketAddr, metrics: usize) -> Result<(), String> {
    let mut requests = Requests::new(address, Scenario::Single);
    let mut stream = connect(address, 0).map_err(|e| e.to_string())?;
    (0..metrics).try_for_each(|_| post(&mut stream, requests.make()))
}

/// How many are still open, of connections that have nothing to receive.
///
/// # Errors
///
/// When a socket does not take the mode of not blocking.
pub fn still_open(connections: &mut [TcpStream]) -> Result<usize, String> {
    let mut open = 0;
    for stream in connections {
        stream.set_nonblocking(true).map_err(|e| e.to_string())?;
        let waits = stream.read(&mut [0]).is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
        open += usize::from(waits);
    }
    Ok(open)
}

/// Requests, one turn of a scenario after the other.
#[derive(Debug)]
pub struct Requests {
    traffic: Traffic,
    bytes: Vec<u8>,
}

impl Requests {
    /// Requests of a scenario for the server at `address`.
    #[must_use]
    pub fn new(address: SocketAddr, scenario: Scenario) -> Self {
        let traffic = Traffic::new(scenario, &address.to_string(), now_ms());
        Self { traffic, bytes: Vec::new() }
    }

    /// The bytes of the next turn.
    pub fn make(&mut self) -> &[u8] {
        self.traffic.next_turn(&mut self.bytes);
        &self.bytes
    }
}

fn connect(address: SocketAddr, number: usize) -> std::io::Result<TcpStream> {
    let host = u8::try_from(2 + number / PER_SOURCE).unwrap_or(u8::MAX);
    let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&source.into())?;
    socket.connect(&address.into())?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    Ok(socket.into())
}

/// Posts, and waits for the answer.
///
/// # Errors
///
/// When it is not answered with 202.
pub fn post(stream: &mut TcpStream, request: &[u8]) -> Result<(), String> {
    stream.write_all(request).map_err(|e| e.to_string())?;
    let (mut received, mut chunk) = (Vec::new(), [0; 1024]);
    while answers::first(&received)?.is_none() {
        match stream.read(&mut chunk).map_err(|e| e.to_string())? {
            0 => return Err("closed before its answer".to_owned()),
            length => received.extend(chunk.iter().take(length)),
        }
    }
    Ok(())
}
