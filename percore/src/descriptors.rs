//! File descriptors: the number of them, and so of connections, that this process may hold.

use std::io;
#[cfg(feature = "may-minihttp")]
use std::os::fd::OwnedFd;

use rustix::io::Errno;
#[cfg(feature = "may-minihttp")]
use rustix::process::{PidfdFlags, PidfdGetfdFlags};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::limits::{FDS_PER_CORE, RESERVED_FDS};

/// Raises the soft limit of open files to the hard one, as servers do, and returns the limit.
pub fn raise_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let soft = limit.current;
    limit.current = limit.maximum;
    if soft != limit.maximum && setrlimit(Resource::Nofile, limit).is_err() {
        limit.current = soft;
    }
    limit.current.unwrap_or(u64::MAX)
}

/// Returns true if an error of `accept` means that this machine or process is out of descriptors or
/// memory. Every other one is about the connection that was to be accepted (man 2 accept).
pub fn are_exhausted(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|error| exhausted.contains(&error))
}

/// Returns the most connections of so many workers under a limit of `descriptors`: `configured`, or
/// less if some are to stay free.
pub fn connections_max(configured: Option<usize>, descriptors: u64, workers: usize) -> usize {
    let available = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let free = available.saturating_sub(RESERVED_FDS + workers * FDS_PER_CORE).max(1);
    configured.map_or(free, |configured| configured.min(free))
}

/// Duplicates descriptors of which only the number is known.
///
/// To turn a number into a descriptor is unsafe; to ask the kernel for a duplicate is not.
#[cfg(feature = "may-minihttp")]
#[derive(Debug)]
pub struct Duplicator(OwnedFd);

#[cfg(feature = "may-minihttp")]
impl Duplicator {
    /// Returns a duplicator of this process's own descriptors; `None` where a sandbox does not
    /// allow that.
    pub fn new() -> Option<Self> {
        let process = rustix::process::getpid();
        rustix::process::pidfd_open(process, PidfdFlags::empty()).ok().map(Self)
    }

    /// Returns a duplicate of the descriptor `number`, if that is open.
    #[must_use]
    pub fn duplicate(&self, number: usize) -> Option<OwnedFd> {
        let number = i32::try_from(number).ok()?;
        rustix::process::pidfd_getfd(&self.0, number, PidfdGetfdFlags::empty()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_stay_free() {
        let free = 1024 - RESERVED_FDS - 4 * FDS_PER_CORE;
        assert_eq!(connections_max(None, 1024, 4), free);
        assert_eq!(connections_max(Some(100), 1024, 4), 100);
        assert_eq!(connections_max(Some(2000), 1024, 4), free);
        assert_eq!(connections_max(None, 10, 4), 1);
    }

    #[test]
    fn the_limit_is_raised_once_and_for_all() {
        let raised = raise_limit();
        assert!(raised >= 64);
        assert_eq!(raise_limit(), raised);
    }

    #[cfg(feature = "may-minihttp")]
    #[test]
    fn a_duplicate_is_the_same_socket() {
        use std::net::{TcpListener, TcpStream};
        use std::os::fd::AsRawFd;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = usize::try_from(listener.as_raw_fd()).unwrap();
        let duplicator = Duplicator::new().unwrap();
        let duplicate = TcpListener::from(duplicator.duplicate(number).unwrap());
        let address = listener.local_addr().unwrap();
        assert_eq!(duplicate.local_addr().unwrap(), address);
        drop(listener);
        assert!(TcpStream::connect(address).is_ok(), "it is open while one of both is");
        assert!(duplicator.duplicate(usize::MAX).is_none());
    }
}
