//! A sample of the devices that were saved, by which a replica that leaves looks whether Redis
//! still has what it wrote.
//!
//! Which server of a cluster has a device is told by a hash of its id, and so is whether the sample
//! has it: of many devices there are some for each server.

use std::hash::{DefaultHasher, Hasher};

use super::note::DeviceId;
use crate::limits::WINDOW_SAMPLE;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// The last one of each remainder of hashes.
    places: Vec<Option<DeviceId>>,
}

impl Sample {
    /// Takes a device into the sample, in the place of one.
    pub(super) fn note(&mut self, id: DeviceId) {
        if self.places.is_empty() {
            self.places.resize(WINDOW_SAMPLE, None);
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(&id);
        let at = usize::try_from(hasher.finish() % WINDOW_SAMPLE as u64).unwrap_or_default();
        if let Some(place) = self.places.get_mut(at) {
            *place = Some(id);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.iter().all(Option::is_none)
    }

    /// Takes all out.
    pub(super) fn take(&mut self) -> impl Iterator<Item = DeviceId> {
        std::mem::take(&mut self.places).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_of_many_are_taken_once() {
        let mut sample = Sample::default();
        assert!(sample.is_empty());
        for number in 0..100 * WINDOW_SAMPLE {
            sample.note(format!("d{number}").into_bytes().into());
        }
        assert!(!sample.is_empty());
        let taken: std::collections::BTreeSet<_> = sample.take().collect();
        assert_eq!(taken.len(), WINDOW_SAMPLE);
        assert!(sample.is_empty());
        assert_eq!(sample.take().count(), 0);
        sample.note(b"a".as_slice().into());
        sample.note(b"a".as_slice().into());
        assert_eq!(sample.take().count(), 1);
    }
}
