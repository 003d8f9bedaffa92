//! One flag, as it is declared.

use std::env;

use clap::Arg;

/// The declaration of a flag.
#[derive(Debug)]
pub(super) struct Flag {
    /// The name without dashes.
    pub(super) name: &'static str,
    /// The text of `--help`, which begins with a space.
    pub(super) help: &'static str,
    /// The name of the value in `--help`, if it is not that of the flag.
    pub(super) value_name: &'static [&'static str],
    /// The text that is the default, if there is one.
    pub(super) default: &'static [&'static str],
}

impl Flag {
    /// Returns the name of the variable that stands for the flag.
    pub(super) fn variable(&self) -> String {
        format!("COREPULSE_{}", self.upper_name())
    }

    /// Makes the argument of the command line. It may stand behind a subcommand as well, as people
    /// write `corepulse healthcheck --listen …`. An empty variable is an unset one, as shells and
    /// manifests of Kubernetes have it.
    pub(super) fn argument(&self) -> Arg {
        let value_name = self.value_name.first().map_or(self.upper_name(), |&name| name.to_owned());
        let argument = Arg::new(self.name).long(self.name).value_name(value_name);
        let argument = argument.default_values(self.default).help(self.help.trim_start());
        let is_empty = env::var_os(self.variable()).is_some_and(|value| value.is_empty());
        let argument = if is_empty { argument } else { argument.env(self.variable()) };
        argument.hide_env_values(true).global(true)
    }

    fn upper_name(&self) -> String {
        self.name.to_uppercase().replace('-', "_")
    }

    /// Returns the flag's row in the documentation.
    #[cfg(test)]
    pub(super) fn row(&self) -> String {
        let default = self.default.first().map_or(String::new(), |text| format!(" `{text}`"));
        format!("| `--{}` |{default} | {} |", self.name, self.help.trim_start())
    }
}
