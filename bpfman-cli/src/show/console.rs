//! Address of the console.

use serde::Serialize;

use super::CommandOutput;
use super::screen::Screen;

#[derive(Clone, Debug, Serialize)]
pub struct ConsoleAddress {
    /// Address with the one-time token.
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
