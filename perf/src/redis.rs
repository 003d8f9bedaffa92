//! A Redis to write to, and the program that its authors measure it with.

use core_affinity::CoreId;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A Redis that does not answer within this time has failed.
const START_MAX: Duration = Duration::from_secs(10);

/// A running `redis-server` without persistence, ended when its value is dropped.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    /// The port that it listens on, of the loopback interface.
    pub port: u16,
}

impl Redis {
    /// Starts one on a free port, pinned to `core`, and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it cannot be started or does not answer.
    pub fn start(core: Option<CoreId>) -> Result<Self, String> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(|e| e.to_string())?.port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "no"]).stdout(Stdio::null());
        let spawned = thread::spawn(move || {
            if core.is_some_and(|core| !core_affinity::set_for_current(core)) {
                return Err(std::io::Error::other("cannot pin"));
            }
            command.spawn()
        });
        let child = spawned.join().map_err(|_| "cannot start redis-server")?;
        let redis = Self { child: child.map_err(|e| format!("redis-server: {e}"))?, port };
        let start = Instant::now();
        while redis.ask("PING").is_err() {
            if start.elapsed() > START_MAX {
                return Err("redis-server does not answer".to_owned());
            }
            thread::yield_now();
        }
        Ok(redis)
    }

    /// Sends one command without arguments that need quotes, and gives the first reply's bytes.
    ///
    /// # Errors
    ///
    /// When there is no connection or no reply.
    pub fn ask(&self, command: &str) -> Result<String, String> {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(START_MAX))?;
            stream.write_all(format!("{command}\r\n").as_bytes())?;
            let mut reply = [0; 512];
            let length = stream.read(&mut reply)?;
            Ok(String::from_utf8_lossy(reply.get(..length).unwrap_or_default()).into_owned())
        };
        ask().map_err(|e| format!("{command}: {e}"))
    }

    /// How many keys it has.
    ///
    /// # Errors
    ///
    /// When it does not say so.
    pub fn keys(&self) -> Result<u64, String> {
        let reply = self.ask("DBSIZE")?;
        let number = reply.trim().strip_prefix(':').and_then(|keys| keys.parse().ok());
        number.ok_or_else(|| format!("DBSIZE: {reply}"))
    }

    /// The rate, in commands a second, at which `redis-benchmark -P 128` sets `count` keys to a
    /// metric, for five minutes each.
    ///
    /// # Errors
    ///
    /// When the program is not there, or prints something else.
    pub fn benchmark(&self, count: u64) -> Result<f64, String> {
        let value = r#"{"timestamp":1700000000,"cpu":41.5,"rps":1200,"device_id":"d000000000001"}"#;
        let output = Command::new("redis-benchmark")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-P", "128", "--csv"])
            .args(["-n", &count.to_string(), "-r", "100000000"])
            .args(["SET", "metric:d__rand_int__:1700000000", value, "EX", "300"])
            .output()
            .map_err(|e| format!("redis-benchmark: {e}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        // The line after the head: the command, then the rate, each in quotes.
        let rate = text.lines().last().and_then(|line| {
            let fields: Vec<&str> = line.rsplit("\",\"").collect();
            fields.get(fields.len().checked_sub(2)?)?.parse().ok()
        });
        rate.ok_or_else(|| format!("redis-benchmark printed {text}"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
