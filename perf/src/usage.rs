//! What a process has used so far, as the kernel accounts for it under `/proc`.

use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::path::Path;
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
    /// This thread's. The scheduler's account of one that runs is behind by up to a tick, so the
    /// time on a CPU is the clock's.
    #[must_use]
    pub fn of_this() -> Self {
        let ran = clock_gettime(ClockId::ThreadCPUTime);
        let waited = Self::at(Path::new("/proc/thread-self")).unwrap_or_default().waited;
        Self { ran: Duration::try_from(ran).unwrap_or_default(), waited }
    }

    /// That of the thread with this folder, from the scheduler's nanosecond account.
    fn at(task: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(task.join("schedstat")).map_err(|e| e.to_string())?;
        let mut times = text.split(' ').map_while(|ns| ns.parse().ok().map(Duration::from_nanos));
        let (ran, waited) = times.next().zip(times.next()).ok_or("no times in schedstat")?;
        Ok(Self { ran, waited })
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

/// CPU time of each thread of process `id` that is still there, with its name, by name.
///
/// # Errors
///
/// When the process has ended, or `/proc` has another form.
pub fn of_threads(id: u32) -> Result<Vec<(String, Duration)>, String> {
    let mut threads = Vec::new();
    let folder = format!("/proc/{id}/task");
    for task in fs::read_dir(&folder).map_err(|e| format!("{folder}: {e}"))?.flatten() {
        // A thread that ends meanwhile has nothing more to say.
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if !name.is_empty() {
            threads.push((name.trim().to_owned(), ThreadTime::at(&task.path())?.ran));
        }
    }
    threads.sort();
    Ok(threads)
}

/// CPU time of the threads of this process that have this name.
///
/// # Errors
///
/// When `/proc` has another form.
pub fn of_own_thread(name: &str) -> Result<Duration, String> {
    let threads = of_threads(std::process::id())?;
    Ok(threads.into_iter().filter(|(other, _)| other == name).map(|(_, cpu)| cpu).sum())
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))
}

/// Time on a CPU, summed over the threads; `None` where the kernel keeps no such account.
fn scheduled(id: u32) -> Option<Duration> {
    let total: Duration = of_threads(id).ok()?.into_iter().map(|(_, cpu)| cpu).sum();
    (!total.is_zero()).then_some(total)
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
            while ThreadTime::of_this().since(&before).ran < Duration::from_millis(20) {}
            of_own_thread("busy-1").unwrap()
        };
        let thread = std::thread::Builder::new().name("busy-1".to_owned()).spawn(work);
        // The account may be behind by a tick.
        assert!(thread.unwrap().join().unwrap() >= Duration::from_millis(10));
        assert_eq!(of_own_thread("nobody"), Ok(Duration::ZERO));
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.cpu > Duration::ZERO && usage.resident_bytes > 0, "{usage:?}");
        assert!(Usage::of(u32::MAX).is_err());
        let threads = of_threads(std::process::id()).unwrap();
        assert!(threads.iter().any(|(_, cpu)| *cpu > Duration::ZERO), "{threads:?}");
    }
}
