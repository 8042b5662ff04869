//! What agent, controller, admission and client have in common beside their own work.
//!
//! - [`connect`]: the one connection to the API server; [`manager`]: under which name each process writes there;
//!   [`requests`]: what goes over the connection, counted; [`object`] and [`patch`]: reading and writing objects.
//! - [`watch`]: a watch that never ends; [`listing`]: the objects that it says; [`watch_backoff`]: a server that ends watches early is left in peace;
//!   [`mod@reading`]: requests beside watches;
//!   [`troubles`]: why watches fail now; [`outage`]: one warning for all of them.
//! - [`queue`]: which keys to work on, and when; [`backoff`]: how long to wait before the next try.
//! - [`metrics`] and [`serve`]: figures and health probes, over HTTP; [`scrape`]: figures over TLS, for whom the API server
//!   lets read them; [`tls`] and [`certificate`]: connections, and with which certificate; [`connections`]: how many, and
//!   how long one may do nothing.
//! - [`note`]: what is told to people as events, and not too often.
//! - [`sentence`]: lists of names in messages.
//!
//! It knows nodes and pods ([`wire`]), and no kind of object of ours: those are in `bpfman-application`.

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
pub mod troubles;
pub mod watch;
pub mod watch_backoff;
pub mod wire;
