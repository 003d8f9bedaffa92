//! Where each value came from: its flag, a variable, the default, or what this machine has.

use std::fmt;

use clap::ArgMatches;
use clap::parser::ValueSource;

/// Where one value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Flag,
    Variable(String),
    Default,
}

/// Where the values of a configuration came from; nothing is known of one that was made otherwise
/// than by the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// By the flag's name.
    given: Vec<(String, Source)>,
    /// What this machine makes of a value, such as `auto`.
    derived: Vec<(String, String)>,
}

impl Sources {
    /// What clap says of its matches; `variable` is the name of a flag's variable.
    pub(super) fn of(matches: &ArgMatches, flags: &[(String, String, String)]) -> Self {
        let source = |id: &str, variable: &str| match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Source::Flag,
            Some(ValueSource::EnvVariable) => Source::Variable(variable.to_owned()),
            _ => Source::Default,
        };
        let given = flags.iter().map(|(id, flag, variable)| (flag.clone(), source(id, variable)));
        Self { given: given.collect(), derived: Vec::new() }
    }

    /// Notes that a flag that was not given has its value from another variable.
    pub(super) fn set_variable(&mut self, flag: &str, variable: &str) {
        let entry = self.given.iter_mut().find(|(name, _)| name == flag);
        if let Some((_, source)) = entry {
            *source = Source::Variable(variable.to_owned());
        }
    }

    /// Notes what a value comes to on this machine.
    pub fn derive(&mut self, flag: &str, value: impl fmt::Display) {
        self.derived.push((flag.to_owned(), value.to_string()));
    }

    /// A comment behind the value of a flag, or nothing.
    pub(super) fn comment(&self, flag: &str) -> String {
        let source = self.given.iter().find(|(name, _)| name == flag).map(|(_, source)| source);
        let source = source.map(|source| match source {
            Source::Flag => "flag".to_owned(),
            Source::Variable(name) => name.clone(),
            Source::Default => "default".to_owned(),
        });
        let derived = self.derived.iter().find(|(name, _)| name == flag);
        let derived = derived.map(|(_, value)| format!("derived: {value}"));
        let parts: Vec<String> = source.into_iter().chain(derived).collect();
        if parts.is_empty() { String::new() } else { format!("  # {}", parts.join(", ")) }
    }
}
