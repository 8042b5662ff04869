//! Where the console is.

use serde::Serialize;

use super::CommandOutput;
use super::screen::Screen;

/// What `console` says.
#[derive(Clone, Debug, Serialize)]
pub struct ConsoleAddress {
    /// The address with its token, which works once.
    pub url: String,
}

impl CommandOutput for ConsoleAddress {
    fn table(&self, _: Screen) -> String {
        format!("{}\n", self.url)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.url.clone()]
    }
}
