//! The ring buffer of a log: its last entries, each with a number.

/// The last `SIZE` entries of a log. Numbers wrap around; an index is a number modulo the size,
/// which is a power of two: otherwise indices would jump where numbers wrap around.
pub(super) struct LogRing<T, const SIZE: usize> {
    entries: Vec<T>,
    /// The number of the next entry.
    pub(super) next: u32,
}

impl<T, const SIZE: usize> LogRing<T, SIZE> {
    /// Returns a ring whose memory is reserved at once; the kernel provides pages as it fills.
    pub(super) fn new() -> Self {
        Self { entries: Vec::with_capacity(SIZE), next: 0 }
    }

    /// Returns a ring of which nothing is reserved, and to which nothing is to be added.
    pub(super) const fn without_memory() -> Self {
        Self { entries: Vec::new(), next: 0 }
    }

    /// Adds an entry, in place of the oldest if there are `SIZE`. Returns its number.
    pub(super) fn push(&mut self, entry: T) -> u32 {
        let number = self.next;
        match self.entries.get_mut(Self::index_of(number)) {
            Some(oldest) => *oldest = entry,
            None => self.entries.push(entry),
        }
        self.next = number.wrapping_add(1);
        number
    }

    /// Returns the number of entries.
    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns how many entries ago the one of this number came: 1 for the newest.
    pub(super) const fn age(&self, number: u32) -> usize {
        self.next.wrapping_sub(number) as usize
    }

    /// Returns the entry of this number; `None` if it is not here any more.
    pub(super) fn entry(&self, number: u32) -> Option<&T> {
        let is_here = (1..=self.entries.len()).contains(&self.age(number));
        self.entries.get(Self::index_of(number)).filter(|_| is_here)
    }

    /// Returns the number of entries for which memory is allocated.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    /// Has the next entry be of this number, or one a little smaller that is the first of a ring.
    #[cfg(test)]
    pub(super) const fn start_at(&mut self, number: u32) {
        self.next = number - Self::index_of(number) as u32;
    }

    const fn index_of(number: u32) -> usize {
        number as usize % SIZE
    }
}
