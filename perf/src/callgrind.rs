//! Instructions of one function of a program, as callgrind counts them.

use std::path::Path;
use std::process::Command;

/// The instructions that `program` executes with `arguments` inside of `function` and of all that
/// it calls; the kernel's are not among them.
///
/// The program runs in an empty environment and always finds the same addresses, from which hash
/// seeds are drawn: two runs differ by nothing but what the program itself makes different.
///
/// # Errors
///
/// Valgrind is not there, the program fails, or it never calls the function.
pub fn count(program: &Path, arguments: &[&str], function: &str) -> Result<u64, String> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(program)
        .args(arguments)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, text.trim()));
    }
    match collected(&text) {
        Some(0) | None => Err(format!("`{function}` was not called: {}", text.trim())),
        Some(count) => Ok(count),
    }
}

/// The total in the summary: `==42== Collected : 1234`.
fn collected(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_from_the_summary() {
        let text = "==7== Events    : Ir\n==7== Collected : 123456\n==7== \n==7== I   refs: 9";
        assert_eq!(collected(text), Some(123_456));
        assert_eq!(collected("==7== Events    : Ir\n"), None);
    }
}
