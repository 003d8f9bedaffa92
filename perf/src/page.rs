//! Requests for pages of a server, as browsers make that have one open.

use crate::generator::Latency;
use crate::measurement::PageLoad;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testkit::{HttpClient, get};

/// Has so many browsers ask for their page once a second each, until `is_over`, at least one of
/// them once. A page is one path, or several with blanks between them, asked for one by one.
pub fn request_until(
    address: SocketAddr,
    page: &str,
    browsers: u16,
    is_over: &AtomicBool,
) -> Result<PageLoad, String> {
    let mut clients: Vec<_> = (0..browsers).map(|_| HttpClient::connect(address)).collect();
    let (start, mut took) = (Instant::now(), Vec::new());
    let apart = Duration::from_secs(1) / u32::from(browsers);
    for count in 1.. {
        // Each in its turn, so that a connection is idle for as long as a browser's.
        clients.rotate_left(1);
        let client = clients.first_mut().ok_or("no browser")?;
        took.push(request(client, page)?);
        if is_over.load(Ordering::Relaxed) {
            return Ok(PageLoad { count, latency_us: Latency::of(took.into_iter()) });
        }
        thread::sleep((start + apart * count).saturating_duration_since(Instant::now()));
    }
    Err("more requests than can be counted".to_owned())
}

/// Requests a page so often, each time after the answer to the time before.
pub fn request_in_turn(address: SocketAddr, page: &str, count: u32) -> Result<(), String> {
    let mut client = HttpClient::connect(address);
    (0..count).try_for_each(|_| request(&mut client, page).map(|_| ()))
}

/// Returns the nanoseconds until the last answer; each must be 200.
fn request(client: &mut HttpClient, page: &str) -> Result<u64, String> {
    let start = Instant::now();
    for path in page.split_whitespace() {
        let answer = client.request(&get(path));
        if answer.status != 200 {
            return Err(format!("{path}: {answer:?}"));
        }
    }
    Ok(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::AtomicUsize;

    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nDate: Sun, 29 Nov 2026 09:00:00 GMT\r\nContent-Type: text/plain\r\n\
        Content-Length: 0\r\n\r\n";

    #[test]
    fn each_browser_asks_for_every_path_of_its_page() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (is_over, answered) = (&AtomicBool::new(false), &AtomicUsize::new(0));
        let serve = |mut socket: TcpStream| {
            let (mut asked, mut buffer) = (Vec::new(), [0; 1024]);
            loop {
                let bytes = socket.read(&mut buffer).unwrap();
                if bytes == 0 {
                    return asked;
                }
                let head = String::from_utf8_lossy(&buffer[..bytes]).into_owned();
                asked.push(head.split(' ').nth(1).unwrap().to_owned());
                is_over.store(answered.fetch_add(1, Ordering::Relaxed) > 20, Ordering::Relaxed);
                socket.write_all(ANSWER).unwrap();
            }
        };
        thread::scope(|scope| {
            let pages = scope.spawn(|| request_until(address, "/a?x=1  /b", 20, is_over).unwrap());
            let sockets: Vec<_> = (0..20).map(|_| listener.accept().unwrap().0).collect();
            let all: Vec<_> =
                sockets.into_iter().map(|it| scope.spawn(move || serve(it))).collect();
            let load = pages.join().unwrap();
            let asked: Vec<_> = all.into_iter().map(|one| one.join().unwrap()).collect();
            let is_page = |of: &Vec<String>| of.chunks(2).all(|two| two == ["/a?x=1", "/b"]);
            assert!(asked.iter().all(is_page), "{asked:?}");
            let most = asked.iter().map(Vec::len).max();
            assert_eq!((load.count, most), (11, Some(2)), "each in its turn: {asked:?}");
        });
    }
}
