//! The real program as a child process: its log, its signals and its end.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;

use crate::child_process::{ChildProcess, send_signal};
use crate::http_client::HttpClient;
use crate::usage::Usage;
use crate::wait::{TIMEOUT, wait_until, wait_until_within};

/// Returns the file of the program: it lies in the folder of the profile, which holds the folders
/// of tests and examples and, directly, other programs.
pub fn program() -> PathBuf {
    let own = std::env::current_exe().expect("the system says where this program is");
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("corepulse"));
    found.into_iter().find(|file| file.is_file()).expect("corepulse is built")
}

/// Returns a command that runs the program in a clean environment.
pub fn command(arguments: &[&str]) -> Command {
    command_of(&program(), arguments)
}

fn command_of(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        // But for the engine that the tests are run against (ci/second-engine).
        let is_ours = text.starts_with("COREPULSE_") && text != "COREPULSE_ENGINE";
        if is_ours || text == "REDIS_URL" {
            command.env_remove(&name);
        }
    }
    command
}

fn with_fixed<'a>(listen: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    let fixed = ["--listen", listen, "--pin", "off", "--log-format", "json"];
    [&fixed, arguments].concat()
}

/// The outcome of a run that ended by itself.
#[derive(Debug)]
pub struct FinishedProcess {
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

impl FinishedProcess {
    /// Returns true if `--print-config` has printed this line, wherever its value came from.
    pub fn has_setting(&self, line: &str) -> bool {
        let values = self.output.lines().filter_map(|line| line.split("  # ").next());
        values.into_iter().any(|value| value == line)
    }
}

/// Runs the program with these arguments to its end, which must come soon.
pub fn run_with(arguments: &[&str]) -> FinishedProcess {
    run(command(arguments))
}

/// Runs a command to its end, which must come soon.
pub fn run(mut command: Command) -> FinishedProcess {
    let pipes = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ChildProcess(pipes.spawn().expect("the program starts"));
    let status = wait_until("the end of the program", || child.0.try_wait().unwrap());
    let mut run = FinishedProcess {
        code: status.code().unwrap_or(-1),
        output: String::new(),
        errors: String::new(),
    };
    // The output of such a run fits into the pipes.
    child.0.stdout.take().unwrap().read_to_string(&mut run.output).unwrap();
    child.0.stderr.take().unwrap().read_to_string(&mut run.errors).unwrap();
    run
}

/// A running program.
#[derive(Debug)]
pub struct Server {
    child: ChildProcess,
    log: Receiver<Value>,
    /// The lines before the one with the address, and that one.
    read: Vec<String>,
    /// Where it listens; 0.0.0.0:0 on a Unix socket.
    pub address: SocketAddr,
}

impl Server {
    /// Starts it on a free port and waits for the line that says which.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", arguments)
    }

    /// Starts it at an address, and waits for the line that says where it listens.
    pub fn start_at(listen: &str, arguments: &[&str]) -> Self {
        Self::start_command(command(&with_fixed(listen, arguments)))
    }

    /// Starts a copy of it on a free port.
    pub fn start_copy(program: &Path, arguments: &[&str]) -> Self {
        Self::start_command(command_of(program, &with_fixed("127.0.0.1:0", arguments)))
    }

    /// Starts it on a free port with further variables in its environment.
    pub fn start_with_environment(variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut command = command(&with_fixed("127.0.0.1:0", arguments));
        command.envs(variables.iter().copied());
        Self::start_command(command)
    }

    /// Starts it from a shell that has done something before, such as `ulimit -n 256`.
    pub fn start_from_shell(shell: &str, arguments: &[&str]) -> Self {
        let plain = command(&with_fixed("127.0.0.1:0", arguments));
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{shell}; exec \"$0\" \"$@\"")]);
        command.arg(plain.get_program()).args(plain.get_args());
        for (name, value) in plain.get_envs() {
            if value.is_none() {
                command.env_remove(name);
            }
        }
        Self::start_command(command)
    }

    /// Starts any program that says on standard error where it listens: in JSON, or after
    /// `listening on `.
    pub fn start_command(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let errors = child.stderr.take().unwrap();
        let child = ChildProcess(child);
        let (sender, log) = mpsc::channel();
        // Ends with the pipe, and so with the child.
        thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let entry = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(entry).is_err() {
                    return;
                }
            }
        });
        let mut read = Vec::new();
        let address = loop {
            let entry: Value = log.recv_timeout(TIMEOUT).expect("it says where it listens");
            read.push(entry.to_string());
            let text = entry.as_str().and_then(|line| line.split_once("listening on "));
            if let Some(address) = entry["address"].as_str().or(text.map(|(_, address)| address)) {
                // A Unix socket has none that one could connect to.
                break address.parse().unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into());
            }
        };
        Self { child, log, read, address }
    }

    /// Connects to it.
    pub fn client(&self) -> HttpClient {
        HttpClient::connect(self.address)
    }

    /// Returns the id of its process.
    pub fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// Returns its resident memory, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        Usage::of(self.id()).expect("it runs").resident_bytes
    }

    /// Returns the CPU time that it has used, in ticks of 10 ms (man 5 proc).
    pub fn cpu_ticks(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.child.0.id());
        let stat = std::fs::read_to_string(path).expect("it runs");
        let (_, after_name) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = after_name.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Returns true if its thread of this name waits for the kernel, or has ended.
    pub fn is_thread_asleep_or_ended(&self, name: &str) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.0.id()));
        // One that ends meanwhile cannot be read.
        let stats = tasks
            .expect("it has not been waited for")
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
        let name = format!("({name}) ");
        let state = |stat: String| Some(stat.split_once(&name)?.1.starts_with('S'));
        stats.filter_map(state).all(|sleeps| sleeps)
    }

    /// Sends a signal to its thread of this name, if it has one.
    pub fn signal_thread(&self, name: &str, signal: &str) {
        let tasks =
            std::fs::read_dir(format!("/proc/{}/task", self.child.0.id())).expect("it runs");
        for task in tasks.map(Result::unwrap) {
            let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if comm.trim_end() == name {
                // The kernel hands it to the thread of that number, if that takes it.
                send_signal(task.file_name().to_str().unwrap().parse().unwrap(), signal);
            }
        }
    }

    /// Returns the number of descriptors that it holds.
    pub fn descriptors(&self) -> u64 {
        let path = format!("/proc/{}/fd", self.child.0.id());
        std::fs::read_dir(path).expect("it runs").count() as u64
    }

    /// Limits the descriptors that it may hold; those that it holds already stay.
    pub fn limit_descriptors(&self, count: u64) {
        let id = i32::try_from(self.child.0.id()).ok().and_then(Pid::from_raw);
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current: Some(count), maximum };
        prlimit(id, Resource::Nofile, limit).expect("a child is ours to limit");
    }

    /// Sends it a signal, such as `TERM`. After `STOP` it stands still: a busy thread takes the
    /// signal only when it next enters the kernel.
    pub fn signal(&self, name: &str) {
        self.child.signal(name);
        if name == "STOP" {
            wait_until("it stands still", || self.is_stopped().then_some(()));
        }
    }

    /// Returns true if a signal has stopped each of its threads (man 5 proc).
    fn is_stopped(&self) -> bool {
        let tasks =
            std::fs::read_dir(format!("/proc/{}/task", self.child.0.id())).expect("it runs");
        tasks.map(Result::unwrap).all(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The state stands behind the name, which may have parentheses itself.
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        })
    }

    /// Returns true if it has ended.
    pub fn is_ended(&mut self) -> bool {
        self.child.0.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_within(TIMEOUT)
    }

    /// Waits for an end that may take its time.
    pub fn wait_within(&mut self, limit: Duration) -> ExitStatus {
        wait_until_within(limit, "the end of the program", || self.child.0.try_wait().unwrap())
    }

    /// Waits for a line of the log.
    pub fn wait_for_log(&self, message: &str) -> Value {
        loop {
            let entry: Value = self
                .log
                .recv_timeout(TIMEOUT)
                .unwrap_or_else(|error| panic!("no line {message:?} in the log: {error}"));
            if entry["message"].as_str().is_some_and(|text| text.contains(message)) {
                return entry;
            }
        }
    }

    /// Returns the first line of this kind since the start, also from before it listened.
    pub fn first_line(&self, message: &str) -> Value {
        let read = self.read.iter().find(|line| line.contains(message));
        match read {
            Some(line) => serde_json::from_str(line).unwrap(),
            None => self.wait_for_log(message),
        }
    }

    /// Returns the last line, after its end: the log ends with the process.
    pub fn last_line(&self) -> Value {
        self.log.iter().last().unwrap_or(Value::Null)
    }

    /// Returns the log lines whose message contains this text, after the end of the process.
    pub fn log_entries(&self, message: &str) -> Vec<Value> {
        let log = self.full_log();
        let entries = log.lines().map(|line| serde_json::from_str(line).expect("a line is JSON"));
        let says =
            |entry: &Value| entry["message"].as_str().is_some_and(|said| said.contains(message));
        entries.filter(says).collect()
    }

    /// Returns the whole log, after its end.
    pub fn full_log(&self) -> String {
        let rest = self.log.iter().map(|entry| entry.to_string());
        self.read.iter().cloned().chain(rest).collect::<Vec<_>>().join("\n")
    }
}
