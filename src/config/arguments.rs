//! The command line and the environment, as texts that are not checked yet.

use std::collections::HashMap;
use std::env;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command as Clap, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::flags::FLAGS;
use super::replay_options::ReplayOptions;
use super::secret::Secret;
use super::server_url::ServerUrl;
use super::sources::Sources;
use super::token_options::TokenCommand;

/// A thread-per-core HTTP server for streams of device metrics.
///
/// Devices POST metrics to /metrics; /analyze shows rolling averages, z-scores and anomalies,
/// /metrics/prometheus is for Prometheus. Durations and sizes take units: 300s, 5m, 64MiB.
#[derive(Clone, Debug, Parser)]
#[command(version = env!("COREPULSE_VERSION"), max_term_width = 100)]
pub struct Arguments {
    /// The flags of the configuration.
    #[command(flatten)]
    pub(super) texts: Texts,

    /// Print the effective configuration and exit
    #[arg(long, global = true, display_order = 200)]
    pub print_config: bool,

    /// The subcommand, in place of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The subcommands.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum Command {
    /// Ask the server at --listen on this machine whether it serves; exit code 0 if so, else 1. It
    /// takes the options of the server, before it or behind it
    Healthcheck,

    /// Show rates, latency, problems and the oddest devices of a server, once a second until q is
    /// pressed: of the one at --to, or at --listen on this machine. It takes the options of the
    /// server, --read-token among them
    Top {
        /// Print it once, as plain text
        #[arg(long)]
        once: bool,

        /// Ask the server at this URL, http://HOST:PORT
        #[arg(long, value_name = "URL")]
        to: Option<ServerUrl>,

        /// Show all replicas of its fleet, or the one that answers; all unless given, if it is in
        /// a fleet
        #[arg(long)]
        scope: Option<Scope>,
    },

    /// Post CSV files to a server and report what became of every row; exit code 0 if all were
    /// accepted, else 1. It takes the options of the server, --ingest-token among them
    Replay(ReplayOptions),

    /// Make tokens for the file of --tokens
    Token {
        /// The command.
        #[command(subcommand)]
        command: TokenCommand,
    },
}

/// The replicas whose state is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    /// All of the fleet.
    Fleet,
    /// The one that answers.
    Instance,
}

impl Arguments {
    /// Reads the command line and the environment.
    ///
    /// # Errors
    ///
    /// The errors of clap, and what it prints instead of starting: help and version.
    pub fn read() -> Result<Self, clap::Error> {
        let mut arguments = Self::try_parse()?;
        arguments.texts.read_variable("redis-url", "REDIS_URL");
        Ok(arguments)
    }
}

/// The text of each flag that was given or has a default, and its source. Any may be a secret.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    by_flag: HashMap<&'static str, Secret>,
    pub(super) sources: Sources,
}

impl Texts {
    /// Returns the text of a flag.
    pub(super) fn get(&self, flag: &str) -> Option<&str> {
        self.by_flag.get(flag).map(Secret::expose)
    }

    /// Reads another variable for a flag that was not given.
    fn read_variable(&mut self, flag: &'static str, variable: &str) {
        let text = env::var(variable).ok().filter(|text| !text.is_empty());
        if let (None, Some(text)) = (self.get(flag), text) {
            self.by_flag.insert(flag, Secret::from(text.as_str()));
            self.sources.set(flag, variable);
        }
    }
}

impl Args for Texts {
    fn augment_args(command: Clap) -> Clap {
        // Behind the few options that a subcommand has of its own.
        let flags = FLAGS.iter().zip(100..);
        command.args(flags.map(|(flag, order)| flag.argument().display_order(order)))
    }

    fn augment_args_for_update(command: Clap) -> Clap {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Texts {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut texts = Self::default();
        texts.update_from_arg_matches(matches)?;
        Ok(texts)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for flag in FLAGS {
            if let Some(text) = matches.get_one::<String>(flag.name) {
                self.by_flag.insert(flag.name, Secret::from(text.as_str()));
            }
            let source = match matches.value_source(flag.name) {
                Some(ValueSource::CommandLine) => "flag",
                Some(ValueSource::EnvVariable) => &flag.variable(),
                _ => "default",
            };
            self.sources.set(flag.name, source);
        }
        Ok(())
    }
}
