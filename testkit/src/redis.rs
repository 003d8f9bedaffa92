//! A Redis of the test's own: a real `redis-server` that can be starved, stopped and killed.
//!
//! The test asks it over a Unix socket, whatever it offers to the server under test: a password
//! set meanwhile, a proxy or TLS are never in the test's own way.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use crate::certificates::Certificates;
use crate::redis_client::{RedisClient, RedisReply};
use crate::wait::wait_until;

/// Ports below those that the kernel gives to outgoing connections (man 7 ip): they stay free
/// while a Redis is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The file into which it writes its configuration, such as its primary; a sentinel does
/// not start without one.
const CONFIGURATION: &str = "redis.conf";

/// A folder for one Redis, gone with it.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn create() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short: the path of a Unix socket has 108 bytes at most (man 7 unix).
        let name = format!("corepulse-redis-{}-{number}", std::process::id());
        // In memory where that is to be had: sentinels and nodes of a cluster write down each vote
        // and wait for the disk, which takes seconds where others build.
        let places = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
        let mut paths = places.iter().map(|place| place.join(&name));
        let path = paths.find(|path| fs::create_dir(path).is_ok());
        Self(path.expect("there is room for a folder"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays costs nothing but room.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A `redis-server`, its folder and the test's connection to it.
#[derive(Debug)]
pub struct Redis {
    child: Option<Child>,
    folder: Folder,
    port: ReservedPort,
    arguments: Vec<String>,
    certificates: Option<Certificates>,
    control: Option<RedisClient>,
}

impl Redis {
    /// Starts one with further arguments, and waits until it answers.
    pub fn start(arguments: &[&str]) -> Self {
        let mut redis = Self::absent(arguments);
        redis.run();
        redis
    }

    /// Starts one that speaks TLS only, with certificates that its own authority has signed.
    pub fn start_with_tls(arguments: &[&str]) -> Self {
        let mut redis = Self::absent(arguments);
        redis.certificates = Some(Certificates::make(&redis.folder.0));
        redis.run();
        redis
    }

    /// Returns one that does not run yet, but has its port.
    pub fn absent(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (folder, port) = (Folder::create(), ReservedPort::reserve());
        fs::write(folder.0.join(CONFIGURATION), "").expect("there is room for a file");
        Self { child: None, folder, port, arguments, certificates: None, control: None }
    }

    /// Starts it where it was before, and waits until it answers PING.
    pub fn run(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        self.child = Some(self.command().spawn().expect("ci/setup installs redis-server"));
        wait_until("Redis answers", || {
            let child = self.child.as_mut().unwrap();
            if child.try_wait().unwrap().is_some() {
                panic!("Redis ended: {}", self.log());
            }
            self.control = Some(self.connect().ok()?);
            let reply = self.control.as_mut()?.try_execute(&["PING"]).ok()?;
            (reply == RedisReply::Status("PONG".to_owned())).then_some(())
        });
    }

    fn command(&self) -> Command {
        let mut command = Command::new("redis-server");
        command.arg(CONFIGURATION);
        command.current_dir(&self.folder.0).stdin(Stdio::null());
        command.args(["--bind", "127.0.0.1", "--save", "", "--logfile", "log"]);
        command.args(["--enable-debug-command", "yes", "--unixsocket", "socket"]);
        let port = self.port.number.to_string();
        if self.certificates.is_some() {
            command.args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"]);
            command.args(Certificates::REDIS_ARGUMENTS);
        } else {
            command.args(["--port", &port]);
        }
        command.args(&self.arguments);
        command
    }

    /// Returns its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.0.join("log")).unwrap_or_default()
    }

    /// Opens another connection of the test's own, with the password that the arguments name.
    pub fn connect(&self) -> io::Result<RedisClient> {
        let mut resp = RedisClient::connect(&self.socket())?;
        let mut pairs = self.arguments.windows(2);
        if let Some(pair) = pairs.find(|pair| pair[0] == "--requirepass") {
            resp.try_execute(&["AUTH", &pair[1]])?.assert_ok();
        }
        Ok(resp)
    }

    /// Returns the path of its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.0.join("socket")
    }

    /// Returns where it listens for servers under test.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.number).into()
    }

    /// Returns the URL by which a server finds it.
    pub fn url(&self) -> String {
        let scheme = if self.certificates.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://{}/", self.address())
    }

    /// Returns the file with the authority that signed its certificate.
    pub fn authority(&self) -> &Path {
        &self.certificates.as_ref().expect("it speaks TLS").authority
    }

    /// Executes commands in their order.
    pub fn execute_all(&mut self, commands: &[Vec<&str>]) -> Vec<RedisReply> {
        self.exchange(|control| control.execute_all(commands))
    }

    /// Executes a command on the test's own connection.
    pub fn execute(&mut self, command: &[&str]) -> RedisReply {
        self.exchange(|control| control.try_execute(command))
    }

    /// Exchanges commands and replies on the test's own connection, or on a new one where that has
    /// ended: a sentinel closes all connections to a server that it promotes or demotes.
    fn exchange<T>(&mut self, mut talk: impl FnMut(&mut RedisClient) -> io::Result<T>) -> T {
        let result = talk(self.control.as_mut().expect("it runs")).or_else(|error| {
            if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
                return Err(error);
            }
            let mut control = self.connect()?;
            let result = talk(&mut control);
            self.control = Some(control);
            result
        });
        result.unwrap_or_else(|error| panic!("{error}: {}", self.log()))
    }

    /// Changes its configuration.
    pub fn configure(&mut self, name: &str, value: &str) {
        self.execute(&["CONFIG", "SET", name, value]).assert_ok();
    }

    /// Sends a command that takes a while; [`Self::receive_reply`] waits for its reply.
    pub fn begin(&mut self, command: &[&str]) {
        self.control.as_mut().expect("it runs").send(command).expect("it takes commands");
    }

    /// Receives the reply to what was sent.
    pub fn receive_reply(&mut self) -> RedisReply {
        self.control.as_mut().expect("it runs").receive().expect("a reply")
    }

    /// Returns the values of these keys, `None` for a key that it does not have.
    pub fn values<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>) -> Vec<Option<String>> {
        let commands: Vec<_> = keys.into_iter().map(|key| vec!["GET", key]).collect();
        self.execute_all(&commands).into_iter().map(RedisReply::text).collect()
    }

    /// Returns the value of a key, if it has one.
    pub fn value(&mut self, key: &str) -> Option<String> {
        self.execute(&["GET", key]).text()
    }

    /// Returns when these keys expire, in milliseconds since 1970; negative for a key that it does
    /// not have, or for ever.
    pub fn expiries<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>) -> Vec<i64> {
        let commands: Vec<_> = keys.into_iter().map(|key| vec!["PEXPIRETIME", key]).collect();
        self.execute_all(&commands).into_iter().map(RedisReply::integer).collect()
    }

    /// Returns true if it was started, and not killed since.
    pub const fn is_running(&self) -> bool {
        self.child.is_some()
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child's id");
        kill_process(id, signal).expect("a child is ours to signal");
    }

    /// Stops its process: what comes to it waits in the kernel.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets its process go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it at once (`kill -9`); [`Self::run`] starts it again.
    pub fn kill(&mut self) {
        self.control = None;
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("a child is ours to kill");
        child.wait().expect("it has ended");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// A free port that no other test takes as long as this lives: a server on it may be killed and run
/// again.
#[derive(Debug)]
pub struct ReservedPort {
    /// The port.
    pub number: u16,
    /// The UDP port of the same number, which no test needs: the test that has it may use the
    /// port.
    _reservation: UdpSocket,
}

impl ReservedPort {
    /// Reserves one that is free.
    pub fn reserve() -> Self {
        wait_until("a free port", || {
            let number = fastrand::u16(PORTS);
            let reservation = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok();
            listener.map(|_| Self { number, _reservation: reservation })
        })
    }
}
