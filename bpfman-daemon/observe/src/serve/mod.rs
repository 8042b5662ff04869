//! Answers readers of metrics: on a unix socket, and by TCP, where root wants that.
//!
//! A reader costs little, however often and however slowly it reads: one gathering runs at a time, its text is shared by all
//! who ask within a second, a connection answers one request and ends after some seconds, and there are few of them.

mod answer;
mod certificate;
mod places;
mod scrapes;
mod tcp;
mod unix;

use std::time::Duration;

pub use certificate::{TlsFileError, TlsFiles, TlsIdentity};
pub use scrapes::Scrapes;
pub use tcp::{TcpReaders, serve_tcp};
pub use unix::{MayRead, serve_unix};

/// How long one connection may last: the greeting, a request, a gathering, and the answer on its way.
const PATIENCE: Duration = Duration::from_secs(10);

/// After the system has refused to accept a connection.
const PAUSE: Duration = Duration::from_millis(50);
