//! Metrics of a daemon, read from its socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::Daemon;
use crate::wait::DEADLINE;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scraped {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Scraped {
    #[must_use]
    pub fn parse(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a head has a status");
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }
}

impl Daemon {
    #[must_use]
    pub fn metrics_socket(&self) -> PathBuf {
        self.socket().with_file_name("metrics.sock")
    }

    #[must_use]
    pub fn ask_metrics(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.metrics_socket()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // The daemon may answer and close the connection before it has read the whole request.
        let _closed = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[must_use]
    pub fn request_metrics(&self, method: &str, path: &str) -> Scraped {
        Scraped::parse(&self.ask_metrics(&format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")))
    }

    #[must_use]
    pub fn metrics(&self) -> String {
        let scraped = self.request_metrics("GET", "/metrics");
        assert_eq!(scraped.status, 200, "{scraped:?}");
        scraped.body
    }
}

#[must_use]
pub fn value_of(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}
