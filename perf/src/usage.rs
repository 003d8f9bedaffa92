//! What a process has used so far, as the kernel accounts for it under `/proc`.

use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::Duration;

/// Ticks a second in `/proc/PID/stat`: fixed at 100 for programs on Linux, whatever the kernel's
/// own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// A reading; the difference of two is what happened between them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time of all its threads, from the scheduler's nanosecond account where there is one.
    pub cpu: Duration,
    /// The part of it that was its own code, sampled in ticks of 10 ms.
    pub user: Duration,
    /// Resident memory.
    pub resident_bytes: u64,
}

impl Usage {
    /// Reads the account of process `id`.
    ///
    /// # Errors
    ///
    /// When the process has ended, or `/proc` has another form.
    pub fn of(id: u32) -> Result<Self, String> {
        let stat = read(&format!("/proc/{id}/stat"))?;
        let (user_ticks, system_ticks) = ticks(&stat).ok_or("no times in /proc/PID/stat")?;
        let by_ticks = Duration::from_secs_f64((user_ticks + system_ticks) / TICKS_PER_SECOND);
        let cpu = scheduled(id).unwrap_or(by_ticks);
        let user_share = user_ticks / (user_ticks + system_ticks).max(1.0);
        let statm = read(&format!("/proc/{id}/statm"))?;
        let pages: Option<u64> = statm.split(' ').nth(1).and_then(|field| field.parse().ok());
        Ok(Self {
            cpu,
            user: cpu.mul_f64(user_share),
            resident_bytes: pages.ok_or("no pages in /proc/PID/statm")? * 4096,
        })
    }

    /// What was used since `before`. Memory is a level, not a count: the later one.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            user: self.user.saturating_sub(before.user),
            resident_bytes: self.resident_bytes,
        }
    }
}

/// What became of a thread's time so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadTime {
    /// On a CPU.
    pub ran: Duration,
    /// Ready to run, while something else had the CPU; 0 where the kernel does not say.
    pub waited: Duration,
}

impl ThreadTime {
    /// This thread's.
    #[must_use]
    pub fn of_this() -> Self {
        let ran = clock_gettime(ClockId::ThreadCPUTime);
        let ran = Duration::try_from(ran).unwrap_or_default();
        let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let waited = text.split(' ').nth(1).and_then(|ns| ns.parse().ok());
        Self { ran, waited: Duration::from_nanos(waited.unwrap_or(0)) }
    }

    /// What came since `before`.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            ran: self.ran.saturating_sub(before.ran),
            waited: self.waited.saturating_sub(before.waited),
        }
    }
}

/// CPU time of the threads of process `id` whose names start so.
///
/// # Errors
///
/// When the process has ended, or `/proc` has another form.
pub fn of_threads(id: u32, prefix: &str) -> Result<Duration, String> {
    threads(id, |name| name.starts_with(prefix))
}

/// CPU time of the threads of this process that have this name.
///
/// # Errors
///
/// When `/proc` has another form.
pub fn of_own_thread(name: &str) -> Result<Duration, String> {
    threads(std::process::id(), |other| other == name)
}

fn threads(id: u32, is_meant: impl Fn(&str) -> bool) -> Result<Duration, String> {
    let folder = format!("/proc/{id}/task");
    let mut total = 0;
    let tasks = fs::read_dir(&folder).map_err(|e| format!("{folder}: {e}"))?;
    for task in tasks.flatten().map(|task| task.path()) {
        // A thread that ends meanwhile is not the one that is looked for.
        let named = fs::read_to_string(task.join("comm")).unwrap_or_default();
        if is_meant(named.trim()) {
            let text = fs::read_to_string(task.join("schedstat")).map_err(|e| e.to_string())?;
            let first = text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok());
            total += first.ok_or("no time in schedstat")?;
        }
    }
    Ok(Duration::from_nanos(total))
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))
}

/// Nanoseconds on a CPU, summed over the threads; `None` where the kernel keeps no such account.
fn scheduled(id: u32) -> Option<Duration> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{id}/task")).ok()? {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        total += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    (total > 0).then(|| Duration::from_nanos(total))
}

/// User and system ticks. The command's name may hold spaces, so fields count from its bracket.
fn ticks(stat: &str) -> Option<(f64, f64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user = fields.next()?.parse().ok()?;
    Some((user, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_count_from_the_bracket() {
        let stat = "1 (a b) c) S 1 1 1 0 -1 4 0 0 0 0 250 50 0 0 20 0 3 0 5 6 7";
        assert_eq!(ticks(stat), Some((250.0, 50.0)));
    }

    #[test]
    fn a_thread_is_found_by_its_name_and_knows_its_own_time() {
        let work = || {
            let before = ThreadTime::of_this();
            while ThreadTime::of_this().since(&before).ran < Duration::from_millis(5) {}
            of_threads(std::process::id(), "busy-").unwrap()
        };
        let thread = std::thread::Builder::new().name("busy-1".to_owned()).spawn(work);
        assert!(thread.unwrap().join().unwrap() >= Duration::from_millis(4));
        assert_eq!(of_threads(std::process::id(), "nobody"), Ok(Duration::ZERO));
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.cpu > Duration::ZERO && usage.resident_bytes > 0, "{usage:?}");
        assert!(Usage::of(u32::MAX).is_err());
    }
}
