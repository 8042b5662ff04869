//! Requests of the daemon to the starter of its worker processes, on a socket of packets.
//!
//! The starter first sends [`VERSION`]. A request is one byte with descriptors. The first one becomes the
//! process's standard input. The process is killed when the other end of the second one is closed.

/// Name and version of the starter's program, which must be the daemon's.
pub const VERSION: &str = concat!("bpfman-worker ", env!("CARGO_PKG_VERSION"));
/// Maximum length of the first message, in bytes.
pub const MAX_VERSION: usize = 128;

/// Requests a process that connects to registries.
pub const FETCHER: u8 = b'f';
/// Requests a process that parses fetched content.
pub const VERIFIER: u8 = b'v';
/// Requests a process that parses object files. A third descriptor may be the index of the kernel's types, sealed.
pub const READER: u8 = b'r';
/// Requests a process that speaks TLS. The third descriptor, if any, is the connection of the client.
pub const TLS: u8 = b't';
