//! Compares what TLS costs: single POSTs, handshakes, and connections that are idle.
//!
//! The servers run on the first core, one client with its own TLS on the second; it sends the next
//! request of a connection when the last is answered. In each round every server is measured once.
//! The CPU time is that of all processes between client and metric: nginx and the server behind it
//! together.

use crate::cores::{Cores, run_on};
use crate::record::{self, Records};
use crate::summary::Spread;
use clap::Parser;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;
use testkit::tls::{Authority, ClientConfig, TlsFolder, TlsStream};
use testkit::{Server, Usage, post, wait_until};

const NAME: &str = "tls";

/// The start of every answer that is right.
const ACCEPTED: &[u8] = b"HTTP/1.1 202";

/// The ends of the answers' bodies.
const BODY_ENDS: [&[u8]; 2] = [b"}\n", b"}"];

/// Measures TLS beside hyper over rustls and nginx.
#[derive(Debug, Parser)]
struct Options {
    /// Rounds, in each of which every server is measured.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Requests of each measurement.
    #[arg(long, default_value_t = 60_000)]
    requests: usize,
    /// Connections that send them.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Connections that are opened and closed, each with one request.
    #[arg(long, default_value_t = 1_000)]
    handshakes: usize,
    /// Connections that are idle.
    #[arg(long, default_value_t = 2_000)]
    idle: usize,
    /// The folder of the programs.
    #[arg(long, default_value = "target/release")]
    programs: PathBuf,
    #[command(flatten)]
    records: Records,
}

/// One of those that are compared.
struct Contender {
    name: &'static str,
    is_secure: bool,
    start: fn(&Bench) -> Result<Running, String>,
}

const CONTENDERS: [Contender; 4] = [
    Contender { name: "corepulse, in clear", is_secure: false, start: Bench::in_clear },
    Contender { name: "corepulse", is_secure: true, start: Bench::own },
    Contender { name: "hyper + rustls", is_secure: true, start: Bench::hyper },
    Contender { name: "nginx + corepulse", is_secure: true, start: Bench::nginx },
];

/// The bench: what all servers are given.
struct Bench {
    options: Options,
    files: TlsFolder,
    authority: Authority,
}

/// A server that runs, with all processes that take part.
struct Running {
    address: SocketAddr,
    servers: Vec<Server>,
    nginx: Option<Nginx>,
}

/// One measurement.
struct Figures {
    cpu_us: f64,
    per_second: f64,
    handshake_us: f64,
    idle_bytes: f64,
}

pub fn main() -> ExitCode {
    let options = Options::parse();
    let cores = Cores::share(1, 1);
    let authority = Authority::new();
    let files = TlsFolder::new(&authority.server(), None);
    let bench = Bench { options, files, authority };
    let measured = run_on(cores.generator, || bench.measure(&cores));
    record::end(NAME, measured)
}

impl Bench {
    fn measure(&self, cores: &Cores) -> Result<(), String> {
        let mut found: Vec<Vec<Figures>> = CONTENDERS.iter().map(|_| Vec::new()).collect();
        for _ in 0..self.options.rounds {
            for (contender, figures) in CONTENDERS.iter().zip(&mut found) {
                let running = run_on(cores.server, || (contender.start)(self))?;
                figures.push(self.figures(&running, contender.is_secure)?);
            }
        }
        self.print(&found);
        let rows = CONTENDERS.iter().zip(&found).map(|(contender, figures)| {
            let of = |value: fn(&Figures) -> f64| figures.iter().map(value).collect::<Vec<_>>();
            json!({
                "server": contender.name,
                "cpu_us_per_request": of(|figures| figures.cpu_us),
                "requests_per_second": of(|figures| figures.per_second),
                "cpu_us_per_connection": of(|figures| figures.handshake_us),
                "resident_bytes_per_idle_connection": of(|figures| figures.idle_bytes),
            })
        });
        let Options { requests, connections, handshakes, idle, .. } = &self.options;
        let record: Value = json!({
            "placement": cores.note,
            "requests": requests,
            "connections": connections,
            "handshakes": handshakes,
            "idle": idle,
            "measurements": rows.collect::<Vec<_>>(),
        });
        self.options.records.keep(NAME, record)
    }

    fn print(&self, found: &[Vec<Figures>]) {
        println!(
            "| server | CPU µs a POST | POST/s | CPU µs a connection with one POST | bytes an idle \
             connection | POST, ratio to hyper |\n|---|---|---|---|---|---|"
        );
        let hyper = found.get(2).map(Vec::as_slice).unwrap_or_default();
        for (contender, figures) in CONTENDERS.iter().zip(found) {
            let of = |value: fn(&Figures) -> f64| Spread::of(figures.iter().map(value));
            let ratios = figures.iter().zip(hyper).map(|(own, hyper)| own.cpu_us / hyper.cpu_us);
            println!(
                "| {} | {} | {} | {} | {} | {} |",
                contender.name,
                of(|figures| figures.cpu_us).text(2),
                of(|figures| figures.per_second).text(0),
                of(|figures| figures.handshake_us).text(0),
                of(|figures| figures.idle_bytes).text(0),
                Spread::of(ratios).text(2),
            );
        }
    }

    fn figures(&self, running: &Running, is_secure: bool) -> Result<Figures, String> {
        let Options { requests, connections, handshakes, idle, .. } = self.options;
        let config = is_secure.then(|| self.authority.client_config(None));
        let open = || Client::connect(running.address, config.clone());
        let mut clients = (0..connections).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
        drive(&mut clients, requests / 10)?;
        let (before, since) = (running.cpu_seconds()?, Instant::now());
        drive(&mut clients, requests)?;
        let seconds = since.elapsed().as_secs_f64();
        let cpu_us = (running.cpu_seconds()? - before) * 1e6 / requests as f64;
        drop(clients);

        let before = running.cpu_seconds()?;
        for _ in 0..handshakes {
            // A configuration of its own: none comes back with a ticket.
            let config = is_secure.then(|| self.authority.client_config(None));
            drive(&mut [Client::connect(running.address, config)?], 1)?;
        }
        let handshake_us = (running.cpu_seconds()? - before) * 1e6 / handshakes as f64;

        let before = running.resident_bytes()?;
        let mut clients = Vec::new();
        for _ in 0..idle {
            let mut client = open()?;
            drive(std::slice::from_mut(&mut client), 1)?;
            clients.push(client);
        }
        let more = running.resident_bytes()?.saturating_sub(before);
        let per_second = requests as f64 / seconds;
        Ok(Figures { cpu_us, per_second, handshake_us, idle_bytes: more as f64 / idle as f64 })
    }

    fn in_clear(&self) -> Result<Running, String> {
        self.corepulse(&[])
    }

    fn own(&self) -> Result<Running, String> {
        let tls = free_address();
        let flags = self.files.flags();
        let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let at = tls.to_string();
        // In place of port 0, as only the first address is told.
        flags.iter_mut().filter(|flag| **flag == "127.0.0.1:0").for_each(|flag| *flag = &at);
        Ok(Running { address: tls, ..self.corepulse(&flags)? })
    }

    fn corepulse(&self, flags: &[&str]) -> Result<Running, String> {
        let mut command = Command::new(self.program("corepulse")?);
        command.args(["--listen", "127.0.0.1:0", "--workers", "1", "--pin", "off"]);
        command.args(["--log-format", "json"]).args(flags);
        let server = Server::start_command(command);
        Ok(Running { address: server.address, servers: vec![server], nginx: None })
    }

    fn hyper(&self) -> Result<Running, String> {
        let mut command = Command::new(self.program("hyper-tls")?);
        command.arg("--certificate").arg(self.files.path("cert.pem"));
        command.arg("--key").arg(self.files.path("key.pem"));
        let server = Server::start_command(command);
        Ok(Running { address: server.address, servers: vec![server], nginx: None })
    }

    fn nginx(&self) -> Result<Running, String> {
        let behind = self.corepulse(&[])?;
        let nginx = Nginx::start(&self.files, behind.address)?;
        Ok(Running { address: nginx.address, nginx: Some(nginx), ..behind })
    }

    fn program(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.options.programs.join(name);
        if path.is_file() { Ok(path) } else { Err(format!("{}: not built", path.display())) }
    }
}

impl Running {
    fn usage(&self) -> Result<Vec<Usage>, String> {
        let own = self.servers.iter().map(Server::id);
        let nginx = self.nginx.iter().flat_map(Nginx::workers);
        own.chain(nginx).map(Usage::of).collect()
    }

    fn cpu_seconds(&self) -> Result<f64, String> {
        Ok(self.usage()?.iter().map(|usage| usage.cpu).sum())
    }

    fn resident_bytes(&self) -> Result<u64, String> {
        Ok(self.usage()?.iter().map(|usage| usage.resident_bytes).sum())
    }
}

/// nginx as a terminator in front of a server, with one worker.
struct Nginx {
    process: testkit::ChildProcess,
    address: SocketAddr,
}

impl Nginx {
    fn start(files: &TlsFolder, behind: SocketAddr) -> Result<Self, String> {
        let address = free_address();
        let (folder, pid) = (files.path(""), files.path("nginx.pid"));
        let [certificate, key] = ["cert.pem", "key.pem"].map(|name| files.path(name));
        let text = format!(
            "daemon off; worker_processes 1; error_log stderr crit; pid {};
             events {{ worker_connections 20000; }}
             http {{ access_log off; keepalive_requests 1000000000; ssl_session_tickets on;
               client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
               uwsgi_temp_path {folder}; scgi_temp_path {folder};
               upstream behind {{ server {behind}; keepalive 128; keepalive_requests 1000000000; }}
               server {{ listen {address} ssl; ssl_certificate {}; ssl_certificate_key {};
                 location / {{ proxy_pass http://behind; proxy_http_version 1.1;
                   proxy_set_header Connection \"\"; }} }} }}",
            pid.display(),
            certificate.display(),
            key.display(),
            folder = folder.display(),
        );
        let path = files.path("nginx.conf");
        fs::write(&path, text).map_err(|error| error.to_string())?;
        let spawned = Command::new("nginx").arg("-c").arg(&path).spawn();
        let process = spawned.map_err(|error| format!("nginx: {error}"))?;
        let nginx = Self { process: testkit::ChildProcess(process), address };
        wait_until("nginx listens", || TcpStream::connect(address).is_ok().then_some(()));
        Ok(nginx)
    }

    /// Returns the processes that serve.
    fn workers(&self) -> Vec<u32> {
        let id = self.process.0.id();
        let path = format!("/proc/{id}/task/{id}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        children.split_whitespace().filter_map(|id| id.parse().ok()).collect()
    }
}

impl Drop for Nginx {
    /// Ends the workers with their parent, which a kill would leave behind.
    fn drop(&mut self) {
        self.process.signal("TERM");
        let _ = self.process.0.wait();
    }
}

/// Returns an address that is free now.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.unwrap_or_else(|_| ([127, 0, 0, 1], 0).into())
}

/// One connection of the generator.
enum Client {
    Clear(TcpStream),
    Tls(Box<TlsStream>),
}

impl Client {
    fn connect(address: SocketAddr, config: Option<ClientConfig>) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(match config {
            None => Self::Clear(stream),
            Some(config) => Self::Tls(Box::new(TlsStream::new(stream, config))),
        })
    }

    fn send(&mut self, request: &[u8]) -> Result<(), String> {
        let sent = match self {
            Self::Clear(stream) => stream.write_all(request),
            Self::Tls(stream) => stream.write_all(request).and_then(|()| stream.flush()),
        };
        sent.map_err(|error| error.to_string())
    }

    /// Receives the answer, which has to be right.
    fn receive(&mut self) -> Result<(), String> {
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let received = match self {
                Self::Clear(stream) => stream.read(&mut chunk),
                Self::Tls(stream) => stream.read(&mut chunk),
            };
            let bytes = received.map_err(|error| error.to_string())?;
            answer.extend_from_slice(chunk.get(..bytes).unwrap_or_default());
            let is_whole = BODY_ENDS.iter().any(|end| answer.ends_with(end));
            if bytes == 0 || (is_whole && !answer.starts_with(ACCEPTED)) {
                return Err(format!("wrong answer: {}", String::from_utf8_lossy(&answer)));
            }
            if is_whole {
                return Ok(());
            }
        }
    }
}

/// Sends so many requests, one on each connection at a time.
fn drive(clients: &mut [Client], requests: usize) -> Result<(), String> {
    let body = br#"{"timestamp":1700000000,"cpu":41.5,"rps":1200,"device_id":"d000000000001"}"#;
    let request = post(body);
    for _ in 0..requests.div_ceil(clients.len().max(1)) {
        for client in &mut *clients {
            client.send(&request)?;
        }
        clients.iter_mut().try_for_each(Client::receive)?;
    }
    Ok(())
}
