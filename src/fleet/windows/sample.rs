//! A sample of the devices that were saved, by which a replica that leaves looks whether Redis
//! still has what it wrote.
//!
//! Which server of a cluster has a device is told by a hash of its id, and so is whether the sample
//! has it: of many devices there are some for each server.

use std::mem;

use super::note::DeviceId;
use crate::limits::WINDOW_SAMPLE;
use crate::metric::id_hash::steady_hash;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// The last one of each remainder of hashes.
    places: Vec<Place>,
}

/// A place for one device, which keeps its memory: devices are noted as often as they are saved.
#[derive(Clone, Debug, Default)]
struct Place {
    is_taken: bool,
    id: Vec<u8>,
}

impl Sample {
    /// Takes a device into the sample, in the place of one.
    pub(super) fn note(&mut self, id: &[u8]) {
        if self.places.is_empty() {
            self.places.resize(WINDOW_SAMPLE, Place::default());
        }
        if let Some(place) = self.place_of(id) {
            place.is_taken = true;
            place.id.clear();
            place.id.extend_from_slice(id);
        }
    }

    /// Takes a device out.
    pub(super) fn forget(&mut self, id: &[u8]) {
        if let Some(place) = self.place_of(id).filter(|place| place.id == id) {
            place.is_taken = false;
        }
    }

    /// Takes over all of a newer sample, which is empty then.
    pub(super) fn take_over(&mut self, newer: &mut Self) {
        self.places.resize(newer.places.len().max(self.places.len()), Place::default());
        let places = self.places.iter_mut().zip(&mut newer.places);
        for (place, newer) in places.filter(|(_, newer)| newer.is_taken) {
            mem::swap(place, newer);
            newer.is_taken = false;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.places.iter().any(|place| place.is_taken)
    }

    /// Takes all out.
    pub(super) fn take(&mut self) -> impl Iterator<Item = DeviceId> {
        let places = mem::take(&mut self.places).into_iter();
        places.filter(|place| place.is_taken).map(|place| place.id.into())
    }

    fn place_of(&mut self, id: &[u8]) -> Option<&mut Place> {
        let at = usize::try_from(steady_hash(id) % WINDOW_SAMPLE as u64).unwrap_or_default();
        self.places.get_mut(at)
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
            sample.note(format!("d{number}").as_bytes());
        }
        assert!(!sample.is_empty());
        let taken: std::collections::BTreeSet<_> = sample.take().collect();
        assert_eq!(taken.len(), WINDOW_SAMPLE);
        assert!(sample.is_empty());
        assert_eq!(sample.take().count(), 0);
        sample.note(b"a");
        sample.note(b"a");
        assert_eq!(sample.take().count(), 1);
    }

    #[test]
    fn a_newer_sample_takes_the_places_of_an_older_one() {
        let (mut known, mut newer) = (Sample::default(), Sample::default());
        known.take_over(&mut newer);
        assert!(known.is_empty() && newer.is_empty());
        newer.note(b"a");
        newer.note(b"b");
        newer.note(b"c");
        newer.forget(b"b");
        newer.forget(b"d");
        known.take_over(&mut newer);
        assert!(newer.is_empty());
        newer.note(b"c");
        newer.note(b"d");
        newer.forget(b"c");
        known.take_over(&mut newer);
        let mut taken: Vec<_> = known.take().collect();
        taken.sort_unstable();
        assert_eq!(taken, [b"a", b"c", b"d"].map(|id| DeviceId::from(id.as_slice())));
        assert_eq!(newer.take().count(), 0);
    }
}
