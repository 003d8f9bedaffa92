//! The keys of windows, and the commands on them.
//!
//! `o:{<id>}` has the latest claim of a device, and `w:{<id>}:<replica>` the copy that a replica
//! keeps of its window. Both have the device as their hash tag: in a cluster they are on one node,
//! and all copies of a device are read by one command.

use super::super::commands::Keys as FleetKeys;
use super::super::directory::Incarnation;
use super::claim::Claim;
use super::envelope::Envelope;
use super::note::Letter;
use crate::limits::{WINDOW_CLAIM_MS_MIN, WINDOW_GIVEN_MS_MAX};
use crate::store::redis::command::{Command, Reply};

/// Bytes of a command that writes a copy, beside the id and the state, at most.
const WRITE_BYTES: usize = 160;

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

    /// Returns the commands that put a letter into the mailbox of a replica.
    pub(super) fn post(&self, to: Incarnation, letter: &Letter) -> [Command; 2] {
        self.fleet.post_bytes(&to.to_string(), &letter.encode())
    }

    /// Returns the command that reads who there is.
    pub(super) fn census(&self) -> Command {
        self.fleet.read()
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
    fn a_reply_that_is_no_claim_is_none() {
        let bytes = |text: &str| Reply::Bytes(text.as_bytes().to_vec());
        let claim = Claim { by: Incarnation(3), ticket: 4 };
        assert_eq!(read_claim(&bytes(&claim.to_string())), Ok(Some(claim)));
        assert_eq!(read_claim(&bytes("x")), Ok(None));
        assert_eq!(read_claim(&Reply::Nil), Ok(None));
        assert_eq!(read_claim(&Reply::Integer(1)), Err(()));
    }
}
