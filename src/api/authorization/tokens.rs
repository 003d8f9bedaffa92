//! The tokens that the server knows, and what all cores share of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::failures::Failures;
use crate::api::shared_bucket::SharedBucket;
use crate::config::token_digest::TokenDigest;
use crate::config::token_file::{Role, Roles, TokenLine};
use crate::config::{Config, RateLimit, Secret};
use percore::sync::Mutex;

/// A token that the server knows.
#[derive(Debug)]
pub struct TokenEntry {
    /// The name, for the log.
    pub name: String,
    /// The digest of the token, which itself the server does not have.
    pub sha256: TokenDigest,
    /// The roles that it has.
    pub roles: Roles,
    /// The prefix of the device ids that it may write; `None` lets it write any.
    pub prefix: Option<Box<str>>,
    /// The limit of all its events together.
    pub limit: Option<RateLimit>,
    /// The bucket of that limit.
    pub bucket: Option<SharedBucket>,
}

impl TokenEntry {
    /// Returns a token of a flag, which has no limits.
    fn of_flag(flag: &str, token: &Secret, role: Role) -> Self {
        Self {
            name: flag.to_owned(),
            sha256: TokenDigest::of(token.expose().as_bytes()),
            roles: Roles::of(role),
            prefix: None,
            limit: None,
            bucket: None,
        }
    }

    fn of_line(line: TokenLine) -> Self {
        let TokenLine { name, sha256, roles, prefix, limit } = line;
        let prefix = prefix.map(String::into_boxed_str);
        let bucket = limit.as_ref().map(SharedBucket::new);
        Self { name, sha256, roles, prefix, limit, bucket }
    }

    /// Returns true if another entry says the same.
    fn is_same(&self, other: &Self) -> bool {
        let parts = |entry: &Self| (entry.sha256, entry.roles, entry.limit);
        (&self.name, &self.prefix) == (&other.name, &other.prefix) && parts(self) == parts(other)
    }

    /// Returns true if it may write metrics of this device.
    pub fn may_write(&self, device_id: Option<&[u8]>) -> bool {
        let prefix = self.prefix.as_deref().map(str::as_bytes);
        let permits = |prefix| device_id.is_some_and(|id| id.starts_with(prefix));
        self.roles.has(Role::Write) && prefix.is_none_or(permits)
    }
}

/// All tokens at one moment.
///
/// They are found by their digests, hashed with a key of this process: the time that it takes tells
/// nothing that somebody without that key could use, however many tokens there are.
#[derive(Debug, Default)]
pub struct TokenTable {
    entries: HashMap<TokenDigest, Arc<TokenEntry>>,
    /// The roles that some token has: only these are asked for.
    roles: Roles,
}

impl TokenTable {
    /// Returns the tokens of flags and of the lines of a file. Those of `before` that are still the
    /// same stay the same, with what is counted of them.
    fn new(flags: &[TokenEntry], lines: Vec<TokenLine>, before: Option<&Self>) -> Self {
        let mut table = Self::default();
        for entry in lines.into_iter().map(TokenEntry::of_line) {
            table.insert(entry, before);
        }
        for TokenEntry { name, sha256, roles, .. } in flags {
            // Two flags, or a flag and a line, may have the same token: it may what each may.
            let known = table.entries.get(sha256).map_or(Roles::default(), |known| known.roles);
            let (name, roles) = (name.clone(), roles.with(known));
            let (prefix, limit, bucket) = (None, None, None);
            let entry = TokenEntry { name, sha256: *sha256, roles, prefix, limit, bucket };
            table.insert(entry, before);
        }
        table
    }

    fn insert(&mut self, entry: TokenEntry, before: Option<&Self>) {
        let same = before.and_then(|before| before.entries.get(&entry.sha256));
        let same = same.filter(|same| same.is_same(&entry)).map(Arc::clone);
        self.roles = self.roles.with(entry.roles);
        self.entries.insert(entry.sha256, same.unwrap_or_else(|| Arc::new(entry)));
    }

    /// Returns the token with this digest.
    pub fn find(&self, sha256: &TokenDigest) -> Option<&Arc<TokenEntry>> {
        self.entries.get(sha256)
    }

    /// Returns true if a request needs a token with a role, because there is one.
    pub const fn asks_for(&self, role: Role) -> bool {
        self.roles.has(role)
    }

    /// Returns the number of tokens with a role.
    pub fn count(&self, role: Role) -> usize {
        self.entries.values().filter(|entry| entry.roles.has(role)).count()
    }
}

/// The tokens and the failures to show one, which all cores share.
#[derive(Debug)]
pub struct Access {
    /// Those of flags, which stay.
    flags: Vec<TokenEntry>,
    /// The tokens that there are now.
    table: Mutex<Arc<TokenTable>>,
    /// The number of times that they were replaced.
    version: AtomicU64,
    /// Requests without the token that they need.
    pub failures: Failures,
}

impl Access {
    /// Returns the tokens of a configuration, with the lines of its file, if it has one. Without
    /// any token there is nothing to share.
    pub fn new(config: &Config, lines: Option<Vec<TokenLine>>) -> Option<Self> {
        let flags = [
            ("--ingest-token", &config.ingest_token, Role::Write),
            ("--read-token", &config.read_token, Role::Read),
            ("--admin-token", &config.admin_token, Role::Admin),
        ];
        let flags = flags.into_iter().filter_map(|(flag, token, role)| {
            token.as_ref().map(|token| TokenEntry::of_flag(flag, token, role))
        });
        let flags: Vec<_> = flags.collect();
        if flags.is_empty() && lines.is_none() {
            return None;
        }
        let table = TokenTable::new(&flags, lines.unwrap_or_default(), None);
        Some(Self {
            flags,
            table: Mutex::new(Arc::new(table)),
            version: AtomicU64::new(0),
            failures: Failures::default(),
        })
    }

    /// Returns the tokens that there are now.
    pub fn table(&self) -> Arc<TokenTable> {
        Arc::clone(&self.table.lock())
    }

    /// Returns a number that is another one when the tokens are others.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Replaces the tokens of the file.
    ///
    /// # Errors
    ///
    /// Nobody would have a role any more that is asked for now: what was closed would be open to
    /// all. Nothing is replaced then.
    pub fn replace(&self, lines: Vec<TokenLine>) -> Result<Arc<TokenTable>, Vec<String>> {
        let before = self.table();
        let table = Arc::new(TokenTable::new(&self.flags, lines, Some(&before)));
        let lost: Vec<_> = before.roles.without(table.roles).map(lost_role).collect();
        if !lost.is_empty() {
            return Err(lost);
        }
        *self.table.lock() = Arc::clone(&table);
        self.version.fetch_add(1, Ordering::Release);
        Ok(table)
    }
}

/// Returns the mistake that no token has a role any more.
fn lost_role(role: Role) -> String {
    let role = role.name();
    format!(
        "no token has the role {role} any more, so that nothing would ask for it; if that is \
         meant, start the server anew"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, token: &str, roles: &str) -> TokenLine {
        TokenLine {
            name: name.to_owned(),
            sha256: TokenDigest::of(token.as_bytes()),
            roles: Roles::parse(roles).unwrap(),
            prefix: Some("dev-".to_owned()),
            limit: None,
        }
    }

    fn flag(token: &str, role: Role) -> TokenEntry {
        TokenEntry::of_flag("--flag", &Secret::from(token), role)
    }

    fn find<'t>(table: &'t TokenTable, token: &str) -> Option<&'t Arc<TokenEntry>> {
        table.find(&TokenDigest::of(token.as_bytes()))
    }

    #[test]
    fn one_token_of_several_flags_may_what_each_may() {
        let flags = [flag("a", Role::Write), flag("a", Role::Admin), flag("b", Role::Read)];
        let table = TokenTable::new(&flags, vec![line("l", "b", "write")], None);
        assert_eq!(find(&table, "a").unwrap().roles, Roles::parse("write,admin").unwrap());
        let both = find(&table, "b").unwrap();
        assert_eq!((both.roles, &both.prefix), (Roles::parse("write,read").unwrap(), &None));
        assert_eq!(Role::ALL.map(|role| table.count(role)), [2, 1, 1]);
        assert!(find(&table, "c").is_none());
    }

    #[test]
    fn a_token_that_stays_is_the_same_and_one_that_changes_is_not() {
        let lines = |roles| vec![line("a", "a", "write"), line("b", "b", roles)];
        let first = TokenTable::new(&[], lines("write"), None);
        let second = TokenTable::new(&[], lines("read"), Some(&first));
        let is_same =
            |token| Arc::ptr_eq(find(&first, token).unwrap(), find(&second, token).unwrap());
        assert!(is_same("a") && !is_same("b"));
    }

    #[test]
    fn a_prefix_is_of_what_is_written() {
        let entry = |roles| TokenEntry::of_line(line("a", "a", roles));
        for (roles, id, may) in [
            ("write", Some(&b"dev-1"[..]), true),
            ("write", Some(b"dev"), false),
            ("write", None, false),
            ("read", Some(b"dev-1"), false),
        ] {
            assert_eq!(entry(roles).may_write(id), may, "{roles} {id:?}");
        }
        assert!(flag("a", Role::Write).may_write(None));
    }

    /// The time of looking for a token must not tell how much of it, or of its digest, was right.
    /// Two kinds of guesses are timed in turn, many times: medians of equal work differ by noise
    /// alone, and that of a comparison that ends early grows with what agrees. The bound is
    /// generous, and has to be met once in some rounds: other programs run beside this one.
    #[test]
    fn the_time_of_a_guess_does_not_depend_on_what_is_right_of_it() {
        let secret = format!("cp_{}", "0123456789abcdef".repeat(16));
        let table = TokenTable::new(&[flag(&secret, Role::Write)], Vec::new(), None);
        let changed = |at: usize| {
            let mut guess = secret.clone().into_bytes();
            guess[at] = b'~';
            guess
        };
        let [early, late] = [changed(0), changed(secret.len() - 1)];
        let guess_ns = |guess: &[u8]| {
            let since = std::time::Instant::now();
            for _ in 0..16 {
                let found = table.find(&TokenDigest::of(std::hint::black_box(guess)));
                assert!(std::hint::black_box(found).is_none());
            }
            since.elapsed().as_nanos() as f64
        };
        let median = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        let differs = |_: &u32| {
            let (mut first, mut second) = (Vec::new(), Vec::new());
            for _ in 0..400 {
                first.push(guess_ns(&early));
                second.push(guess_ns(&late));
            }
            let [first, second] = [first, second].map(median);
            (first - second).abs() / first.min(second) > 0.05
        };
        let rounds = (0..20).take_while(differs).count();
        assert!(rounds < 20, "each of {rounds} rounds tells the one guess from the other");
    }

    /// The time of comparing two digests does not tell where they differ, either.
    #[test]
    fn digests_are_compared_as_a_whole() {
        let digest = |byte: u8, at: usize| {
            let mut hex = "00".repeat(32).into_bytes();
            hex[2 * at] = byte;
            TokenDigest::from_hex(&String::from_utf8(hex).unwrap()).unwrap()
        };
        let stored = digest(b'0', 0);
        let compare_ns = |other: &TokenDigest| {
            let since = std::time::Instant::now();
            for _ in 0..200 {
                assert!(std::hint::black_box(&stored) != std::hint::black_box(other));
            }
            since.elapsed().as_nanos() as f64
        };
        let [early, late] = [digest(b'1', 0), digest(b'1', 31)];
        let differs = |_: &u32| {
            let pairs: Vec<_> = (0..400).map(|_| [compare_ns(&early), compare_ns(&late)]).collect();
            let median = |which: usize| {
                let mut times: Vec<_> = pairs.iter().map(|pair| pair[which]).collect();
                times.sort_by(f64::total_cmp);
                times[times.len() / 2]
            };
            let [first, second] = [median(0), median(1)];
            (first - second).abs() / first.min(second) > 0.1
        };
        let rounds = (0..20).take_while(differs).count();
        assert!(rounds < 20, "each of {rounds} rounds tells the one digest from the other");
    }

    #[test]
    fn no_door_is_opened_by_taking_its_last_key_away() {
        let access = Access {
            flags: vec![flag("f", Role::Admin)],
            table: Mutex::default(),
            version: AtomicU64::new(0),
            failures: Failures::default(),
        };
        access.replace(vec![line("a", "a", "write"), line("b", "b", "read")]).unwrap();
        let before = access.version();
        let mistakes = access.replace(vec![line("a", "a", "write")]).unwrap_err();
        assert_eq!(mistakes.len(), 1);
        assert!(mistakes[0].contains("role read"), "{mistakes:?}");
        assert!(find(&access.table(), "b").is_some() && access.version() == before);
        access.replace(vec![line("c", "c", "write,read")]).unwrap();
        assert!(find(&access.table(), "b").is_none() && access.version() != before);
        assert!(find(&access.table(), "f").is_some());
    }
}
