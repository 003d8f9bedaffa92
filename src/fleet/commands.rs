//! The commands of a member, and the replies that are read here: which key has what.
//!
//! All keys of a fleet have one hash tag, so that one node of a cluster has them. `members` is the
//! directory, `mail:<name>` a mailbox: a list that its member empties, and which nobody misses
//! after ten seconds.

use super::directory::{Entry, FOLDED_FIELD, Folded, Incarnation};
use super::json;
use super::mail::Message;
use super::mailbox::Mailbox;
use crate::limits::{FLEET_MAIL_SECONDS, FLEET_MAIL_WAIT_SECONDS};
use crate::store::redis::command::{Command, Reply};

/// The keys of a fleet.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    directory: String,
    mailboxes: String,
}

impl Keys {
    /// Returns the keys of the fleet of this name.
    pub(super) fn new(fleet: &str) -> Self {
        let tag = format!("cp:{{{fleet}}}:");
        Self { directory: format!("{tag}members"), mailboxes: format!("{tag}mail:") }
    }

    fn mailbox(&self, name: &str) -> String {
        format!("{}{name}", self.mailboxes)
    }

    /// Returns the way to empty a mailbox.
    pub(super) fn mailbox_of(&self, name: &str) -> Mailbox {
        let pop = |seconds: &str| Command::new("BLPOP").arg(self.mailbox(name)).arg(seconds);
        // Where Redis refuses the transaction, the second one waits for a moment, too.
        Mailbox::new(pop(&FLEET_MAIL_WAIT_SECONDS.to_string()), pop("0.001"))
    }

    /// Returns the commands that put a message into a mailbox. Nobody may be there any more to
    /// empty it, so it ends by itself.
    pub(super) fn post(&self, mailbox: &str, message: &Message) -> [Command; 2] {
        self.post_bytes(mailbox, &message.encode())
    }

    /// Returns the commands that put these bytes into a mailbox.
    pub(super) fn post_bytes(&self, mailbox: &str, bytes: &[u8]) -> [Command; 2] {
        let key = self.mailbox(mailbox);
        let seconds = FLEET_MAIL_SECONDS.to_string();
        [Command::new("RPUSH").arg(&key).arg(bytes), Command::new("EXPIRE").arg(&key).arg(seconds)]
    }

    /// Returns the command that reads the directory.
    pub(super) fn read(&self) -> Command {
        Command::new("HGETALL").arg(&self.directory)
    }

    /// Returns the command that writes an entry.
    pub(super) fn write(&self, who: Incarnation, entry: &Entry) -> Command {
        self.set("HSET", &who.to_string(), &json::write(entry))
    }

    /// Returns the command that writes an entry, unless there is one.
    pub(super) fn write_absent(&self, who: Incarnation, entry: &Entry) -> Command {
        self.set("HSETNX", &who.to_string(), &json::write(entry))
    }

    /// Returns the command that writes the folded entries, unless there are some.
    pub(super) fn write_absent_folded(&self, folded: &Folded) -> Command {
        self.set("HSETNX", FOLDED_FIELD, &json::write(folded))
    }

    fn set(&self, name: &str, field: &str, value: &[u8]) -> Command {
        Command::new(name).arg(&self.directory).arg(field).arg(value)
    }

    /// Returns the command that removes entries.
    pub(super) fn remove(&self, which: &[Incarnation]) -> Command {
        let names = which.iter().map(ToString::to_string);
        names.fold(Command::new("HDEL").arg(&self.directory), Command::arg)
    }

    /// Returns the commands that read the directory and watch it from then on.
    pub(super) fn watch(&self) -> Vec<Command> {
        vec![Command::new("WATCH").arg(&self.directory), self.read()]
    }

    /// Returns the commands that put `folded` in the place of entries, unless the watched directory
    /// was written to. Of no entries they only end the watch.
    pub(super) fn fold(&self, which: &[Incarnation], folded: &Folded) -> Vec<Command> {
        let mut commands = vec![Command::new("MULTI")];
        if !which.is_empty() {
            commands.push(self.set("HSET", FOLDED_FIELD, &json::write(folded)));
            commands.push(self.remove(which));
        }
        commands.push(Command::new("EXEC"));
        commands
    }
}

/// Returns the command that asks Redis for its time.
pub(super) fn time() -> Command {
    Command::new("TIME")
}

/// Returns the microseconds since 1970 that `TIME` told.
pub(super) fn read_time(reply: &Reply) -> Option<i64> {
    let Reply::List(parts) = reply else {
        return None;
    };
    let [Reply::Bytes(seconds), Reply::Bytes(microseconds)] = parts.as_slice() else {
        return None;
    };
    let number = |text: &[u8]| str::from_utf8(text).ok()?.parse::<i64>().ok();
    number(seconds)?.checked_mul(1_000_000)?.checked_add(number(microseconds)?)
}

/// Returns the command that asks Redis what it does when its memory is full.
pub(super) fn memory_settings() -> Command {
    Command::new("INFO").arg("memory")
}

/// Returns the policy by which Redis evicts keys, if it does.
pub(super) fn read_eviction_policy(reply: &Reply) -> Option<&str> {
    let Reply::Bytes(text) = reply else {
        return None;
    };
    let text = str::from_utf8(text).ok()?;
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let has_limit = value("maxmemory").is_some_and(|bytes| bytes != "0");
    value("maxmemory_policy").filter(|policy| has_limit && *policy != "noeviction")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Reply {
        Reply::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn the_time_of_redis_is_seconds_and_microseconds() {
        let told = Reply::List(vec![bytes("1700000000"), bytes("25")]);
        assert_eq!(read_time(&told), Some(1_700_000_000_000_025));
        for wrong in [
            Reply::Nil,
            Reply::List(vec![bytes("1")]),
            Reply::List(vec![bytes("x"), bytes("1")]),
            Reply::List(vec![bytes("9223372036854775807"), bytes("1")]),
        ] {
            assert_eq!(read_time(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_policy_matters_if_there_is_a_limit() {
        let policy = |text: &str| read_eviction_policy(&bytes(text)).map(str::to_owned);
        let lines = "# Memory\r\nmaxmemory:1024\r\nmaxmemory_policy:allkeys-lru\r\n";
        assert_eq!(policy(lines).as_deref(), Some("allkeys-lru"));
        assert_eq!(policy(&lines.replace("1024", "0")), None);
        assert_eq!(policy(&lines.replace("allkeys-lru", "noeviction")), None);
        assert_eq!(policy(""), None);
    }

    #[test]
    fn all_keys_have_the_tag_of_the_fleet() {
        let keys = Keys::new("blue");
        let fold = keys.fold(&[Incarnation(1)], &Folded::default());
        let commands = keys.watch().into_iter().chain(fold).chain(keys.mailbox_of("x").commands());
        let keys: Vec<_> =
            commands.filter_map(|it| it.words().get(1).map(|key| key.to_vec())).collect();
        assert_eq!(keys.len(), 5);
        assert!(keys.iter().all(|key| key.starts_with(b"cp:{blue}:")));
    }
}
