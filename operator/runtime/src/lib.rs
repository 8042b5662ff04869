//! Infrastructure that agent, controller, admission and client share.
//!
//! - [`connect`]: the connection to the API server; [`manager`]: the name under which each process writes;
//!   [`requests`]: counters of requests; [`object`] and [`patch`]: reading and writing objects.
//! - [`watch`]: watches that restart forever; [`listing`]: their objects; [`watch_backoff`]: a pause after watches
//!   that the server ends early; [`mod@reading`]: requests beside watches; [`watch_failures`]: current failures
//!   of watches; [`outage`]: one log entry for all of them.
//! - [`queue`]: keys to work on and their times; [`backoff`]: delays before a retry.
//! - [`metrics`] and [`serve`]: metrics and health probes over HTTP; [`scrape`]: metrics over TLS with authorization
//!   by the API server; [`tls`] and [`certificate`]: TLS; [`connections`]: limits on connections.
//! - [`note`]: rate-limited events for people; [`sentence`]: lists of names in messages.
//!
//! This crate knows nodes and pods ([`wire`]), but no custom resources, which are in `bpfman-application`.

pub mod backoff;
pub mod certificate;
pub mod connect;
pub mod connections;
pub mod listing;
pub mod manager;
pub mod metrics;
pub mod note;
pub mod object;
pub mod outage;
pub mod patch;
pub mod queue;
pub mod reading;
pub mod requests;
pub mod scrape;
pub mod sentence;
pub mod serve;
pub mod tls;
pub mod watch;
pub mod watch_backoff;
pub mod watch_failures;
pub mod wire;
