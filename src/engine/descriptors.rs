//! How many file descriptors, and so connections, this process may hold.

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::limits::RESERVED_FDS;

/// Raises the soft limit of open files to the hard one, as servers do, and answers what holds.
pub fn raise_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let soft = limit.current;
    limit.current = limit.maximum;
    if soft != limit.maximum && setrlimit(Resource::Nofile, limit).is_err() {
        limit.current = soft;
    }
    limit.current.unwrap_or(u64::MAX)
}

/// The most connections under a limit of `descriptors`: `configured`, or what is left when the
/// reserved ones are put aside.
#[must_use]
pub fn connections_max(configured: Option<usize>, descriptors: u64) -> usize {
    let available = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let free = available.saturating_sub(RESERVED_FDS).max(1);
    configured.map_or(free, |configured| configured.min(free))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_stay_free() {
        assert_eq!(connections_max(None, 1024), 1024 - RESERVED_FDS);
        assert_eq!(connections_max(Some(100), 1024), 100);
        assert_eq!(connections_max(Some(2000), 1024), 1024 - RESERVED_FDS);
        assert_eq!(connections_max(None, 10), 1);
    }

    #[test]
    fn the_limit_is_raised_once_and_for_all() {
        let raised = raise_limit();
        assert!(raised >= 64);
        assert_eq!(raise_limit(), raised);
    }
}
