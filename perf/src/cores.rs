//! Who runs where: servers, the generator and Redis, each on cores of its own while there are
//! enough.

use crate::redis::Redis;
use core_affinity::CoreId;

/// The first cores for the server's workers, the next for the generator's threads, the one behind
/// them, if there is one, for Redis, which else shares the generator's last.
#[derive(Clone, Debug)]
pub struct Cores {
    /// The core of a server with one worker. With several it pins them itself.
    pub server: Option<CoreId>,
    /// The generator's threads take these by turns; none where nobody is pinned.
    pub generators: Vec<CoreId>,
    redis: Option<CoreId>,
}

impl Cores {
    /// Shares them out between as many workers of the server and threads of the generator, and says
    /// how.
    pub fn share(workers: usize, threads: usize, say: &mut dyn FnMut(String)) -> Self {
        let ids = core_affinity::get_core_ids().unwrap_or_default();
        let cores = Self::of(&ids, workers, threads);
        let list = |cores: &[CoreId]| {
            let ids: Vec<String> = cores.iter().map(|core| core.id.to_string()).collect();
            format!("core{} {}", if ids.len() == 1 { "" } else { "s" }, ids.join(", "))
        };
        let generators = list(&cores.generators);
        match cores.server {
            _ if cores.generators.is_empty() => {
                say("one core only; server and generator share it".to_owned());
            }
            Some(server) => {
                say(format!("servers run on core {}, the generator on {generators}", server.id));
            }
            None => {
                let shared = if workers < ids.len() { "" } else { ", beside workers" };
                say(format!(
                    "the server pins its {workers} workers from the first core on, the generator \
                     runs on {generators}{shared}"
                ));
            }
        }
        cores
    }

    /// Nobody is pinned.
    #[must_use]
    pub const fn unpinned() -> Self {
        Self { server: None, generators: Vec::new(), redis: None }
    }

    fn of(ids: &[CoreId], workers: usize, threads: usize) -> Self {
        if ids.len() < 2 {
            return Self::unpinned();
        }
        if workers >= ids.len() {
            // All share all: one thread of the generator beside each worker is the even load.
            let generators = ids.iter().rev().take(threads).copied().collect();
            return Self { server: None, generators, redis: None };
        }
        let rest = ids.get(workers..).unwrap_or_default();
        let generators: Vec<CoreId> = rest.iter().take(threads).copied().collect();
        let server = ids.first().filter(|_| workers == 1).copied();
        let redis = rest.get(generators.len()).or(generators.last()).copied();
        Self { server, generators, redis }
    }

    /// Pins this thread, and those that it starts, to the generator's first core.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn take_generator(&self) -> Result<(), String> {
        if self.generators.first().is_some_and(|&core| !core_affinity::set_for_current(core)) {
            return Err("cannot pin the generator".to_owned());
        }
        Ok(())
    }

    /// Starts a Redis on its core, and says which that is.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start_redis(&self, say: &mut dyn FnMut(String)) -> Result<Redis, String> {
        let redis = Redis::start(self.redis)?;
        let place = match self.redis {
            None => "is not pinned".to_owned(),
            Some(core) if self.generators.contains(&core) => {
                format!("runs on core {}, which it shares with the generator", core.id)
            }
            Some(core) => format!("runs on core {}, its own", core.id),
        };
        say(format!("redis-server {place}; it is empty at the start of each measurement"));
        Ok(redis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cores of the server, the generator and Redis.
    fn shared(
        cores: usize,
        workers: usize,
        threads: usize,
    ) -> (Option<usize>, Vec<usize>, Option<usize>) {
        let ids: Vec<CoreId> = (0..cores).map(|id| CoreId { id }).collect();
        let Cores { server, generators, redis } = Cores::of(&ids, workers, threads);
        let id = |core: CoreId| core.id;
        (server.map(id), generators.into_iter().map(id).collect(), redis.map(id))
    }

    #[test]
    fn each_has_its_own_core_while_there_are_enough() {
        assert_eq!(shared(1, 1, 1), (None, vec![], None));
        assert_eq!(shared(2, 1, 1), (Some(0), vec![1], Some(1)));
        assert_eq!(shared(3, 1, 1), (Some(0), vec![1], Some(2)));
        assert_eq!(shared(2, 2, 2), (None, vec![1, 0], None));
        assert_eq!(shared(8, 2, 3), (None, vec![2, 3, 4], Some(5)));
        assert_eq!(shared(4, 3, 2), (None, vec![3], Some(3)));
    }
}
