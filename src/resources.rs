//! The cores, descriptors and memory that this machine has for the server.

use std::fs;
use std::path::{Path, PathBuf};

use crate::analytics::novelty::{BANDS_BYTES, STILLNESS_BYTES};
use crate::config::{Config, Novelty};
use crate::limits::{
    CONNECTIONS_FEW, DEVICE_BYTES, DUE_BYTES, OPTIONAL_FIELD_BYTES, OPTIONAL_START_BYTES,
    REQUIRED_FIELD_BYTES, WINDOW_TIMESTAMP_BYTES, WINDOW_VALUE_BYTES,
};
use crate::telemetry::log;
use percore::descriptors;
use percore::placement::{Placement, Surroundings, decide};

/// The resources of a server with some configuration.
#[derive(Clone, Debug)]
pub struct Resources {
    /// The number of worker threads.
    pub workers: usize,
    /// The cores that they run on.
    pub placement: Placement,
    /// The number of connections that may be open.
    pub connections_max: usize,
    /// The number of open files that the system allows.
    descriptors: u64,
    /// The memory of the machine or, if that is less, of the control group; unknown outside of
    /// Linux.
    pub memory_bytes: Option<u64>,
}

impl Resources {
    /// Reads the resources of this machine, and raises the limit of open files as far as allowed.
    /// To be called before any thread is pinned.
    pub fn observe(config: &Config) -> Self {
        let around = Surroundings::observe();
        let workers = config.workers.unwrap_or(around.parallelism);
        let descriptors = descriptors::raise_limit();
        let for_connections = descriptors / config.engine.descriptors_per_connection();
        let connections_max =
            descriptors::connections_max(config.connections_max, for_connections, workers);
        let placement = decide(config.pin, workers, &around);
        let memory_bytes = memory_bytes(Path::new("/"));
        Self { workers, placement, connections_max, descriptors, memory_bytes }
    }

    /// Logs the resources that are too few for the configuration, because that shows only under
    /// load: as refused connections, or as the end of the process.
    pub fn warn(&self, config: &Config) {
        let Self { connections_max, descriptors, .. } = *self;
        if connections_max < config.connections_max.unwrap_or(CONNECTIONS_FEW) {
            let wanted = config.connections_max.map_or("auto".to_owned(), |n| n.to_string());
            log::warn!(
                descriptors,
                connections_max,
                wanted,
                "the limit of open files (ulimit -n) leaves few connections"
            );
        }
        let (store_bytes, windows_bytes) = (store_bytes(config), windows_bytes(config));
        if let Some(memory_bytes) = self.memory_bytes
            && store_bytes.saturating_add(windows_bytes) > memory_bytes
        {
            let store = if config.redis_url.is_some() { "store-queue" } else { "memory-store" };
            log::warn!(
                memory_bytes,
                store_bytes,
                windows_bytes,
                "--{store} and the windows of --max-devices may outgrow the memory there is"
            );
        }
    }
}

/// Returns the bytes that the store may hold in this process.
fn store_bytes(config: &Config) -> u64 {
    let bytes = match config.redis_url {
        Some(_) => config.store_queue_bytes,
        None => config.memory_store_bytes,
    };
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Returns the bytes of the windows of as many devices as are allowed.
fn windows_bytes(config: &Config) -> u64 {
    let required = config.fields.iter().filter(|field| field.is_required).count();
    let device = device_bytes(config.window, required, config.fields.len() - required)
        + limit_bytes(config)
        + novelty_bytes(config);
    u64::try_from(config.devices_max.saturating_mul(device)).unwrap_or(u64::MAX)
}

/// Returns the bytes of a device for `--device-limit`.
pub fn limit_bytes(config: &Config) -> usize {
    config.device_limit.map_or(0, |limit| limit.paces().count() * DUE_BYTES)
}

/// Returns the bytes of a device with full windows of its required fields, and of so many optional
/// ones that it has sent.
pub const fn device_bytes(window: usize, required: usize, optional: usize) -> usize {
    let values = window * WINDOW_VALUE_BYTES;
    let timestamps = window * WINDOW_TIMESTAMP_BYTES;
    let shared = if required > 0 { timestamps } else { 0 };
    let start = if optional > 0 { OPTIONAL_START_BYTES } else { 0 };
    DEVICE_BYTES
        + shared
        + start
        + required * (REQUIRED_FIELD_BYTES + values)
        + optional * (OPTIONAL_FIELD_BYTES + values + timestamps)
}

/// Returns the bytes of what the second judge knows of a device that has sent all fields.
fn novelty_bytes(config: &Config) -> usize {
    let bands = if config.novelty == Novelty::Off { 0 } else { BANDS_BYTES };
    let still = if config.stuck_after.is_none() { 0 } else { STILLNESS_BYTES };
    config.fields.len() * (bands + still)
}

/// The memory of the machine or, if less, of any control group around this process. `root` is
/// where the system's files lie.
fn memory_bytes(root: &Path) -> Option<u64> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let machine = meminfo.lines().find_map(|line| {
        let kibibytes = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?;
        kibibytes.trim().parse::<u64>().ok()?.checked_mul(1024)
    })?;
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| group_bytes(root, line));
    Some(limits.fold(machine, u64::min))
}

/// The least limit of a control group, by its line in `/proc/self/cgroup`, and of those that it is
/// in (man 7 cgroups): version 2 says `0::/path`, version 1 `4:memory:/path`. In a container the
/// path may be that of the host, where its own group is the top of what it sees.
fn group_bytes(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (top, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let top = root.join(top);
    let own: PathBuf = top.join(path.trim_start_matches('/'));
    let within = own.ancestors().take_while(|folder| folder.starts_with(&top));
    // Without a limit it says `max`.
    let limit = |folder: &Path| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok();
    within.filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system's files in a folder of their own.
    struct System(PathBuf);

    impl System {
        fn of(files: &[(&str, &str)]) -> Self {
            let name = format!("corepulse-resources-{}-{}", std::process::id(), fastrand::u64(..));
            let root = std::env::temp_dir().join(name);
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for System {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:        8000000 kB\nMemFree:          100 kB\n");

    fn seen(files: &[(&str, &str)]) -> Option<u64> {
        memory_bytes(&System::of(&[&[MEMINFO], files].concat()).0)
    }

    #[test]
    fn the_least_of_machine_and_control_groups_counts() {
        let machine = Some(8_192_000_000);
        assert_eq!(seen(&[]), machine);
        let second = ("proc/self/cgroup", "0::/pods/one\n");
        assert_eq!(seen(&[second]), machine);
        let own = ("sys/fs/cgroup/pods/one/memory.max", "268435456\n");
        assert_eq!(seen(&[second, own]), Some(268_435_456));
        let unlimited = ("sys/fs/cgroup/pods/one/memory.max", "max\n");
        let around = ("sys/fs/cgroup/pods/memory.max", "1073741824\n");
        assert_eq!(seen(&[second, unlimited, around]), Some(1_073_741_824));
        // In a container's own view its group is the top one.
        let top = ("sys/fs/cgroup/memory.max", "536870912\n");
        assert_eq!(seen(&[("proc/self/cgroup", "0::/\n"), top]), Some(536_870_912));
        let first =
            ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/1\n1:name=systemd:/\n");
        let limit = ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "134217728\n");
        assert_eq!(seen(&[first, limit]), Some(134_217_728));
        // Version 1 has a large number in place of no limit.
        let huge = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(seen(&[first, huge]), machine);
    }

    #[test]
    fn a_device_pays_for_each_field_that_it_sends() {
        assert_eq!(device_bytes(50, 2, 0), 180 + 50 * 20);
        assert_eq!(device_bytes(50, 8, 0) - device_bytes(50, 2, 0), 6 * (28 + 50 * 8));
        assert_eq!(
            device_bytes(50, 0, 3) - device_bytes(50, 0, 1),
            2 * (OPTIONAL_FIELD_BYTES + 50 * 12)
        );
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        assert_eq!(memory_bytes(Path::new("/nowhere")), None);
        assert!(memory_bytes(Path::new("/")).is_some_and(|bytes| bytes > 0));
    }
}
