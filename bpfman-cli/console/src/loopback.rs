//! Where a console may be served: on addresses that no other machine reaches.

use std::net::{IpAddr, SocketAddr};

/// An address that a console is not served at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoopbackError {
    /// It is no address with a port.
    #[error("write ADDRESS:PORT, for example 127.0.0.1:8090")]
    NoAddress,
    /// Other machines reach it.
    #[error(
        "{0} is not an address of the loopback interface; the console is for this machine only. From another one: `ssh -L \
         8090:127.0.0.1:8090 MACHINE`"
    )]
    Reachable(IpAddr),
}

/// Reads an address of this machine's loopback interface, with a port.
///
/// # Errors
/// See [`LoopbackError`].
pub fn loopback(text: &str) -> Result<SocketAddr, LoopbackError> {
    let address: SocketAddr = text.parse().map_err(|_| LoopbackError::NoAddress)?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(LoopbackError::Reachable(address.ip())),
    }
}
