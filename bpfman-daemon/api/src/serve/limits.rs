//! What callers may hold of the daemon's memory, and for how long.

use std::time::Duration;

/// Bytecode never travels in a request: its path or reference does.
pub use bpfman_proto::LARGEST_REQUEST;

/// Most connections of all users together that no grant names. Each of the following limits includes those before it.
pub const CONNECTIONS_WITHOUT_GRANT: usize = 128;
/// Most connections of all users together but root and those who speak for applications: half of all.
pub const CONNECTIONS_OF_OTHERS: usize = 256;
/// Most connections of all users but root together; root has all that are left.
pub const CONNECTIONS_BESIDES_ROOT: usize = 448;
/// Most connections of one user who is not root, those of its subordinate users included.
pub const CONNECTIONS_OF_A_USER: usize = 64;
/// Most connections.
pub const CONNECTIONS: usize = 512;

/// Most requests in progress on one connection. A client that has more waits until one ends.
pub const STREAMS: u32 = 32;
/// Bytes that a client may send on a stream, and on a connection, before the daemon reads them. The smallest window of
/// a connection that HTTP/2 knows is 65,535.
pub const STREAM_WINDOW: u32 = 32 << 10;
/// See [`STREAM_WINDOW`].
pub const CONNECTION_WINDOW: u32 = 64 << 10;
/// Bytes of a request's headers; those of gRPC are some hundred.
pub const HEADERS: u32 = 8 << 10;
/// Bytes of an answer that wait for a client which reads slowly are handed over in pieces of this size, and only when
/// there is room for one.
pub const PIECE: usize = 16 << 10;
/// Bytes that HTTP/2 keeps of a stream whose client does not read.
pub const SEND_BUFFER: usize = 32 << 10;

/// A request of so many bytes needs no room: as many as there can be at a time hold little.
pub const SMALL_REQUEST: usize = 4 << 10;
/// Bytes of larger requests that one user may hold at a time. Further ones wait.
pub const REQUESTS_OF_A_USER: usize = 8 << 20;
/// Bytes of larger requests that all users together may hold at a time.
pub const REQUESTS: usize = 32 << 20;
/// Bytes of answers that wait for one user to read them: while there are more, further requests of this user wait.
pub const ANSWERS_OF_A_USER: usize = 16 << 20;

/// How long a request may take to arrive whole.
pub const ARRIVAL: Duration = Duration::from_secs(10);
/// How long a client that reads nothing of what waits for it stays connected.
pub const STALL: Duration = Duration::from_secs(60);
/// A client is asked so often whether it is still there.
pub const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long it may take to answer that.
pub const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);
