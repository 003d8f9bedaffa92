//! An envelope: the window of a device as a replica keeps it in Redis.
//!
//! Each replica writes keys of its own only, so none overwrites what another has written, however
//! late its command comes. All numbers are little endian; the last four bytes are the CRC-32 of all
//! before them.

use super::super::directory::Incarnation;
use super::claim::Claim;

/// The form of envelopes. One of another form is as good as none, and is counted.
const VERSION: u8 = 1;

/// The flag of an envelope that is made out to a claim.
const MADE_OUT: u8 = 1;

/// The flag of one that may not be all there is.
const PARTIAL: u8 = 2;

/// See the head of this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    /// The events that the device had sent.
    pub(super) events: u64,
    /// The claim that it was given to, if it was.
    pub(super) to: Option<Claim>,
    /// The number that its replica has given this gift alone; 0 for a copy that is kept.
    pub(super) gift: u64,
    /// True if its replica was out of touch, so that another one may have gone on meanwhile.
    pub(super) is_partial: bool,
    /// The state of the device, which the analytics write and read.
    pub(super) body: Vec<u8>,
}

/// Appends the encoded envelope of a copy that is kept, whose state `body` appends: it is all there
/// is, and made out to nobody.
#[inline]
pub(super) fn put_kept(events: u64, body: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[VERSION, 0]);
    out.extend_from_slice(&events.to_le_bytes());
    body(out);
    let sum = crc32fast::hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&sum.to_le_bytes());
}

impl Envelope {
    /// Gives the encoded envelope to `take`, in its parts.
    pub(super) fn with_parts<T>(&self, take: impl FnOnce(&[&[u8]]) -> T) -> T {
        let made_out = if self.to.is_some() { MADE_OUT } else { 0 };
        let partial = if self.is_partial { PARTIAL } else { 0 };
        let head = [VERSION, made_out | partial];
        let number = |number: u64| number.to_le_bytes();
        let events = number(self.events);
        let to = self.to.map(|Claim { by, ticket }| [by.0, ticket, self.gift].map(number));
        let to = to.as_ref().map_or(&[][..], |numbers| numbers.as_flattened());
        let parts: [&[u8]; 4] = [&head, &events, to, &self.body];
        let mut sum = crc32fast::Hasher::new();
        parts.iter().for_each(|part| sum.update(part));
        let [head, events, to, body] = parts;
        take(&[head, events, to, body, &sum.finalize().to_le_bytes()])
    }

    /// Reads an envelope; `None` if it is none that this version knows.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, sum) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(bytes) != u32::from_le_bytes(*sum) {
            return None;
        }
        let ([version, flags], rest) = bytes.split_first_chunk::<2>()?;
        if *version != VERSION || flags & !(MADE_OUT | PARTIAL) != 0 {
            return None;
        }
        let (events, mut rest) = number(rest)?;
        let (mut to, mut gift) = (None, 0);
        if flags & MADE_OUT != 0 {
            let (by, after) = number(rest)?;
            let (ticket, after) = number(after)?;
            let (of_gift, after) = number(after)?;
            gift = of_gift;
            to = Some(Claim { by: Incarnation(by), ticket });
            rest = after;
        }
        let is_partial = flags & PARTIAL != 0;
        Some(Self { events, to, gift, is_partial, body: rest.to_vec() })
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn envelopes() -> impl Strategy<Value = Envelope> {
        let body = prop::collection::vec(any::<u8>(), 0..60);
        let to = prop::option::of(any::<(u64, u64, u64)>());
        (any::<(u64, bool)>(), to, body).prop_map(|((events, is_partial), to, body)| {
            let gift = to.map_or(0, |(.., gift)| gift);
            let to = to.map(|(by, ticket, _)| Claim { by: Incarnation(by), ticket });
            Envelope { events, to, gift, is_partial, body }
        })
    }

    proptest! {
        #[test]
        fn a_record_reads_back_and_a_spoilt_one_does_not(
            envelope in envelopes(),
            at in any::<prop::sample::Index>(),
            by in 1..=u8::MAX,
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut encoded = envelope.with_parts(|parts| parts.concat());
            prop_assert_eq!(Envelope::decode(&encoded), Some(envelope));
            let at = at.index(encoded.len());
            prop_assert_eq!(Envelope::decode(&encoded[..at]), None);
            encoded[at] ^= by;
            prop_assert_eq!(Envelope::decode(&encoded), None);
            let _ = Envelope::decode(&bytes);
        }

        #[test]
        fn a_copy_that_is_kept_is_an_envelope_like_others(
            events in any::<u64>(),
            body in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let mut encoded = b"before".to_vec();
            put_kept(events, |out| out.extend_from_slice(&body), &mut encoded);
            let kept = Envelope { events, to: None, gift: 0, is_partial: false, body };
            prop_assert_eq!(&encoded[6..], kept.with_parts(|parts| parts.concat()));
        }
    }
}
