//! TCP connections within one network namespace.

use crate::wait::within;
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};

use crate::wait::DEADLINE;

/// Both ends of one.
#[derive(Debug)]
pub struct Ends {
    /// Who connected.
    pub client: TcpStream,
    /// Who accepted.
    pub server: TcpStream,
}

impl Ends {
    /// A connection to a listener of this thread's namespace.
    ///
    /// # Panics
    /// There is none to be had.
    #[must_use]
    pub fn of(listener: &TcpListener, address: SocketAddr) -> Self {
        Self::accepted(listener, TcpStream::connect(address).unwrap())
    }

    /// The same from an IPv4 address and port of the caller's choice.
    ///
    /// # Panics
    /// Somebody has it.
    #[must_use]
    pub fn from(own: SocketAddr, listener: &TcpListener) -> Self {
        let client = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseaddr(&client, true).unwrap();
        bind(&client, &own).unwrap();
        connect(&client, &listener.local_addr().unwrap()).unwrap();
        Self::accepted(listener, client.into())
    }

    /// What a listener accepts next is the other end of `client`.
    ///
    /// # Panics
    /// Nobody connects.
    #[must_use]
    pub fn accepted(listener: &TcpListener, client: TcpStream) -> Self {
        let (server, _) = within("a local connection to come", || listener.accept()).unwrap();
        for end in [&client, &server] {
            end.set_nodelay(true).unwrap();
        }
        Self { client, server }
    }
}

/// Reads so many bytes, or what there is before the end of the stream.
///
/// # Panics
/// They do not come by the deadline.
pub fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut got = 0;
    let end = Instant::now() + DEADLINE;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    while got < length {
        match stream.read(&mut bytes[got..]) {
            Ok(0) => break,
            Ok(read) => got += read,
            // Sockets of a map of sockets say so also when they only woke up for nothing.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < end => {}
            Err(error) => panic!("after {got} of {length} bytes: {error}"),
        }
    }
    bytes.truncate(got);
    bytes
}

/// Bytes that are no others at any place of a stream.
#[must_use]
pub fn pattern(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(|number| number.wrapping_mul(2_654_435_761).to_ne_bytes()).take(length).collect()
}
