//! Addresses of a console: only those that other machines cannot reach.

use std::net::{IpAddr, SocketAddr};

/// Error of an address at which a console cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoopbackError {
    #[error("write ADDRESS:PORT, for example 127.0.0.1:8090")]
    NoAddress,
    #[error(
        "{0} is not an address of the loopback interface; the console is for this machine only. From another one: `ssh -L \
         8090:127.0.0.1:8090 MACHINE`"
    )]
    Reachable(IpAddr),
}

/// Parses an address of this machine's loopback interface, with a port.
pub fn loopback(text: &str) -> Result<SocketAddr, LoopbackError> {
    let address: SocketAddr = text.parse().map_err(|_| LoopbackError::NoAddress)?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(LoopbackError::Reachable(address.ip())),
    }
}
