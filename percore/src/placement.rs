//! The placement of workers on cores, pinned there or not.
//!
//! Pinning pays when the cores are ours. In a container they rarely are: without the static CPU
//! manager every pod of a node sees the same cores, and if each pins its first worker, all of them
//! pin to core 0. So `auto` pins only where the cores are known to be this process's own.

use std::fmt;
use std::fs;
use std::num::NonZeroUsize;
use std::thread;

crate::named_enum! {
    /// The choice of pinning threads to cores.
    pub enum Pin {
        /// Pins where the cores are this process's own.
        Auto = "auto",
        /// Pins.
        On = "on",
        /// Leaves placement to the scheduler.
        Off = "off",
    }
}

/// The facts that the process can learn about its cores.
#[derive(Clone, Debug, PartialEq)]
pub struct Surroundings {
    /// The cores of the affinity mask, by number.
    pub allowed: Vec<usize>,
    /// The number of cores of the machine that are online.
    pub online: usize,
    /// The number of cores that the CPU quota of the control group lets run all the time, at least
    /// one.
    pub parallelism: usize,
    /// True in a container.
    pub container: bool,
}

impl Surroundings {
    /// Observes the machine. Call it before any thread is pinned: the mask that is read is the
    /// calling thread's.
    pub fn observe() -> Self {
        let ids = core_affinity::get_core_ids().unwrap_or_default();
        let allowed: Vec<usize> = ids.iter().map(|core| core.id).collect();
        let online = fs::read_to_string("/sys/devices/system/cpu/online")
            .ok()
            .and_then(|list| count_cpu_list(&list))
            .unwrap_or(allowed.len());
        // A quota of 1.5 cores is rounded down: that feeds one busy worker, not two.
        let parallelism = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { allowed, online, parallelism, container: in_container() }
    }
}

/// The decision, with its reason for the start-up line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The core of each worker; `None` when the scheduler decides.
    pub cores: Option<Vec<usize>>,
    /// The reason.
    pub reason: &'static str,
}

impl fmt::Display for Placement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cores {
            Some(cores) => write!(out, "pinned to {cores:?}: {}", self.reason),
            None => write!(out, "not pinned: {}", self.reason),
        }
    }
}

/// Decides the placement of `workers`.
pub fn decide(pin: Pin, workers: usize, around: &Surroundings) -> Placement {
    let off = |reason| Placement { cores: None, reason };
    let on = |reason| {
        let cores = around.allowed.iter().copied().cycle().take(workers).collect();
        Placement { cores: Some(cores), reason }
    };
    let dedicated =
        around.allowed.len() < around.online && around.parallelism >= around.allowed.len();
    match pin {
        Pin::Off => off("--pin off"),
        _ if around.allowed.is_empty() => off("the affinity mask cannot be read"),
        Pin::On if workers > around.allowed.len() => on("--pin on; more workers than cores"),
        Pin::On => on("--pin on"),
        Pin::Auto if workers > around.allowed.len() => off("more workers than cores"),
        Pin::Auto if !around.container => on("not in a container"),
        Pin::Auto if dedicated => on("in a container with cores of its own"),
        Pin::Auto => off("in a container that shares its cores"),
    }
}

/// Pins the calling thread; returns `false` when the kernel refuses.
#[must_use]
pub fn pin_current_thread(core: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

/// Counts the cores of a list such as `0-3,8`.
fn count_cpu_list(list: &str) -> Option<usize> {
    list.trim().split(',').try_fold(0_usize, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

fn in_container() -> bool {
    let marked =
        ["/.dockerenv", "/run/.containerenv"].iter().any(|path| fs::metadata(path).is_ok());
    let named = |name| std::env::var_os(name).is_some();
    marked || named("KUBERNETES_SERVICE_HOST") || named("container")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(allowed: &[usize], online: usize, parallelism: usize) -> Surroundings {
        Surroundings { allowed: allowed.to_vec(), online, parallelism, container: true }
    }

    #[test]
    fn auto_pins_in_a_container_only_to_cores_of_its_own() {
        let cores = |around: &Surroundings| decide(Pin::Auto, 2, around).cores;
        assert_eq!(cores(&around(&[4, 5], 8, 2)), Some(vec![4, 5]));
        assert_eq!(cores(&around(&[4, 5], 8, 1)), None);
        assert_eq!(cores(&around(&[0, 1], 2, 2)), None);
        let outside = Surroundings { container: false, ..around(&[0, 1], 2, 2) };
        assert_eq!(cores(&outside), Some(vec![0, 1]));
        assert_eq!(decide(Pin::Auto, 3, &outside).cores, None);
        assert_eq!(decide(Pin::Off, 2, &outside).cores, None);
        assert_eq!(decide(Pin::On, 3, &around(&[0, 1], 2, 2)).cores, Some(vec![0, 1, 0]));
        assert_eq!(decide(Pin::On, 1, &around(&[], 2, 2)).cores, None);
    }

    #[test]
    fn the_kernel_s_files_are_read() {
        assert_eq!(count_cpu_list("0-3,8\n"), Some(5));
        assert_eq!(count_cpu_list("0\n"), Some(1));
        assert_eq!(count_cpu_list("3-1"), None);
        assert_eq!(count_cpu_list(""), None);
    }
}
