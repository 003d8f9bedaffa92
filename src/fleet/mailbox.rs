//! The mailbox of a member, as its thread empties it: one command waits for a message, and where
//! many lie there, many are taken at once.
//!
//! Redis may be far away, and each reply takes a round trip. Who then takes one message at a time
//! falls behind those who send, each of whom sends in each of its own round trips: what it reads
//! gets old, so it is asked again, and falls behind further.

use crate::limits::{FLEET_MAIL_BATCH_BYTES, FLEET_MAIL_BATCH_MAX, FLEET_MAIL_GROUP};
use crate::store::redis::command::{Command, Reply};

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Mailbox {
    /// The command that waits for a message.
    wait: Command,
    /// The command that takes one, if it is part of a transaction: there it does not wait. So no
    /// further right is needed.
    take: Command,
    /// The messages that are to be taken with the next one, if there are so many.
    more: usize,
}

impl Mailbox {
    pub(super) const fn new(wait: Command, take: Command) -> Self {
        Self { wait, take, more: 0 }
    }

    /// Returns the commands that wait for a message, and take more.
    pub(super) fn commands(&self) -> Vec<Command> {
        let mut commands = vec![self.wait.clone()];
        let mut left = self.more;
        while left > 0 {
            let group = left.min(FLEET_MAIL_GROUP);
            commands.push(Command::new("MULTI"));
            commands.extend(std::iter::repeat_n(self.take.clone(), group));
            commands.push(Command::new("EXEC"));
            left -= group;
        }
        commands
    }

    /// Returns the messages that were taken by [`Self::commands`]. As many are taken next time if
    /// there were fewer than might have been, and twice as many if there were not; none but one
    /// if no replies have come, as one of them may have been too long.
    pub(super) fn read(&mut self, replies: Vec<Reply>) -> Vec<Vec<u8>> {
        let messages: Vec<_> = replies.into_iter().flat_map(messages_of).collect();
        let taken = messages.len();
        let more = if taken > self.more { 2 * taken - 1 } else { taken.saturating_sub(1) };
        let bytes = messages.iter().map(Vec::len).max().unwrap_or_default();
        let fits = FLEET_MAIL_BATCH_BYTES / bytes.max(1);
        self.more = more.min(FLEET_MAIL_BATCH_MAX - 1).min(fits);
        messages
    }

    /// Takes one message alone next time: something was refused.
    pub(super) const fn take_one(&mut self) {
        self.more = 0;
    }
}

/// Returns the messages of a reply: of a command that waited, or of a transaction.
fn messages_of(reply: Reply) -> Vec<Vec<u8>> {
    match reply {
        Reply::List(parts) if !matches!(parts.as_slice(), [Reply::Bytes(_), ..]) => {
            parts.into_iter().filter_map(message_of).collect()
        }
        one => message_of(one).into_iter().collect(),
    }
}

/// Returns the message of a command that took one.
fn message_of(reply: Reply) -> Option<Vec<u8>> {
    match reply {
        Reply::List(parts) => match parts.into_iter().nth(1) {
            Some(Reply::Bytes(message)) => Some(message),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the replies of a modelled Redis to the commands of a mailbox; `pop` takes a message from
/// the list of this key.
#[cfg(test)]
pub(super) fn replies(
    commands: &[Command],
    mut pop: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> Vec<Reply> {
    let bytes = |text: &[u8]| Reply::Bytes(text.to_vec());
    let mut transaction: Option<Vec<Reply>> = None;
    let reply = |command: &Command| match (command.words().as_slice(), &mut transaction) {
        ([b"BLPOP", key, ..], transaction) => {
            let popped = pop(key);
            let reply = popped.map_or(Reply::Nil, |it| Reply::List(vec![bytes(key), bytes(&it)]));
            match transaction {
                Some(replies) => {
                    replies.push(reply);
                    bytes(b"QUEUED")
                }
                None => reply,
            }
        }
        ([b"MULTI"], transaction) => {
            *transaction = Some(Vec::new());
            Reply::Okay
        }
        ([b"EXEC"], transaction) => Reply::List(transaction.take().unwrap()),
        (other, _) => panic!("not modelled: {other:?}"),
    };
    commands.iter().map(reply).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox() -> Mailbox {
        let pop = || Command::new("BLPOP").arg("key").arg("1");
        Mailbox::new(pop(), pop())
    }

    fn bytes(text: &str) -> Reply {
        Reply::Bytes(text.as_bytes().to_vec())
    }

    fn taken(message: &str) -> Reply {
        Reply::List(vec![bytes("key"), bytes(message)])
    }

    /// Runs the commands against a list with these messages; none waits.
    fn run(mailbox: &mut Mailbox, list: &mut Vec<&str>) -> Vec<String> {
        let mut pop = || (!list.is_empty()).then(|| list.remove(0).as_bytes().to_vec());
        let replies = replies(&mailbox.commands(), |_| pop());
        let messages = mailbox.read(replies).into_iter();
        messages.map(|it| String::from_utf8(it).unwrap()).collect()
    }

    #[test]
    fn as_many_are_taken_as_there_are() {
        let mut mailbox = mailbox();
        let names: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        let mut list: Vec<_> = names.iter().map(String::as_str).collect();
        let mut all = Vec::new();
        let mut counts = Vec::new();
        while !list.is_empty() {
            let messages = run(&mut mailbox, &mut list);
            counts.push(messages.len());
            all.extend(messages);
        }
        assert_eq!(counts, [1, 2, 4, 8, 16, 32, 37]);
        assert_eq!(all, names);
        // What nobody sends is not asked for.
        assert_eq!(run(&mut mailbox, &mut vec!["a", "b"]), ["a", "b"]);
        assert_eq!(run(&mut mailbox, &mut vec!["a"]), ["a"]);
        assert_eq!(mailbox.commands().len(), 1);
    }

    #[test]
    fn long_messages_come_alone() {
        let mut mailbox = mailbox();
        let long = "x".repeat(FLEET_MAIL_BATCH_BYTES + 1);
        assert_eq!(run(&mut mailbox, &mut vec!["a"]).len(), 1);
        assert_eq!(run(&mut mailbox, &mut vec![&long, "a"]).len(), 2);
        assert_eq!(mailbox.commands().len(), 1);
        assert_eq!(run(&mut mailbox, &mut vec!["a", "b"]), ["a"]);
        mailbox.take_one();
        assert_eq!(mailbox.commands().len(), 1);
    }

    #[test]
    fn what_is_no_message_is_none() {
        for reply in [
            Reply::Nil,
            Reply::Okay,
            bytes("QUEUED"),
            Reply::List(vec![Reply::Nil, Reply::Nil]),
            Reply::List(vec![Reply::List(vec![bytes("key")]), Reply::Integer(1)]),
            Reply::List(vec![bytes("key"), Reply::Nil]),
        ] {
            assert_eq!(messages_of(reply.clone()), Vec::<Vec<u8>>::new(), "{reply:?}");
        }
        assert_eq!(messages_of(Reply::List(vec![taken("a")])), [b"a"]);
        assert_eq!(messages_of(Reply::List(vec![taken("a"), taken("b")])), [b"a", b"b"]);
    }
}
