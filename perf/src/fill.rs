//! So many requests over one connection, in their order: for a state that has to be exactly known.
//!
//! Two are under way at once, so that the server has the next while this one makes another.

use crate::answers;
use crate::idle::ANSWER_MAX;
use crate::scenario::Traffic;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// Requests without an answer, at most.
const UNDER_WAY: u64 = 2;

/// Posts as many turns of `traffic`, each of which is one request, and calls `progress` with the
/// number of those sent after each tenth. Answers how many events were accepted.
///
/// # Errors
///
/// When there is no connection, or one is not answered with 202.
pub fn post(
    address: SocketAddr,
    traffic: &mut Traffic,
    requests: u64,
    mut progress: impl FnMut(u64),
) -> Result<u64, String> {
    let fault = |e: std::io::Error| format!("{address}: {e}");
    let mut stream = TcpStream::connect(address).map_err(fault)?;
    stream.set_nodelay(true).map_err(fault)?;
    stream.set_read_timeout(Some(ANSWER_MAX)).map_err(fault)?;
    stream.set_write_timeout(Some(ANSWER_MAX)).map_err(fault)?;
    let (mut out, mut received, mut accepted) = (Vec::new(), Vec::new(), 0);
    for number in 0..requests {
        traffic.next_turn(&mut out);
        stream.write_all(&out).map_err(fault)?;
        if number + 1 >= UNDER_WAY {
            accepted += answer(&mut stream, &mut received)?;
        }
        if (number + 1).is_multiple_of(requests.div_ceil(10)) {
            progress(number + 1);
        }
    }
    for _ in 1..UNDER_WAY.min(requests + 1) {
        accepted += answer(&mut stream, &mut received)?;
    }
    Ok(accepted)
}

/// The events that the next answer says were accepted.
fn answer(stream: &mut TcpStream, received: &mut Vec<u8>) -> Result<u64, String> {
    let mut chunk = [0; 4096];
    loop {
        if let Some(answer) = answers::first(received)? {
            received.drain(..answer.length);
            return Ok(answer.accepted);
        }
        let length = stream.read(&mut chunk).map_err(|e| format!("an answer: {e}"))?;
        if length == 0 {
            return Err("the server closed the connection".to_owned());
        }
        received.extend(chunk.iter().take(length));
    }
}
