//! The resident memory of this process.

use std::fs;

/// Returns the bytes of this process that are in memory; `None` where the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    parse(&fs::read_to_string("/proc/self/status").ok()?)
}

/// Reads `VmRSS` of `/proc/self/status` (man 5 proc).
fn parse(status: &str) -> Option<u64> {
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    kibibytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_some() {
        let bytes = resident_bytes().unwrap();
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }

    #[test]
    fn what_is_no_size_is_unknown() {
        assert_eq!(parse("Name:\tx\nVmRSS:\t   5124 kB\nThreads: 1\n"), Some(5124 * 1024));
        for wrong in ["", "VmRSS: 1 MB", "VmRSS:", "VmRSS: -1 kB", "VmRSS: 99999999999999999999 kB"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
