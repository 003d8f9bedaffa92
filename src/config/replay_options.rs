//! The options of `corepulse replay`, in addition to those of the server.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, value_parser};

use super::server_url::ServerUrl;
use crate::limits::BATCH_EVENTS_MAX;

/// The options; the comments are the texts of `--help`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct ReplayOptions {
    /// CSV files, whose header rows name the columns as --fields, --device-name and
    /// --timestamp-name of the server do, in any order and case; others are passed over. A file
    /// without a column of devices is a device, named after the file
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Post to the server at this URL, http://HOST:PORT; to the one at --listen on this machine
    /// unless given
    #[arg(long, value_name = "URL")]
    pub to: Option<ServerUrl>,

    /// The header of a column that is called otherwise in the files, such as cpu=load; may be
    /// given several times
    #[arg(long, value_name = "MEMBER=HEADER")]
    pub column: Vec<Assignment>,

    /// A member that is in another file, such as rps=requests.csv: the last cell of each row there
    /// goes with the same row here; may be given several times
    #[arg(long, value_name = "MEMBER=FILE")]
    pub beside: Vec<Assignment>,

    /// Events a second; as fast as the server answers unless given. Latencies then count from
    /// when a request was due, so that a slow server cannot hide its queue
    #[arg(long, value_name = "EVENTS", value_parser = rate)]
    pub rate: Option<f64>,

    /// The most events of a request
    #[arg(long, value_name = "EVENTS", default_value_t = 100,
        value_parser = value_parser!(u16).range(1..=BATCH_EVENTS_MAX as i64))]
    pub batch: u16,

    /// Connections, each with one request at a time; a device always uses the same one
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u16).range(1..=64))]
    pub connections: u16,
}

/// A member of an event and where it is: `cpu=load`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The name of the member.
    pub member: String,
    /// The text behind the equals sign.
    pub place: String,
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (member, place) = text.split_once('=').unwrap_or((text, ""));
        let (member, place) = (member.trim().to_owned(), place.trim().to_owned());
        if member.is_empty() || place.is_empty() {
            return Err("expected a name on both sides of =, such as cpu=load".to_owned());
        }
        Ok(Self { member, place })
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= 0.001);
    rate.ok_or_else(|| "expected a number from 0.001 on".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::arguments::{Arguments, Command};

    fn parse(arguments: &[&str]) -> Result<ReplayOptions, String> {
        let all = ["corepulse", "replay"].iter().chain(arguments);
        match Arguments::try_parse_from(all).map(|arguments| arguments.command) {
            Ok(Some(Command::Replay(options))) => Ok(options),
            Ok(_) => panic!("another command"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn files_and_columns_are_as_many_as_there_are() {
        let options =
            parse(&["a.csv", "--column", "cpu=load %", "b.csv", "--column= rps = r=1 "]).unwrap();
        assert_eq!(options.files, [PathBuf::from("a.csv"), PathBuf::from("b.csv")]);
        let columns: Vec<_> =
            options.column.iter().map(|one| (one.member.as_str(), one.place.as_str())).collect();
        assert_eq!(columns, [("cpu", "load %"), ("rps", "r=1")]);
        assert_eq!((options.batch, options.connections, options.rate), (100, 4, None));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (arguments, named) in [
            (&[][..], "<FILE>"),
            (&["a.csv", "--column", "cpu"], "both sides of ="),
            (&["a.csv", "--beside", "=x"], "both sides of ="),
            (&["a.csv", "--rate", "0"], "0.001"),
            (&["a.csv", "--rate", "NaN"], "0.001"),
            (&["a.csv", "--batch", "10001"], "10000"),
            (&["a.csv", "--connections", "0"], "1..=64"),
            (&["a.csv", "--to", "https://a"], "TLS"),
        ] {
            let error = parse(arguments).unwrap_err();
            assert!(error.contains(named), "{arguments:?}: {error}");
        }
    }
}
