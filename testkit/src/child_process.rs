//! A child process that does not outlive its test.

use std::process::{Child, Command};

/// A child process, which is killed when it goes out of scope.
#[derive(Debug)]
pub struct ChildProcess(pub Child);

impl ChildProcess {
    /// Sends it a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        send_signal(self.0.id(), name);
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // It may be gone already, which is the usual case.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal to the process or the thread of this number.
pub fn send_signal(id: u32, name: &str) {
    let (flag, id) = (format!("-{name}"), id.to_string());
    let status = Command::new("kill").args([flag, id]).status();
    assert!(status.expect("there is kill").success());
}
