//! How a dead connection is noticed.

use std::time::Duration;

use clap::Args;

/// Pings of HTTP/2. A network that is split says nothing: without them, watches on a dead connection would wait until
/// they should have ended, five minutes, and requests for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pings {
    /// Between two pings, also while nothing is asked.
    pub interval: Duration,
    /// Without an answer for so long, the connection is dead.
    pub timeout: Duration,
}

impl Pings {
    /// Of the controller: one in the cluster, and its lease is to be renewed on another connection before it is lost.
    pub const CONTROLLER: Self = Self { interval: Duration::from_secs(4), timeout: Duration::from_secs(4) };
}

/// Pings of an agent: 5,000 of them cost the API server 170 a second.
impl Default for Pings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(30), timeout: Duration::from_secs(10) }
    }
}

/// How a command line says it: for tests, which have no 40 seconds.
#[derive(Args, Clone, Copy, Debug)]
pub struct PingFlags {
    /// Seconds between two pings of the connection to the API server
    #[arg(long, hide = true, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    api_ping_interval: u64,
    /// Seconds after which a connection that does not answer a ping is dead
    #[arg(long, hide = true, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    api_ping_timeout: u64,
}

impl From<PingFlags> for Pings {
    fn from(flags: PingFlags) -> Self {
        Self {
            interval: Duration::from_secs(flags.api_ping_interval),
            timeout: Duration::from_secs(flags.api_ping_timeout),
        }
    }
}
