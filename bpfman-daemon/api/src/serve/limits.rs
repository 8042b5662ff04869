//! Limits of the memory that callers may occupy, and for how long.

use std::time::Duration;

/// Maximum size of a request, in bytes. Requests contain the path or reference of bytecode, never the bytecode.
pub use bpfman_proto::MAX_REQUEST;

/// Maximum number of connections of all users without a grant. They count for the larger limits, too.
pub const CONNECTIONS_WITHOUT_GRANT: usize = 128;
/// Maximum number of connections of all users except root; root has all that are left.
pub const CONNECTIONS_BESIDES_ROOT: usize = 448;
/// Maximum number of connections of one user other than root, including those of its subordinate users.
pub const CONNECTIONS_OF_A_USER: usize = 64;
pub const CONNECTIONS: usize = 512;
/// Maximum number of one user's connections without a place that wait at a time: their processes are identified, because
/// a grant may have a place for them.
pub const CANDIDATES_OF_A_USER: usize = 32;
/// Maximum number of such connections of all users.
pub const CANDIDATES: usize = 192;
/// Maximum number of threads that identify processes.
pub const IDENTIFYING: usize = 4;

/// Maximum number of requests in progress on one connection. Further ones wait until one ends.
pub const STREAMS: u32 = 32;
/// Maximum number of bytes that a client may send on a stream before the daemon reads them.
pub const STREAM_WINDOW: u32 = 32 << 10;
/// Maximum number of unread bytes of a client on a connection. HTTP/2 allows no window below 65,535.
pub const CONNECTION_WINDOW: u32 = 64 << 10;
/// Maximum size of a request's headers, in bytes; those of gRPC are some hundred.
pub const HEADERS: u32 = 8 << 10;
/// Size of the pieces of an answer, in bytes. A piece is handed over only when there is room for it.
pub const PIECE: usize = 16 << 10;
/// Bytes of a stream that HTTP/2 buffers while the client does not read.
pub const SEND_BUFFER: usize = 32 << 10;

/// Size up to which a request needs no reserved memory, in bytes: all concurrent ones together are small.
pub const SMALL_REQUEST: usize = 4 << 10;
/// Maximum size of one user's larger requests at a time, in bytes. Further ones wait.
pub const REQUESTS_OF_A_USER: usize = 8 << 20;
pub const REQUESTS: usize = 32 << 20;
/// Bytes of unread answers of one user above which its further requests wait.
pub const ANSWERS_OF_A_USER: usize = 16 << 20;

pub const ARRIVAL: Duration = Duration::from_secs(10);
/// Time after which a client that reads nothing of its answers is disconnected.
pub const STALL: Duration = Duration::from_secs(60);
pub const KEEPALIVE: Duration = Duration::from_secs(60);
pub const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);
