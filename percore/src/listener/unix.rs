//! A Unix socket to listen on, and its file.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net as std_unix;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mio::net::{TcpStream, UnixListener};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::limits::SEND_BUFFER_BYTES;

/// The address that stands for every client of a Unix socket, which has none: it is this machine.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The file of a socket, removed when its last listener is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode number, which tell it from a file that another process has put there since:
    /// while the socket is open, its inode number is not used again.
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // A client that finds the file left behind sees that no server answers.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Listens at `path`. The permissions of the file decide who may connect; they are what the umask
/// of the process leaves of 0777, so with the usual 022 only its own user.
///
/// # Errors
///
/// Another server listens there, another file is there, or no file may be made there.
pub(super) fn open(
    path: &Path,
    backlog: i32,
) -> io::Result<(Arc<SocketFile>, std_unix::UnixListener)> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = Arc::new(SocketFile::of(path)?);
    socket.listen(backlog)?;
    Ok((file, OwnedFd::from(socket).into()))
}

/// Removes the socket file of a server that was killed: one at which no server answers.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            let what = "there is a file already, and it is no socket";
            return Err(io::Error::new(ErrorKind::AlreadyExists, what));
        }
        Ok(_) => {}
    }
    let asker = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A server with a full queue does not keep us waiting.
    asker.set_nonblocking(true)?;
    match asker.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Err(ErrorKind::AddrInUse.into()),
    }
}

/// Accepts a connection. Receiving, sending and shutting down are the same calls for sockets of
/// every family, so it goes on as a TCP stream.
pub(super) fn accept(listener: &UnixListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, _) = listener.accept()?;
    // Unlike with TCP, this is not inherited. Received bytes count against the peer's own buffer.
    SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES)?;
    let descriptor = OwnedFd::from(std_unix::UnixStream::from(stream));
    Ok((TcpStream::from_std(descriptor.into()), PEER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::Listen;
    use crate::listener;
    use crate::network::Incoming;
    use std::io::{Read, Write};
    use std::time::Duration;

    /// Returns a path of this test's own, where no file is.
    fn path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("corepulse-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn every_core_can_accept_and_the_file_goes_with_the_last() {
        let path = path("shared.sock");
        let mut listeners = listener::open(&Listen::Unix(path.clone()), 2).unwrap();
        let here = format!("unix:{}", path.display());
        assert_eq!(listeners[0].bound().unwrap().to_string(), here);
        assert_eq!(listeners[0].bound().unwrap().internet(), None);
        for listener in &listeners {
            let nobody = listener.accept().unwrap_err();
            assert_eq!(nobody.kind(), ErrorKind::WouldBlock);
            let mut client = std_unix::UnixStream::connect(&path).unwrap();
            let Incoming { stream: mut accepted, peer, .. } = listener.accept().unwrap();
            assert!(peer.ip().is_loopback());
            client.write_all(b"hello").unwrap();
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut received = [0; 5];
            accepted.read_exact(&mut received).unwrap();
            accepted.write_all(&received).unwrap();
            accepted.shutdown(std::net::Shutdown::Write).unwrap();
            let mut echoed = Vec::new();
            client.read_to_end(&mut echoed).unwrap();
            assert_eq!(echoed, b"hello");
            let buffer = SockRef::from(&accepted).send_buffer_size().unwrap();
            assert_eq!(buffer, 2 * SEND_BUFFER_BYTES);
        }
        listeners.pop();
        assert!(path.exists());
        listeners.pop();
        assert!(!path.exists());
    }

    #[test]
    fn only_a_socket_at_which_nobody_answers_is_replaced() {
        let path = path("stale.sock");
        let first = open(&path, 1).unwrap();
        assert_eq!(open(&path, 1).unwrap_err().kind(), ErrorKind::AddrInUse);
        // That question and this connection fill its queue: the server is there all the same.
        let _waiting = std_unix::UnixStream::connect(&path).unwrap();
        assert_eq!(open(&path, 1).unwrap_err().kind(), ErrorKind::AddrInUse);
        // As after a crash: the file is there, and no server behind it.
        SockRef::from(&first.1).shutdown(std::net::Shutdown::Both).unwrap();
        let second = open(&path, 1).unwrap();
        drop(first.0);
        assert!(path.exists(), "the first has removed what is the second's");
        drop(second.0);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        let error = open(&path, 1).unwrap_err();
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
        let nowhere = open(Path::new("/nowhere/at/all.sock"), 1).unwrap_err();
        assert_eq!(nowhere.kind(), ErrorKind::NotFound);
    }
}
