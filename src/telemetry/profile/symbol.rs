//! Readable names of functions in profiles.
//!
//! The line tables of a release build name an inlined function without its path and with all its
//! generic arguments. `parse` alone may be a dozen functions; the path of the source file tells
//! them apart.

/// The folder in which this crate was built.
const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

/// Returns the name with the path of its module, if the file tells it, and without generic
/// arguments.
pub(super) fn readable_name(name: &str, file: &str) -> String {
    let plain = without_arguments(name);
    match module_of(file) {
        Some(module) if !plain.contains("::") => format!("{module}::{plain}"),
        _ => plain.to_owned(),
    }
}

/// Cuts off generic arguments. A name that begins with a type in brackets is a whole path already.
fn without_arguments(name: &str) -> &str {
    match name.split_once('<') {
        Some((plain, _)) if !plain.is_empty() && !plain.contains("::") => plain,
        _ => name,
    }
}

/// Derives the path of a module from its file, by the usual layout of a package.
fn module_of(file: &str) -> Option<String> {
    let (package, inside) =
        match file.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix("/src/")) {
            Some(inside) => (env!("CARGO_CRATE_NAME"), inside),
            None => {
                let (before, inside) = file.rsplit_once("/src/")?;
                (before.rsplit('/').next()?, inside)
            }
        };
    let inside = inside.strip_suffix(".rs")?;
    // The folder of mio is `mio-1.2.5`.
    let is_version =
        |(_, version): &(&str, &str)| version.starts_with(|c: char| c.is_ascii_digit());
    let package = package.rsplit_once('-').filter(is_version).map_or(package, |(name, _)| name);
    let inside = match inside.rsplit_once('/') {
        Some((folder, "mod")) => folder,
        None if matches!(inside, "lib" | "main") => "",
        _ => inside,
    };
    let path = [package, inside].join("/").replace('/', "::").replace('-', "_");
    Some(path.trim_end_matches(':').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_an_inlined_function_tells_its_path() {
        let own = |file: &str| format!("{PACKAGE}/src/{file}");
        for (name, file, expected) in [
            ("cpu", own("metric/decode.rs"), "corepulse::metric::decode::cpu"),
            (
                "run<Service>",
                format!("{PACKAGE}/percore/src/event_loop.rs"),
                "percore::event_loop::run",
            ),
            ("start", own("lib.rs"), "corepulse::start"),
            ("poll", "/a/mio-1.2.5/src/sys/unix/mod.rs".to_owned(), "mio::sys::unix::poll"),
            ("parse_uri", "/a/httparse-1.10.1/src/lib.rs".to_owned(), "httparse::parse_uri"),
            (
                "{closure#0}<a::B>",
                "/r/library/core/src/ptr/mod.rs".to_owned(),
                "core::ptr::{closure#0}",
            ),
            ("f", "/a/core_affinity-0.8.3/src/lib.rs".to_owned(), "core_affinity::f"),
        ] {
            assert_eq!(readable_name(name, &file), expected);
        }
    }

    #[test]
    fn what_is_whole_stays_as_it_is() {
        let write = "<&std::net::tcp::TcpStream as std::io::Write>::write";
        for name in [write, "__libc_send", "core::str::from_utf8", "std::rt::lang_start<()>"] {
            assert_eq!(readable_name(name, "../sysdeps/unix/send.c"), name);
        }
        assert_eq!(readable_name(write, "/r/library/std/src/net/tcp.rs"), write);
    }
}
