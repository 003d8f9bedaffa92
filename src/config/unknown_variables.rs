//! Variables that begin like those of flags and have no effect, most of which are misspelt.

use super::flag::Flag;
use super::flags::FLAGS;

/// The prefix of the variables of flags.
const PREFIX: &str = "COREPULSE_";

/// Variables that the build and the tests read.
const OF_THE_BUILD: [&str; 2] = ["COREPULSE_COMMIT", "COREPULSE_SEED"];

/// The least similarity (Jaro-Winkler, 1 is equal) of a name that is proposed.
const SIMILARITY_MIN: f64 = 0.8;

/// Names that other servers give to the variable for the address.
const LISTEN_NAMES: [&str; 5] = ["PORT", "HOST", "ADDR", "ADDRESS", "BIND"];

/// A variable that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariable {
    /// Its name.
    pub name: String,
    /// The known name that is most similar.
    pub nearest: Option<String>,
}

/// Finds the variables that have the prefix and are not known, sorted by name.
pub fn find_unknown(variables: impl IntoIterator<Item = (String, String)>) -> Vec<UnknownVariable> {
    let known: Vec<String> = FLAGS.iter().map(Flag::variable).collect();
    let is_known =
        |name: &str| known.iter().any(|known| known == name) || OF_THE_BUILD.contains(&name);
    let mut unknown: Vec<UnknownVariable> = variables
        .into_iter()
        .filter(|(name, value)| {
            name.starts_with(PREFIX) && !is_known(name) && !is_of_kubernetes(name, value)
        })
        .map(|(name, _)| UnknownVariable { nearest: nearest(&name, &known), name })
        .collect();
    unknown.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    unknown
}

/// Finds the known name that is most similar, if any is similar enough.
fn nearest(name: &str, known: &[String]) -> Option<String> {
    fn bare(name: &str) -> &str {
        name.strip_prefix(PREFIX).unwrap_or(name)
    }
    let wanted = if LISTEN_NAMES.contains(&bare(name)) { "LISTEN" } else { bare(name) };
    let similar = known.iter().map(|known| (strsim::jaro_winkler(wanted, bare(known)), known));
    let best = similar.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(similarity, _)| *similarity >= SIMILARITY_MIN).map(|(_, name)| name.clone())
}

/// Returns true if Kubernetes makes such a variable for a service of the namespace whose name
/// begins with `corepulse`: `COREPULSE_SERVICE_HOST`, `COREPULSE_PORT_8080_TCP_ADDR` and more.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
    let is_url = || {
        let scheme = value.split_once("://").map(|(scheme, _)| scheme.to_uppercase());
        scheme.is_some_and(|scheme| PROTOCOLS.contains(&scheme.as_str()))
    };
    // The port after the last `_PORT_`, its protocol, and the property.
    let is_of_port = || {
        let (_, port) = name.rsplit_once("_PORT_")?;
        let mut parts = port.split('_');
        let is_number = parts.next()?.parse::<u16>().is_ok();
        let is_protocol = PROTOCOLS.contains(&parts.next()?);
        let is_said = matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"));
        Some(is_number && is_protocol && is_said && parts.next().is_none())
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_url())
        || is_of_port() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let found = find_unknown(variables.iter().map(own));
        found.into_iter().map(|unknown| (unknown.name, unknown.nearest)).collect()
    }

    #[test]
    fn a_misspelt_variable_is_found_with_what_it_was_meant_for() {
        for (name, nearest) in [
            ("COREPULSE_WINDW", Some("COREPULSE_WINDOW")),
            ("COREPULSE_STORETTL", Some("COREPULSE_STORE_TTL")),
            ("COREPULSE_REDIS", Some("COREPULSE_REDIS_URL")),
            ("COREPULSE_MAXCONNECTIONS", Some("COREPULSE_MAX_CONNECTIONS")),
            ("COREPULSE_LOGLEVEL", Some("COREPULSE_LOG_LEVEL")),
            ("COREPULSE_OVERFLOW_QUEUE", None),
            ("COREPULSE_QUUX", None),
            ("COREPULSE_", None),
            ("COREPULSE_BIND", Some("COREPULSE_LISTEN")),
            // A number is what a user gives; Kubernetes gives a URL.
            ("COREPULSE_PORT", Some("COREPULSE_LISTEN")),
        ] {
            assert_eq!(found(&[(name, "8080")]), [(name.to_owned(), nearest.map(str::to_owned))]);
        }
    }

    #[test]
    fn what_is_known_or_nobodys_mistake_is_not() {
        assert_eq!(found(&[]), []);
        assert_eq!(
            found(&[
                ("COREPULSE_WINDOW", "50"),
                ("COREPULSE_LOG_LEVEL", "info"),
                ("COREPULSE_COMMIT", "abc"),
                ("REDIS_URL", "redis://a"),
                ("COREPULSE", "x"),
                ("PATH", "/bin"),
                // As the kubelet makes them of the services `corepulse` and `corepulse-redis`.
                ("COREPULSE_SERVICE_HOST", "10.0.0.1"),
                ("COREPULSE_SERVICE_PORT", "8080"),
                ("COREPULSE_SERVICE_PORT_HTTP", "8080"),
                ("COREPULSE_PORT", "tcp://10.0.0.1:8080"),
                ("COREPULSE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
                ("COREPULSE_PORT_8080_TCP_PROTO", "tcp"),
                ("COREPULSE_PORT_8080_TCP_PORT", "8080"),
                ("COREPULSE_PORT_8080_TCP_ADDR", "10.0.0.1"),
                ("COREPULSE_PORT_53_UDP_ADDR", "10.0.0.1"),
                ("COREPULSE_REDIS_SERVICE_HOST", "10.0.0.2"),
                ("COREPULSE_REDIS_PORT_6379_TCP_PORT", "6379"),
                ("COREPULSE_REDIS_PORT", "tcp://10.0.0.2:6379"),
            ]),
            []
        );
        assert_eq!(found(&[("COREPULSE_PORT_NUMBER", "8080")]).len(), 1);
        assert_eq!(found(&[("COREPULSE_PORT_8080_FTP", "8080")]).len(), 1);
    }
}
