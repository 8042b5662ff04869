//! Web console: pages without a build step, and the small HTTP server for them.
//!
//! The pages (`page/`) are the same for one machine and for a fleet; a [`ConsoleSource`] provides the data. On a user's
//! own machine, [`LocalConsole`] serves one browser on loopback: a one-time token becomes a session. Other processes
//! and users of the machine, and other sites in the same browser, have no access.

mod answer;
mod assets;
mod browser;
mod guard;
mod local;
mod loopback;
mod request;
mod serve;
mod session;
mod stream;
mod users;
mod write_timeout;

pub use answer::{ConsoleAnswer, ConsoleRefusal, with_headers};
pub use assets::{Asset, PAGES, page};
pub use browser::open_browser;
pub use local::{ConsoleNotice, LocalConsole};
pub use loopback::{LoopbackError, loopback};
pub use request::ConsoleRequest;
pub use serve::{ConsoleHandler, serve};
pub use stream::{EventSender, PageClosed, StreamPlaces};

/// Source of the pages' data: answers requests below `/api/`.
pub trait ConsoleSource: Send + Sync + 'static {
    /// Answers a request of a page that has a session.
    fn answer(&self, request: ConsoleRequest) -> impl Future<Output = ConsoleAnswer> + Send;
}
