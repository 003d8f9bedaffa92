//! Placement of servers, generator and Redis on cores, each on its own while there are enough.

use core_affinity::CoreId;
use std::{fs, thread};

/// The number of SCHED_FIFO in `/proc/PID/stat` (man 7 sched).
const FIFO: &str = "1";

/// The first cores for the server's workers, the next for the generator's threads, the one behind
/// them, if there is one, for Redis, which else shares the generator's last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// The core of a server with one worker; with several it pins them itself.
    pub server: Option<CoreId>,
    /// The core of the generator, if it has one thread.
    pub generator: Option<CoreId>,
    pub redis: Option<CoreId>,
    /// The placement in a sentence.
    pub note: String,
}

impl Cores {
    /// Shares out the cores of this machine between workers and threads of the generator.
    pub fn share(workers: usize, threads: usize) -> Self {
        let ids = core_affinity::get_core_ids().unwrap_or_default();
        let mut own = Self::of(&ids, workers, threads);
        if is_realtime() {
            own.note += "; all of them before others on this machine (SCHED_FIFO)";
        }
        own
    }

    fn of(ids: &[CoreId], workers: usize, threads: usize) -> Self {
        if ids.len() <= workers || ids.len() < 2 {
            let note = format!("{} core(s), shared by server, generator and Redis", ids.len());
            return Self { server: None, generator: None, redis: None, note };
        }
        let rest = ids.get(workers..).unwrap_or_default();
        let generators: Vec<CoreId> = rest.iter().take(threads).copied().collect();
        let server = ids.first().filter(|_| workers == 1).copied();
        let generator = generators.first().filter(|_| threads == 1).copied();
        let redis = rest.get(generators.len()).or(generators.last()).copied();
        let name = |core: Option<CoreId>| core.map_or("any".to_owned(), |core| core.id.to_string());
        let [on, by, at] = [server, generator, redis].map(name);
        let note = format!("cores: {on} for servers, {by} for the generator, {at} for a Redis");
        Self { server, generator, redis, note }
    }
}

/// Returns true if this process, and so each that it starts, has a real-time priority.
fn is_realtime() -> bool {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The 41st field; the second is in brackets and may hold spaces.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().nth(38) == Some(FIFO)
}

/// Runs `work` on a thread that is pinned to `core`, if there is one: processes that it starts stay
/// there.
pub fn run_on<T: Send>(
    core: Option<CoreId>,
    work: impl FnOnce() -> Result<T, String> + Send,
) -> Result<T, String> {
    let pinned = || match core {
        Some(core) if !core_affinity::set_for_current(core) => {
            Err(format!("cannot pin to core {}", core.id))
        }
        _ => work(),
    };
    let joined = thread::scope(|scope| scope.spawn(pinned).join());
    joined.unwrap_or_else(|_| Err("panicked".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_core_while_there_are_enough() {
        let shared = |cores: usize, workers, threads| {
            let ids: Vec<CoreId> = (0..cores).map(|id| CoreId { id }).collect();
            let Cores { server, generator, redis, .. } = Cores::of(&ids, workers, threads);
            [server, generator, redis].map(|core| core.map(|core| core.id))
        };
        assert_eq!(shared(1, 1, 1), [None, None, None]);
        assert_eq!(shared(2, 1, 1), [Some(0), Some(1), Some(1)]);
        assert_eq!(shared(3, 1, 1), [Some(0), Some(1), Some(2)]);
        assert_eq!(shared(2, 2, 2), [None, None, None]);
        assert_eq!(shared(4, 1, 2), [Some(0), None, Some(3)]);
        assert_eq!(shared(4, 3, 1), [None, Some(3), Some(3)]);
    }
}
