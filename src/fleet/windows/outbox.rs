//! The outbox: the commands of the next batch, and what each is for.

use std::collections::BTreeMap;
use std::mem;
use std::ops::Range;

use super::super::directory::Incarnation;
use super::claim::Claim;
use super::keys::Keys;
use super::note::{DeviceId, Letter, Note, Said};
use super::roster::Life;
use super::sample::Sample;
use crate::store::redis::batch::Batch;
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
    /// Writes a copy, which was made after so many lapses of our lease. The id has this place in
    /// the command: so many are sent that each costs what is allocated for it.
    Save { id: Range<u32>, lapses: u32 },
    /// Reads a copy that was written.
    ReadBack { id: DeviceId },
    /// Reads the directory.
    Census,
    /// Brings a letter, whose loss nobody needs to know of.
    Post,
}

/// Commands that are sent together, and what each is for.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    pub(super) commands: Batch,
    pub(super) purposes: Vec<Purpose>,
    /// Some of the devices that are saved.
    pub(super) sample: Sample,
}

impl Parcel {
    /// Returns the id of the device of a command that saves a copy, where it has its place.
    pub(super) fn saved_id(&self, command: usize, place: &Range<u32>) -> &[u8] {
        let [start, end] = [place.start, place.end].map(|at| at as usize);
        self.commands.packed(command..command + 1).get(start..end).unwrap_or_default()
    }

    /// Takes the sample anew, after some commands have come or gone.
    fn sample_anew(&mut self) {
        let mut sample = Sample::default();
        for (at, purpose) in self.purposes.iter().enumerate() {
            if let Purpose::Save { id, .. } = purpose {
                sample.note(self.saved_id(at, id));
            }
        }
        self.sample = sample;
    }
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    next: Parcel,
    notes: BTreeMap<Incarnation, Vec<Note>>,
    /// The memory of a parcel that has been sent.
    spare: Parcel,
}

impl Outbox {
    pub(super) fn push(&mut self, command: &Command, purpose: Purpose) {
        self.next.commands.push(command);
        self.next.purposes.push(purpose);
    }

    /// Adds a command that saves the copy of a device, which was made after so many lapses. `pack`
    /// appends it, and returns the place of the id in it.
    pub(super) fn push_save(
        &mut self,
        id: &[u8],
        lapses: u32,
        pack: impl FnOnce(&mut Vec<u8>) -> Range<usize>,
    ) {
        let Parcel { commands, purposes, sample } = &mut self.next;
        sample.note(id);
        commands.push_packed(|out| {
            let Range { start, end } = pack(out);
            purposes.push(Purpose::Save { id: start as u32..end as u32, lapses });
        });
    }

    /// Adds a note to the letter to a replica.
    pub(super) fn note(&mut self, to: Incarnation, id: &[u8], said: Said) {
        self.notes.entry(to).or_default().push(Note { id: id.into(), said });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next.purposes.is_empty() && self.notes.is_empty()
    }

    /// Returns true if a copy is to be saved.
    pub(super) fn has_saves(&self) -> bool {
        self.next.purposes.iter().any(|purpose| matches!(purpose, Purpose::Save { .. }))
    }

    /// Returns the number of copies that are to be saved.
    pub(super) fn saves(&self) -> usize {
        self.next.purposes.iter().filter(|it| matches!(it, Purpose::Save { .. })).count()
    }

    /// Returns the number of commands and notes.
    pub(super) fn len(&self) -> usize {
        self.next.purposes.len() + self.notes.values().map(Vec::len).sum::<usize>()
    }

    /// Takes up to `max` commands, and all letters.
    pub(super) fn take(&mut self, max: usize, keys: &Keys, me: Incarnation) -> Parcel {
        let mut taken = mem::replace(&mut self.next, mem::take(&mut self.spare));
        if taken.purposes.len() > max {
            taken.commands.move_rest(max, &mut self.next.commands);
            self.next.purposes.extend(taken.purposes.drain(max..));
            taken.sample_anew();
            self.next.sample_anew();
        }
        for (to, notes) in mem::take(&mut self.notes) {
            let letter = Letter { from: me, notes };
            for command in keys.post(to, &letter) {
                taken.commands.push(&command);
                taken.purposes.push(Purpose::Post);
            }
        }
        taken
    }

    /// Takes the memory of a parcel that has been sent.
    pub(super) fn give_back(&mut self, mut sent: Parcel) {
        sent.commands.clear();
        sent.purposes.clear();
        self.spare = sent;
    }
}
