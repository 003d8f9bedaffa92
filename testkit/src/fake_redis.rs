//! A Redis whose replies the test chooses, for cases that a real one cannot be brought to.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use crate::wait::TIMEOUT;

/// The reply to a command.
#[derive(Clone, Debug)]
pub enum FakeReply {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The first, and then the second again and again, until the connection ends.
    Endlessly(&'static str, &'static str),
    /// The first, and then a byte now and then.
    DropByDrop(&'static str),
    /// Nothing, and no more on this connection.
    Nothing,
}

impl FakeReply {
    /// Returns a reply of this text, as it stands on the wire.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Bytes(text.into().into_bytes())
    }

    /// Returns a bulk string.
    pub fn bulk(text: &str) -> Self {
        Self::text(format!("${}\r\n{text}\r\n", text.len()))
    }

    /// Returns the reply of a node of a cluster that believes this one to have all slots.
    pub fn all_slots_at(owner: SocketAddr) -> Self {
        let (host, port) = (owner.ip().to_string(), owner.port());
        let node = format!("*2\r\n${}\r\n{host}\r\n:{port}\r\n", host.len());
        Self::text(format!("*1\r\n*3\r\n:0\r\n:16383\r\n{node}"))
    }

    /// Returns the reply to a command that was obeyed.
    pub fn ok() -> Self {
        Self::text("+OK\r\n")
    }
}

/// A command with the number of the connection by which it came.
pub type ReceivedCommand = (usize, Vec<String>);

type Answers = dyn Fn(usize, &[String]) -> Option<FakeReply> + Send + Sync;

/// A Redis that replies as the test says; it ends with its test.
pub struct FakeRedis {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<ReceivedCommand>>>,
    is_ending: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl FakeRedis {
    /// Starts one. Commands that `answers` leaves open get the usual reply of an empty Redis; it is
    /// told the number of the connection, from 1 on.
    pub fn start(
        answers: impl Fn(usize, &[String]) -> Option<FakeReply> + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Self::listen().0, answers)
    }

    /// Starts one whose sockets have room for next to nothing: it reads a command when the replies
    /// to those before it have been taken.
    pub fn start_narrow(
        answers: impl Fn(usize, &[String]) -> Option<FakeReply> + Send + Sync + 'static,
    ) -> Self {
        let (listener, _) = Self::listen();
        let socket = SockRef::from(&listener);
        socket.set_recv_buffer_size(1).expect("the least there is");
        socket.set_send_buffer_size(1).expect("the least there is");
        Self::serve(listener, answers)
    }

    /// Returns a free port for [`serve`](Self::serve), and its address.
    pub fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it has been bound");
        (listener, address)
    }

    /// Starts one at a port that was bound before, for nodes that have to know of each other.
    pub fn serve(
        listener: TcpListener,
        answers: impl Fn(usize, &[String]) -> Option<FakeReply> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let answers: Arc<Answers> = Arc::new(answers);
        let (asked, is_ending) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (for_talks, ends): (Arc<Mutex<Vec<ReceivedCommand>>>, _) =
            (Arc::clone(&asked), Arc::clone(&is_ending));
        let acceptor = thread::spawn(move || {
            for (number, stream) in (1..).zip(listener.incoming()) {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let (answers, asked) = (Arc::clone(&answers), Arc::clone(&for_talks));
                let Ok(stream) = stream else {
                    return;
                };
                // It ends with the connection.
                thread::spawn(move || talk(&stream, number, &*answers, &asked));
            }
        });
        Self { address, asked, is_ending, acceptor: Some(acceptor) }
    }

    /// Returns the URL by which a server finds it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Returns all commands that it received so far.
    pub fn commands(&self) -> Vec<ReceivedCommand> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how often it received this command.
    pub fn count(&self, command: &str) -> usize {
        self.commands().iter().filter(|(_, words)| words[0] == command).count()
    }
}

impl Drop for FakeRedis {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::SeqCst);
        // It looks up from accepting.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            // Its panic has been printed; a second one would hide the test's own.
            let _ = acceptor.join();
        }
    }
}

/// Answers command by command until the connection ends.
fn talk(
    stream: &TcpStream,
    number: usize,
    answers: &Answers,
    asked: &Mutex<Vec<ReceivedCommand>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let words = command(&mut reader)?;
        asked.lock().unwrap_or_else(PoisonError::into_inner).push((number, words.clone()));
        match answers(number, &words).unwrap_or_else(|| usual(number, &words)) {
            FakeReply::Bytes(bytes) => writer.write_all(&bytes)?,
            FakeReply::Endlessly(first, again) => {
                writer.write_all(first.as_bytes())?;
                let again = again.repeat(64 * 1024 / again.len());
                loop {
                    writer.write_all(again.as_bytes())?;
                }
            }
            FakeReply::DropByDrop(first) => {
                writer.write_all(first.as_bytes())?;
                loop {
                    writer.write_all(b"1")?;
                    thread::park_timeout(Duration::from_millis(20));
                }
            }
            FakeReply::Nothing => {
                io::copy(&mut reader, &mut io::sink())?;
                return Ok(());
            }
        }
    }
}

/// Returns the reply of a Redis without a value.
fn usual(number: usize, words: &[String]) -> FakeReply {
    let first: Vec<&str> = words.iter().take(2).map(String::as_str).collect();
    match first.as_slice() {
        ["PING", ..] => FakeReply::text("+PONG\r\n"),
        ["CLIENT", "INFO"] => FakeReply::bulk(&format!("id={number} addr=127.0.0.1:{number}")),
        ["CLIENT", "KILL"] => FakeReply::text(":0\r\n"),
        ["ROLE", ..] => FakeReply::text("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"),
        ["GET", ..] => FakeReply::text("$-1\r\n"),
        ["HELLO", ..] => FakeReply::text("%1\r\n+proto\r\n:3\r\n"),
        ["SET" | "SELECT" | "AUTH" | "ASKING", ..] => FakeReply::ok(),
        _ => FakeReply::text("-ERR unknown command\r\n"),
    }
}

/// An array of bulk strings, as clients send.
fn command(reader: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut words = Vec::new();
    for _ in 0..length(reader, '*')? {
        let mut word = vec![0; length(reader, '$')? + 2];
        reader.read_exact(&mut word)?;
        word.truncate(word.len() - 2);
        words.push(String::from_utf8(word).expect("commands are text"));
    }
    Ok(words)
}

fn length(reader: &mut impl BufRead, mark: char) -> io::Result<usize> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let digits = line.trim_end().strip_prefix(mark).unwrap_or_else(|| panic!("{line:?}"));
    Ok(digits.parse().expect("a length"))
}
