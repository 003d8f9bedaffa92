//! The outbox: the commands of the next batch, and what each is for.

use std::collections::BTreeMap;

use super::super::directory::Incarnation;
use super::claim::Claim;
use super::keys::Keys;
use super::note::{DeviceId, Letter, Note, Said};
use super::roster::Life;
use crate::store::redis::command::Command;

/// The purpose of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Claims a device.
    Claim { id: DeviceId, ticket: u64 },
    /// Reads the copy of the replica whose claim is before ours.
    Follow {
        id: DeviceId,
        ticket: u64,
        of: Claim,
        /// The state of that replica when this was sent.
        life: Life,
        /// True if it has said that it has nothing.
        is_refused: bool,
    },
    /// Reads all copies.
    Choose { id: DeviceId, ticket: u64, of: Vec<Incarnation> },
    /// Reads a copy that was made out to a claim of ours.
    Take { id: DeviceId, ticket: u64, by: Incarnation },
    /// Writes the copy that is given away by this number.
    Give { id: DeviceId, gift: u64 },
    /// Writes a copy, which was made after so many lapses of our lease.
    Save { id: DeviceId, lapses: u32 },
    /// Reads a copy that was written.
    ReadBack { id: DeviceId },
    /// Reads the directory.
    Census,
    /// Brings a letter, whose loss nobody needs to know of.
    Post,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    commands: Vec<(Command, Purpose)>,
    notes: BTreeMap<Incarnation, Vec<Note>>,
}

impl Outbox {
    pub(super) fn push(&mut self, command: Command, purpose: Purpose) {
        self.commands.push((command, purpose));
    }

    /// Adds a note to the letter to a replica.
    pub(super) fn note(&mut self, to: Incarnation, id: &[u8], said: Said) {
        self.notes.entry(to).or_default().push(Note { id: id.into(), said });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.notes.is_empty()
    }

    /// Returns true if a copy is to be saved.
    pub(super) fn has_saves(&self) -> bool {
        self.commands.iter().any(|(_, purpose)| matches!(purpose, Purpose::Save { .. }))
    }

    /// Returns the number of commands and notes.
    pub(super) fn len(&self) -> usize {
        self.commands.len() + self.notes.values().map(Vec::len).sum::<usize>()
    }

    /// Takes up to `max` commands, and all letters.
    pub(super) fn take(
        &mut self,
        max: usize,
        keys: &Keys,
        me: Incarnation,
    ) -> (Vec<Command>, Vec<Purpose>) {
        let rest = self.commands.split_off(self.commands.len().min(max));
        let taken = std::mem::replace(&mut self.commands, rest);
        let (mut commands, mut purposes): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
        for (to, notes) in std::mem::take(&mut self.notes) {
            let letter = Letter { from: me, notes };
            for command in keys.post(to, &letter) {
                commands.push(command);
                purposes.push(Purpose::Post);
            }
        }
        (commands, purposes)
    }
}
