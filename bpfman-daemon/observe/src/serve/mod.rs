//! Server of metrics: on a unix socket, and optionally by TCP.
//!
//! A client costs little, however often and slowly it reads: one collection runs at a time, its text is shared for a
//! second, a connection answers one request and ends after some seconds, and the number of connections is limited.

mod answer;
mod certificate;
mod places;
mod scrapes;
mod tcp;
mod unix;

use std::time::Duration;

pub use certificate::{StartTls, TlsFileError, TlsFiles, TlsIdentity};
pub use scrapes::Scrapes;
pub use tcp::{TcpReaders, serve_tcp};
pub use unix::{ReadPermission, serve_unix};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(50);
