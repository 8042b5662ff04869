//! Requests to the agent.

use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::protocol::{self, PluginAnswer, PluginRequest, VERSION};

/// Sends a request and waits for the answer, at most for the timeout.
pub fn ask(socket: &Path, request: &PluginRequest, timeout: Duration) -> io::Result<PluginAnswer> {
    let (sender, receiver) = mpsc::channel();
    let (path, request) = (socket.to_owned(), request.clone());
    // Connecting to a unix socket has no timeout, and an agent that hangs stops accepting.
    thread::spawn(move || {
        // After the timeout there is no receiver.
        let _late = sender.send(exchange(&path, &request));
    });
    let answer = receiver.recv_timeout(timeout).unwrap_or_else(|_| {
        let why = format!("it did not answer within {} s", timeout.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    })?;
    if answer.version != VERSION {
        let why = format!("it speaks version {}, and this plugin {VERSION}", answer.version);
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(answer)
}

fn exchange(socket: &Path, request: &PluginRequest) -> io::Result<PluginAnswer> {
    let stream = UnixStream::connect(socket)?;
    protocol::write(&stream, request)?;
    protocol::read(BufReader::new(&stream))
}
