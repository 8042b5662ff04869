//! The web console: pages without a build step, and the small HTTP server that shows them.
//!
//! The pages (`page/`) are the same for one machine and for a fleet; what is behind them is a [`ConsoleSource`]. On a
//! user's own machine [`LocalConsole`] serves them on loopback, to one browser: a token of one use becomes a session.
//! Other processes of the machine, other users of it and other sites in the same browser get nothing.

mod answer;
mod assets;
mod browser;
mod guard;
mod local;
mod loopback;
mod patience;
mod request;
mod serve;
mod session;
mod stream;
mod users;

pub use answer::{ConsoleAnswer, ConsoleRefusal, with_headers};
pub use assets::{Asset, PAGES, page};
pub use browser::open_browser;
pub use local::{ConsoleNotice, LocalConsole};
pub use loopback::{LoopbackError, loopback};
pub use request::ConsoleRequest;
pub use serve::{ConsoleHandler, serve};
pub use stream::{EventSender, PageGone, StreamPlaces};

/// What stands behind the pages: it answers what is asked below `/api/`.
pub trait ConsoleSource: Send + Sync + 'static {
    /// Answers a request of a page that has a session.
    fn answer(&self, request: ConsoleRequest) -> impl Future<Output = ConsoleAnswer> + Send;
}
