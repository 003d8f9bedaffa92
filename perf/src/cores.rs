//! Who runs where: servers, the generator and Redis, each on a core of its own while there are
//! enough.

use crate::redis::Redis;
use core_affinity::CoreId;

/// The first core for the servers, the second for the generator, the third, if there is one, for
/// Redis.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// The servers' core; `None` where nobody is pinned.
    pub server: Option<CoreId>,
    /// The generator's.
    pub generator: Option<CoreId>,
    redis: Option<CoreId>,
}

impl Cores {
    /// Shares them out, and says how.
    pub fn share(say: &mut dyn FnMut(String)) -> Self {
        let mut ids = core_affinity::get_core_ids().unwrap_or_default().into_iter();
        let (first, second, third) = (ids.next(), ids.next(), ids.next());
        let (Some(server), Some(generator)) = (first, second) else {
            say("one core only; server and generator share it".to_owned());
            return Self { server: None, generator: None, redis: None };
        };
        let (on, from) = (server.id, generator.id);
        say(format!("servers run on core {on}, the generator on core {from}"));
        Self { server: first, generator: second, redis: third.or(second) }
    }

    /// Pins this thread, and those that it starts, to the generator's core.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn take_generator(&self) -> Result<(), String> {
        if self.generator.is_some_and(|core| !core_affinity::set_for_current(core)) {
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
        let place = match (self.redis, self.generator) {
            (None, _) => "is not pinned".to_owned(),
            (Some(core), other) if Some(core) == other => {
                format!("runs on core {}, which it shares with the generator", core.id)
            }
            (Some(core), _) => format!("runs on core {}, its own", core.id),
        };
        say(format!("redis-server {place}; it is empty at the start of each measurement"));
        Ok(redis)
    }
}
