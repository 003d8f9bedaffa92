//! The notices to systemd, or to whoever else started this process: sd_notify(3).

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable with the address of the socket that takes notices.
const SOCKET: &str = "NOTIFY_SOCKET";

/// The server answers requests.
pub const READY: &str = "READY=1";

/// The server stops in order.
pub const STOPPING: &str = "STOPPING=1";

/// Returns true if somebody wants to be told, who also says when this process is to end.
pub fn is_there() -> bool {
    env::var_os(SOCKET).is_some()
}

/// Sends a notice, if somebody wants it.
///
/// # Errors
///
/// The address is none, or nobody takes what is sent there.
pub fn tell(notice: &str) -> io::Result<()> {
    env::var_os(SOCKET).map_or(Ok(()), |socket| tell_at(&socket, notice))
}

fn tell_at(socket: &OsStr, notice: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    // It is a notice: a manager that does not read must not hold up the server.
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    sender.send_to_addr(notice.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what comes to a socket bound to this address, when it is told by this name.
    fn received(bound: &SocketAddr, name: &OsStr) -> String {
        let manager = UnixDatagram::bind_addr(bound).unwrap();
        tell_at(name, READY).unwrap();
        let mut notice = [0; 64];
        let length = manager.recv(&mut notice).unwrap();
        String::from_utf8(notice[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_notice_comes_to_sockets_of_both_kinds() {
        let path = env::temp_dir().join(format!("corepulse-notify-{}", std::process::id()));
        let bound = SocketAddr::from_pathname(&path).unwrap();
        assert_eq!(received(&bound, path.as_os_str()), READY);
        std::fs::remove_file(&path).unwrap();
        let name = format!("corepulse-notify-{}", std::process::id());
        let bound = SocketAddr::from_abstract_name(&name).unwrap();
        assert_eq!(received(&bound, OsStr::new(&format!("@{name}"))), READY);
    }

    #[test]
    fn what_nobody_takes_is_an_error() {
        for name in ["/nowhere/at/all", "@corepulse-nobody", "", &"x".repeat(200)] {
            assert!(tell_at(OsStr::new(name), STOPPING).is_err(), "{name}");
        }
    }
}
