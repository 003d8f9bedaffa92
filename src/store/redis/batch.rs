//! A batch: commands that are sent together.
//!
//! Their bytes stand one behind the other in one piece of memory, which is used again for the next
//! batch: so a command costs no allocation, and those of one server are sent from where they are.

use std::ops::Range;

use super::command::{Command, take_line, take_word};

/// Bytes of memory that are used again: windows may be long ones, and many at once.
const BYTES_KEPT: usize = 1 << 20;

/// See the head of this file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// The end of each command among the bytes.
    ends: Vec<usize>,
}

impl Batch {
    /// Appends a command.
    pub(crate) fn push(&mut self, command: &Command) {
        self.push_packed(|bytes| command.pack(bytes));
    }

    /// Appends a command that `pack` appends to the bytes, as they are sent.
    #[inline]
    pub(crate) fn push_packed(&mut self, pack: impl FnOnce(&mut Vec<u8>)) {
        // A panic may have left a part of one.
        self.bytes.truncate(self.ends.last().copied().unwrap_or_default());
        pack(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Returns the number of commands.
    pub(crate) const fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets all commands, and keeps their memory, unless that is much.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(BYTES_KEPT);
        self.ends.clear();
    }

    /// Moves the commands behind the first ones, so many, to another batch, behind its own.
    pub(crate) fn move_rest(&mut self, first: usize, to: &mut Self) {
        let start = self.start(first);
        let before = to.bytes.len();
        to.bytes.extend_from_slice(self.bytes.get(start..).unwrap_or_default());
        self.bytes.truncate(start);
        to.ends
            .extend(self.ends.drain(first.min(self.ends.len())..).map(|end| end - start + before));
    }

    /// Returns the bytes of these commands.
    pub(crate) fn packed(&self, commands: Range<usize>) -> &[u8] {
        self.bytes.get(self.start(commands.start)..self.start(commands.end)).unwrap_or_default()
    }

    /// Returns the second word of a command, which is a key, or the first of several of one slot.
    pub(super) fn key(&self, command: usize) -> &[u8] {
        let mut rest = self.packed(command..command + 1);
        let words = take_line(&mut rest).and_then(|_| take_word(&mut rest));
        words.and_then(|_| take_word(&mut rest)).unwrap_or_default()
    }

    /// Returns the end of the commands before this one.
    fn start(&self, command: usize) -> usize {
        match command.checked_sub(1) {
            Some(before) => self.ends.get(before).copied().unwrap_or(self.bytes.len()),
            None => 0,
        }
    }

    /// Returns the commands one by one.
    #[cfg(test)]
    pub(crate) fn commands(&self) -> Vec<Command> {
        let command = |at| Command::unpack(self.packed(at..at + 1)).unwrap();
        (0..self.len()).map(command).collect()
    }
}

#[cfg(test)]
impl FromIterator<Command> for Batch {
    fn from_iter<T: IntoIterator<Item = Command>>(commands: T) -> Self {
        let mut batch = Self::default();
        commands.into_iter().for_each(|command| batch.push(&command));
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn commands() -> impl Strategy<Value = Vec<Command>> {
        let words = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 1..4);
        let command = |words: Vec<Vec<u8>>| words.iter().fold(Command::new("SET"), Command::arg);
        prop::collection::vec(words.prop_map(command), 0..9)
    }

    proptest! {
        #[test]
        fn commands_stand_in_their_order(
            commands in commands(),
            more in commands(),
            first in 0..12_usize,
        ) {
            let mut batch: Batch = commands.iter().cloned().collect();
            prop_assert_eq!((batch.len(), batch.is_empty()), (commands.len(), commands.is_empty()));
            for (at, command) in commands.iter().enumerate() {
                let mut packed = Vec::new();
                command.pack(&mut packed);
                prop_assert_eq!(batch.packed(at..at + 1), packed);
                prop_assert_eq!(batch.key(at), command.words()[1]);
            }
            let all = [0..commands.len(), 0..usize::MAX].map(|range| batch.packed(range).len());
            prop_assert_eq!(all, [batch.bytes.len(); 2]);
            let mut rest: Batch = more.iter().cloned().collect();
            batch.move_rest(first, &mut rest);
            let (taken, left) = commands.split_at(first.min(commands.len()));
            prop_assert_eq!(batch.commands(), taken);
            prop_assert_eq!(rest.commands(), [&more, left].concat());
            batch.bytes.extend_from_slice(b"half a command");
            batch.push(&Command::new("GET"));
            prop_assert_eq!(batch.commands().pop(), Some(Command::new("GET")));
            batch.clear();
            prop_assert_eq!(batch, Batch::default());
        }
    }
}
