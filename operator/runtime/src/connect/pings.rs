use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::{Args, value_parser};

/// Pings of HTTP/2. A network partition closes no connection: without pings, watches on a dead connection would wait
/// for their timeout of five minutes, and requests forever.
///
/// 5,000 agents with [`Self::AGENT`] send the API server 170 pings a second. The flags are for tests, which
/// cannot wait 40 seconds.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pings {
    /// Seconds between two pings of the connection to the API server, also on an idle connection
    #[arg(long = "api-ping-interval", hide = true, default_value = "30", value_parser = seconds())]
    pub interval: Duration,
    /// Seconds after which a connection that does not answer a ping is dead
    #[arg(long = "api-ping-timeout", hide = true, default_value = "10", value_parser = seconds())]
    pub timeout: Duration,
}

impl Pings {
    /// Default of an agent.
    pub const AGENT: Self = Self { interval: Duration::from_secs(30), timeout: Duration::from_secs(10) };
    /// Setting of the controller, which must renew its lease on another connection in time.
    pub const CONTROLLER: Self = Self { interval: Duration::from_secs(4), timeout: Duration::from_secs(4) };
}

fn seconds() -> impl TypedValueParser<Value = Duration> {
    value_parser!(u64).range(1..=3600).map(Duration::from_secs)
}
