//! The keys of windows, and the commands on them.
//!
//! `o:{<id>}` has the latest claim of a device, and `w:{<id>}:<replica>` the copy that a replica
//! keeps of its window. Both have the device as their hash tag: in a cluster they are on one node,
//! and all copies of a device are read by one command.

use std::ops::Range;

use super::super::commands::Keys as FleetKeys;
use super::super::directory::Incarnation;
use super::claim::Claim;
use super::envelope::{Envelope, put_kept};
use super::note::Letter;
use crate::limits::{WINDOW_CLAIM_MS_MIN, WINDOW_GIVEN_MS_MAX};
use crate::store::redis::command::{Command, Reply, put_length};

/// Bytes of a command that writes a copy, beside the id and the state, at most.
const WRITE_BYTES: usize = 160;

/// The digits of the length of nearly every copy.
const LENGTH_DIGITS: [u8; 3] = *b"000";

/// See the head of this file.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    fleet: FleetKeys,
    prefix: String,
    device_ttl_ms: u64,
}

impl Keys {
    /// Returns the keys of the fleet of this name, whose devices are forgotten after so long.
    pub(super) fn new(fleet: &str, device_ttl_ms: u64) -> Self {
        let prefix = format!("cp:{fleet}:");
        Self { fleet: FleetKeys::new(fleet), prefix, device_ttl_ms }
    }

    /// Returns a command with the key of the copy that a replica keeps as one more argument.
    fn with_copy_key(&self, command: Command, id: &[u8], by: Incarnation) -> Command {
        command.arg_of(&[self.prefix.as_bytes(), b"w:{", id, b"}:", &by.digits()])
    }

    /// Returns the command that claims a device, and reads the claim before. It may well expire
    /// while the device stays with its replica: who then claims asks all.
    pub(super) fn claim(&self, id: &[u8], claim: Claim) -> Command {
        let ttl_ms = self.device_ttl_ms.saturating_mul(2).max(WINDOW_CLAIM_MS_MIN);
        let command = Command::new("SET").arg_of(&[self.prefix.as_bytes(), b"o:{", id, b"}"]);
        command.arg(claim.to_string()).arg("PX").number(ttl_ms).arg("GET")
    }

    /// Returns the command that reads the copy of one replica.
    pub(super) fn read(&self, id: &[u8], by: Incarnation) -> Command {
        self.with_copy_key(Command::new("GET"), id, by)
    }

    /// Returns the command that reads the copies of several replicas.
    pub(super) fn read_all(&self, id: &[u8], of: &[Incarnation]) -> Command {
        of.iter().fold(Command::new("MGET"), |command, by| self.with_copy_key(command, id, *by))
    }

    /// Returns the command that writes a copy of this replica. One that is given away is soon
    /// another's.
    pub(super) fn write(&self, id: &[u8], me: Incarnation, envelope: &Envelope) -> Command {
        let given = envelope.to.map_or(u64::MAX, |_| WINDOW_GIVEN_MS_MAX);
        let ttl_ms = self.device_ttl_ms.min(given).max(1);
        let bytes = WRITE_BYTES + self.prefix.len() + id.len() + envelope.body.len();
        let command = self.with_copy_key(Command::with_capacity("SET", bytes), id, me);
        let command = envelope.with_parts(|parts| command.arg_of(parts));
        command.arg("PX").number(ttl_ms)
    }

    /// Returns the writer of the copies that this replica keeps.
    pub(super) fn kept(&self, me: Incarnation) -> KeptCopies {
        let key_end = [b"}:", me.digits().as_slice()].concat();
        let ttl_ms = self.device_ttl_ms.max(1).to_string();
        KeptCopies {
            key_begin: [self.prefix.as_bytes(), b"w:{"].concat(),
            key_end: [&key_end, &b"\r\n$"[..]].concat(),
            end: format!("\r\n$2\r\nPX\r\n${}\r\n{ttl_ms}\r\n", ttl_ms.len()).into_bytes(),
            key_bytes: self.prefix.len() + 3 + key_end.len(),
        }
    }

    /// Returns the commands that put a letter into the mailbox of a replica.
    pub(super) fn post(&self, to: Incarnation, letter: &Letter) -> [Command; 2] {
        self.fleet.post_bytes(&to.to_string(), &letter.encode())
    }

    /// Returns the command that reads who there is.
    pub(super) fn census(&self) -> Command {
        self.fleet.read()
    }
}

/// The writer of the copies that a replica keeps: what is the same in all commands is made once,
/// and a copy is encoded where it is sent from.
#[derive(Clone, Debug)]
pub(super) struct KeptCopies {
    /// The key, up to the id.
    key_begin: Vec<u8>,
    /// The key behind the id, and all up to the length of the copy.
    key_end: Vec<u8>,
    /// The words behind the copy.
    end: Vec<u8>,
    /// The bytes of a key beside the id.
    key_bytes: usize,
}

impl KeptCopies {
    /// Appends the command that writes the copy of a device, whose state `body` appends. Returns
    /// where the id stands in the command.
    #[inline]
    pub(super) fn pack(
        &self,
        id: &[u8],
        events: u64,
        body: impl FnOnce(&mut Vec<u8>),
        out: &mut Vec<u8>,
    ) -> Range<usize> {
        let Self { key_begin, key_end, end, key_bytes } = self;
        let start = out.len();
        out.extend_from_slice(b"*5\r\n$3\r\nSET\r\n");
        put_length(b'$', key_bytes + id.len(), out);
        out.extend_from_slice(key_begin);
        let id_start = out.len() - start;
        out.extend_from_slice(id);
        out.extend_from_slice(key_end);
        let length_at = out.len();
        out.extend_from_slice(&LENGTH_DIGITS);
        out.extend_from_slice(b"\r\n");
        let copy_at = out.len();
        put_kept(events, body, out);
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(out.len() - copy_at).as_bytes();
        match out.get_mut(length_at..length_at + digits.len()) {
            Some(place) if digits.len() == LENGTH_DIGITS.len() => place.copy_from_slice(digits),
            _ => {
                let place = length_at..length_at + LENGTH_DIGITS.len();
                out.splice(place, digits.iter().copied());
            }
        }
        out.extend_from_slice(end);
        id_start..id_start + id.len()
    }
}

/// Returns the claim that a reply tells; an error if it is no such reply. What is no claim counts
/// as none: who claims then asks all.
pub(super) fn read_claim(reply: &Reply) -> Result<Option<Claim>, ()> {
    match reply {
        Reply::Nil => Ok(None),
        Reply::Bytes(text) => Ok(str::from_utf8(text).ok().and_then(|text| text.parse().ok())),
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redis::batch::Batch;

    fn words(command: &Command) -> Vec<String> {
        let text = |word| String::from_utf8_lossy(word).into_owned();
        command.words().into_iter().map(text).collect()
    }

    #[test]
    fn keys_of_a_device_have_its_id_as_their_tag() {
        let keys = Keys::new("blue", 5_000);
        let (by, ticket) = (Incarnation(1), 7);
        let claim = words(&keys.claim(b"d:1", Claim { by, ticket }));
        let expected = ["SET", "cp:blue:o:{d:1}", "0000000000000001.7", "PX", "86400000", "GET"];
        assert_eq!(claim, expected);
        let copies = words(&keys.read_all(b"d:1", &[by, Incarnation(2)]));
        let names = ["cp:blue:w:{d:1}:0000000000000001", "cp:blue:w:{d:1}:0000000000000002"];
        assert_eq!(copies, ["MGET", names[0], names[1]]);
        assert_eq!(words(&keys.read(b"d:1", by)), ["GET", names[0]]);
        let envelope =
            Envelope { events: 1, to: None, gift: 0, is_partial: false, body: Vec::new() };
        assert_eq!(words(&keys.write(b"d:1", by, &envelope))[3..], ["PX", "5000"]);
    }

    #[test]
    fn a_copy_that_is_kept_is_written_by_the_same_command() {
        let (by, mut out) = (Incarnation(0xab), b"before".to_vec());
        for ttl_ms in [0, 5_000, u64::MAX] {
            let keys = Keys::new("blue", ttl_ms);
            let kept = keys.kept(by);
            for (id, length) in [(1, 0), (14, 86), (70, 85), (90, 986), (99, 985), (9, 40_000)] {
                let (id, body) = (vec![b'd'; id], vec![b'x'; length]);
                let before = out.len();
                let place = kept.pack(&id, 7, |out| out.extend_from_slice(&body), &mut out);
                let command = &out[before..];
                assert_eq!(&command[place], id);
                let envelope = Envelope { events: 7, to: None, gift: 0, is_partial: false, body };
                let mut expected = Batch::default();
                expected.push(&keys.write(&id, by, &envelope));
                assert_eq!(command, expected.packed(0..1));
            }
        }
    }

    #[test]
    fn a_reply_that_is_no_claim_is_none() {
        let bytes = |text: &str| Reply::Bytes(text.as_bytes().to_vec());
        let claim = Claim { by: Incarnation(3), ticket: 4 };
        assert_eq!(read_claim(&bytes(&claim.to_string())), Ok(Some(claim)));
        assert_eq!(read_claim(&bytes("x")), Ok(None));
        assert_eq!(read_claim(&Reply::Nil), Ok(None));
        assert_eq!(read_claim(&Reply::Integer(1)), Err(()));
    }
}
