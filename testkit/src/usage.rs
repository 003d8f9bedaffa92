//! CPU time and memory of a process, as the kernel accounts for them under `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Ticks a second in `/proc/PID/stat`: fixed at 100 for programs on Linux, whatever the kernel's
/// own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds by the name of a thread.
pub type Threads = BTreeMap<String, f64>;

/// A reading; the difference of two is what happened between them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU seconds of all threads, from the scheduler's nanosecond account where there is one.
    pub cpu: f64,
    /// The part of it that was the process's own code, sampled in ticks of 10 ms.
    pub user: f64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// CPU seconds of each thread.
    pub threads: Threads,
}

impl Usage {
    /// Reads the account of process `id`; fails when that has ended.
    pub fn of(id: u32) -> Result<Self, String> {
        let stat = read(&format!("/proc/{id}/stat"))?;
        let [user, system, ..] = ticks(&stat).ok_or("no times in /proc/PID/stat")?;
        let threads = threads(id)?;
        let scheduled: f64 = threads.values().sum();
        // Where the kernel keeps no nanoseconds, all threads have none.
        let cpu = if scheduled > 0.0 { scheduled } else { (user + system) / TICKS_PER_SECOND };
        let user = cpu * user / (user + system).max(1.0);
        let statm = read(&format!("/proc/{id}/statm"))?;
        let pages: Option<u64> = statm.split(' ').nth(1).and_then(|field| field.parse().ok());
        let resident_bytes = pages.ok_or("no pages in /proc/PID/statm")? * 4096;
        Ok(Self { cpu, user, resident_bytes, threads })
    }

    /// Returns what was used since `before`. Memory is a level, not a count: the later one.
    pub fn since(mut self, before: &Self) -> Self {
        self.cpu -= before.cpu;
        self.user = (self.user - before.user).max(0.0);
        for (name, seconds) in &mut self.threads {
            *seconds -= before.threads.get(name).unwrap_or(&0.0);
        }
        self
    }
}

/// Returns the CPU time of the ended and awaited children of this process, to 10 ms.
pub fn of_children() -> Result<Duration, String> {
    let stat = read("/proc/self/stat")?;
    let [.., user, system] = ticks(&stat).ok_or("no times in /proc/self/stat")?;
    Ok(Duration::from_secs_f64((user + system) / TICKS_PER_SECOND))
}

/// Returns CPU seconds of the threads of process `id` that are still there, from the scheduler's
/// account; threads of one name are added up.
pub fn threads(id: u32) -> Result<Threads, String> {
    let folder = format!("/proc/{id}/task");
    let mut threads = Threads::new();
    for task in fs::read_dir(&folder).map_err(|e| format!("{folder}: {e}"))?.flatten() {
        // A thread that ends meanwhile has nothing more to say.
        let text = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let ran = text("schedstat").split(' ').next().and_then(|ns| ns.parse::<f64>().ok());
        *threads.entry(text("comm").trim().to_owned()).or_default() += ran.unwrap_or(0.0) / 1e9;
    }
    Ok(threads)
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))
}

/// Returns user and system ticks, and those of awaited children. The command's name may hold
/// spaces, so fields count from its bracket.
fn ticks(stat: &str) -> Option<[f64; 4]> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse().ok();
    Some([next()?, next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_count_from_the_bracket() {
        let stat = "1 (a b) c) S 1 1 1 0 -1 4 0 0 0 0 250 50 7 8 20 0 3 0 5 6 7";
        assert_eq!(ticks(stat), Some([250.0, 50.0, 7.0, 8.0]));
    }

    #[test]
    fn a_thread_is_found_by_its_name() {
        let work = || {
            let id = std::process::id();
            while threads(id).unwrap()["busy-1"] == 0.0 {}
            Usage::of(id).unwrap()
        };
        let thread = std::thread::Builder::new().name("busy-1".to_owned()).spawn(work);
        let usage = thread.unwrap().join().unwrap();
        assert!(usage.threads["busy-1"] > 0.0 && usage.cpu >= usage.threads["busy-1"]);
        assert!(usage.resident_bytes > 0 && Usage::of(u32::MAX).is_err());
        assert!(usage.clone().since(&usage).threads["busy-1"].abs() < 1e-9);
    }
}
