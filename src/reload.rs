//! The files that can be read again while the server runs, and counts of how that went.
//!
//! Whoever owns such a file implements [`Reload`]; a control thread asks it to read again after a
//! SIGHUP, or when it says that its file has changed.

use std::sync::Arc;

use percore::sync::Count;

/// Something that was read from files, and can be read again. It is only asked on a control
/// thread, where it may wait for a disk.
pub trait Reload: Send {
    /// Returns its name: the flag that named its file, without dashes, or a word for several. It is
    /// a label of a metric and stands in the log.
    fn name(&self) -> &'static str;

    /// Reads it again. What is new takes the place of the old at once, or nothing does. Returns a
    /// line for the log that says what there is now.
    ///
    /// # Errors
    ///
    /// Every mistake that was found, a line each; the old is kept.
    fn reload(&mut self) -> Result<String, Vec<String>>;

    /// Returns true once for each change of its files that is worth a [`Self::reload`]; asked
    /// every few seconds. What only a signal reloads never is.
    fn changed(&mut self) -> bool {
        false
    }
}

/// The number of attempts to read again, by what was read. Only the thread that reads counts.
#[derive(Debug, Default)]
pub struct ReloadCounts(Vec<(&'static str, [Count; 2])>);

/// The list of all that can be read again.
#[derive(Default)]
pub struct Reloads {
    list: Vec<Box<dyn Reload>>,
}

impl Reloads {
    /// Adds something that can be read again.
    pub fn add(&mut self, reload: Box<dyn Reload>) {
        self.list.push(reload);
    }

    /// Returns counts of zero for each.
    pub fn counts(&self) -> Arc<ReloadCounts> {
        let names = self.list.iter().map(|reload| reload.name());
        Arc::new(ReloadCounts(names.map(|name| (name, Default::default())).collect()))
    }

    /// Returns true if there is nothing to read again.
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns all of them, in the order in which they were added.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn Reload>> {
        self.list.iter_mut()
    }
}

impl ReloadCounts {
    /// The values of the label `outcome`.
    pub const OUTCOMES: [&str; 2] = ["ok", "failed"];

    /// Counts an attempt to read the one of this name.
    pub fn count(&self, name: &str, is_ok: bool) {
        let of_name = |(other, [ok, failed]): &(&str, [Count; 2])| {
            if *other == name {
                if is_ok { ok } else { failed }.add(1);
            }
        };
        self.0.iter().for_each(of_name);
    }

    /// Returns the counts by name, each in the order of [`Self::OUTCOMES`].
    pub fn totals(&self) -> impl Iterator<Item = (&'static str, [u64; 2])> {
        self.0.iter().map(|(name, [ok, failed])| (*name, [ok.total(), failed.total()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str);

    impl Reload for Named {
        fn name(&self) -> &'static str {
            self.0
        }

        fn reload(&mut self) -> Result<String, Vec<String>> {
            Ok(String::new())
        }
    }

    #[test]
    fn attempts_are_counted_by_name_and_outcome() {
        let mut reloads = Reloads::default();
        assert!(reloads.is_empty());
        reloads.add(Box::new(Named("a")));
        reloads.add(Box::new(Named("b")));
        assert!(!reloads.iter_mut().any(|reload| reload.changed()));
        let counts = reloads.counts();
        for (name, is_ok) in [("a", true), ("b", false), ("b", false), ("b", true), ("c", true)] {
            counts.count(name, is_ok);
        }
        assert_eq!(counts.totals().collect::<Vec<_>>(), [("a", [1, 0]), ("b", [1, 2])]);
    }
}
