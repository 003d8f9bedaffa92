//! Notes: what replicas say to each other about windows, and the letters that carry them.
//!
//! A letter has all notes of one batch to one replica, and lies in the mailbox that its questions
//! come to as well. It is binary, as there may be thousands of notes a second: its first byte is
//! none that JSON begins with. A note that is lost is sent again by who waits for its answer.

use super::super::directory::Incarnation;
use super::claim::Claim;
use crate::limits::DEVICE_ID_BYTES_MAX;

/// The id of a device.
pub(super) type DeviceId = Box<[u8]>;

/// The first byte of a letter.
pub(in super::super) const LETTER: u8 = b'W';

/// The form of letters.
const VERSION: u8 = 1;

/// A note about one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) id: DeviceId,
    pub(super) said: Said,
}

/// The words of a note. Tickets are those of the receiver's claims, unless told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// "Give me the window, for this claim of mine, which follows that one of yours." The echo is
    /// that of an offer, or 0.
    Want { claim: u64, of: u64, echo: u64 },
    /// "Do you have the window? Give it to me, for this claim of mine." It goes to all, and has a
    /// number, which the answers have as well.
    Ask { claim: u64, round: u64 },
    /// "I have no window, and do not wait for one under the claim that you named." The round is 0
    /// if that was no question to all.
    Absent { ticket: u64, round: u64 },
    /// "I wait as well, under this claim of mine."
    Busy { ticket: u64, round: u64, claim: u64 },
    /// "We both ask all. Follow this claim of mine."
    Follow { ticket: u64, round: u64, claim: u64 },
    /// "I was out of touch. Do you still wait for me? Then say so, with this echo."
    Offer { ticket: u64, echo: u64 },
    /// "A copy is made out to your claim, by this replica." It gives each gift a number, as there
    /// may be several to one claim.
    Gave { ticket: u64, by: Incarnation, gift: u64 },
    /// "I have that gift of yours." Until then it is kept, as Redis may lose it.
    Taken { gift: u64 },
    /// "I do not wait for that gift of yours any more, and shall never take it. Take it back."
    Unwanted { gift: u64 },
}

/// The notes of a batch from one replica to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) from: Incarnation,
    pub(super) notes: Vec<Note>,
}

impl Letter {
    /// Writes the letter.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![LETTER, VERSION];
        bytes.extend_from_slice(&self.from.0.to_le_bytes());
        for Note { id, said } in &self.notes {
            let (kind, numbers) = said.parts();
            bytes.push(kind);
            // Both are short.
            bytes.push(u8::try_from(id.len()).unwrap_or(u8::MAX));
            bytes.push(u8::try_from(numbers.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(id);
            numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        }
        bytes
    }

    /// Reads a letter; `None` if it is none that this version knows.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let ([LETTER, VERSION], rest) = bytes.split_first_chunk::<2>()? else {
            return None;
        };
        let (from, mut rest) = rest.split_first_chunk::<8>()?;
        let from = Incarnation(u64::from_le_bytes(*from));
        let mut notes = Vec::new();
        while !rest.is_empty() {
            let ([kind, id_bytes, count], after) = rest.split_first_chunk::<3>()?;
            let (id, after) = after.split_at_checked(usize::from(*id_bytes))?;
            let (numbers, after) = after.split_at_checked(8 * usize::from(*count))?;
            let numbers: Vec<_> =
                numbers.as_chunks::<8>().0.iter().map(|it| u64::from_le_bytes(*it)).collect();
            let is_id = (1..=DEVICE_ID_BYTES_MAX).contains(&id.len());
            let said = Said::of(*kind, &numbers).filter(|_| is_id)?;
            notes.push(Note { id: id.into(), said });
            rest = after;
        }
        Some(Self { from, notes })
    }
}

impl Said {
    fn parts(&self) -> (u8, Vec<u64>) {
        match *self {
            Self::Want { claim, of, echo } => (0, vec![claim, of, echo]),
            Self::Ask { claim, round } => (1, vec![claim, round]),
            Self::Absent { ticket, round } => (2, vec![ticket, round]),
            Self::Busy { ticket, round, claim } => (3, vec![ticket, round, claim]),
            Self::Follow { ticket, round, claim } => (4, vec![ticket, round, claim]),
            Self::Offer { ticket, echo } => (5, vec![ticket, echo]),
            Self::Gave { ticket, by, gift } => (6, vec![ticket, by.0, gift]),
            Self::Taken { gift } => (7, vec![gift]),
            Self::Unwanted { gift } => (8, vec![gift]),
        }
    }

    fn of(kind: u8, numbers: &[u64]) -> Option<Self> {
        Some(match (kind, numbers) {
            (0, &[claim, of, echo]) => Self::Want { claim, of, echo },
            (1, &[claim, round]) => Self::Ask { claim, round },
            (2, &[ticket, round]) => Self::Absent { ticket, round },
            (3, &[ticket, round, claim]) => Self::Busy { ticket, round, claim },
            (4, &[ticket, round, claim]) => Self::Follow { ticket, round, claim },
            (5, &[ticket, echo]) => Self::Offer { ticket, echo },
            (6, &[ticket, by, gift]) => Self::Gave { ticket, by: Incarnation(by), gift },
            (7, &[gift]) => Self::Taken { gift },
            (8, &[gift]) => Self::Unwanted { gift },
            _ => return None,
        })
    }
}

/// Returns the claim that a note of this replica means.
pub(super) const fn claim_of(from: Incarnation, ticket: u64) -> Claim {
    Claim { by: from, ticket }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn notes() -> impl Strategy<Value = Note> {
        let id = prop::collection::vec(any::<u8>(), 1..=DEVICE_ID_BYTES_MAX);
        (id, 0..9_u8, any::<[u64; 3]>()).prop_map(|(id, kind, [a, b, c])| {
            let said = match kind {
                0 => Said::Want { claim: a, of: b, echo: c },
                1 => Said::Ask { claim: a, round: b },
                2 => Said::Absent { ticket: a, round: b },
                3 => Said::Busy { ticket: a, round: b, claim: c },
                4 => Said::Follow { ticket: a, round: b, claim: c },
                5 => Said::Offer { ticket: a, echo: b },
                6 => Said::Gave { ticket: a, by: Incarnation(b), gift: c },
                7 => Said::Taken { gift: a },
                _ => Said::Unwanted { gift: a },
            };
            Note { id: id.into(), said }
        })
    }

    proptest! {
        #[test]
        fn letters_read_back(from: u64, notes in prop::collection::vec(notes(), 0..8)) {
            let letter = Letter { from: Incarnation(from), notes };
            prop_assert_eq!(Letter::decode(&letter.encode()), Some(letter));
        }

        #[test]
        fn no_bytes_are_too_much(
            notes in prop::collection::vec(notes(), 1..4),
            at in any::<prop::sample::Index>(),
            by in any::<u8>(),
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = Letter::decode(&bytes);
            let mut spoilt = Letter { from: Incarnation(1), notes }.encode();
            let at = at.index(spoilt.len());
            spoilt[at] = by;
            let _ = Letter::decode(&spoilt);
            let _ = Letter::decode(&spoilt[..at]);
        }
    }
}
