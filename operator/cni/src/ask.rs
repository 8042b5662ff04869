//! Requests to the agent.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::protocol::{self, PluginAnswer, PluginRequest, VERSION};

/// Sends a request and waits for the answer, at most for the timeout; then it closes the connection.
pub fn ask(socket: &Path, request: &PluginRequest, timeout: Duration) -> io::Result<PluginAnswer> {
    let answer = exchange(socket, request, Instant::now() + timeout).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            let why = format!("it did not answer within {} s", timeout.as_secs());
            io::Error::new(io::ErrorKind::TimedOut, why)
        }
        _ => error,
    })?;
    if answer.version != VERSION {
        let why = format!("it speaks version {}, and this plugin {VERSION}", answer.version);
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(answer)
}

fn exchange(socket: &Path, request: &PluginRequest, ends: Instant) -> io::Result<PluginAnswer> {
    let address = SocketAddrUnix::new(socket)?;
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // A hanging agent accepts no connections, so connect(2) blocks; the send timeout limits it too.
    set_socket_timeout(&stream, Timeout::Send, Some(left(ends)?))?;
    connect(&stream, &address)?;
    let mut exchange = Exchange { stream: stream.into(), ends };
    protocol::write(&mut exchange, request)?;
    protocol::read(BufReader::new(exchange))
}

fn left(ends: Instant) -> io::Result<Duration> {
    let left = ends.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

struct Exchange {
    stream: UnixStream,
    ends: Instant,
}

impl Read for Exchange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.ends)?))?;
        self.stream.read(buffer)
    }
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.ends)?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::thread;

    use tempfile::TempDir;

    use super::*;
    use crate::protocol::Verb;

    const SHORT: Duration = Duration::from_millis(50);
    const DEADLINE: Duration = Duration::from_secs(60);

    fn agent() -> (TempDir, PathBuf, UnixListener) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        (folder, path, listener)
    }

    fn assert_late(path: &Path) {
        let error = ask(path, &PluginRequest::of(Verb::Displaced), SHORT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        assert!(error.to_string().contains("did not answer within"), "{error}");
    }

    #[test]
    fn agent_that_does_not_accept_is_left_in_time() {
        let (_folder, path, listener) = agent();
        rustix::net::listen(&listener, 0).unwrap();
        let _first = UnixStream::connect(&path).unwrap();
        assert_late(&path);
    }

    #[test]
    fn nothing_stays_connected_to_an_agent_that_hangs() {
        let (_folder, path, listener) = agent();
        let reading = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            let mut seen = Vec::new();
            stream.read_to_end(&mut seen).unwrap();
            seen
        });
        assert_late(&path);
        assert!(reading.join().unwrap().ends_with(b"\n"));
    }

    #[test]
    fn agent_that_answers_byte_by_byte_is_left_in_time() {
        let (_folder, path, listener) = agent();
        let dripping = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while stream.write_all(b" ").is_ok() {
                thread::sleep(SHORT / 10);
            }
        });
        assert_late(&path);
        dripping.join().unwrap();
    }
}
