//! Rules that stay what a file says: applied, and applied again when the file has changed.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::failure::{self, Failure};

/// Whether to stay.
#[derive(Args, Clone, Copy, Debug)]
pub struct Keeping {
    /// Stay until ended: look at the file so often, and apply it again when it has changed
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    every: Option<u64>,
}

impl Keeping {
    /// Applies the file, once or for ever. Once it was applied, a file that is wrong or missing is told on standard error, and
    /// the rules before stay.
    ///
    /// # Errors
    /// The first time fails; or a file is to be looked at that is standard input.
    pub fn apply(self, file: &str, mut apply: impl FnMut() -> Result<()>) -> Result<()> {
        let Some(seconds) = self.every else { return apply() };
        if file == "-" {
            let hint = "name a file, or leave out --every";
            return Err(Failure::invalid("standard input cannot be looked at again", hint).into());
        }
        let content = || std::fs::read(file).ok();
        let mut applied = content();
        apply()?;
        let mut told = None;
        loop {
            sleep(Duration::from_secs(seconds));
            let now = content();
            if now == applied {
                told = None;
                continue;
            }
            match apply() {
                Ok(()) => (applied, told) = (now, None),
                Err(error) => {
                    let text = format!("{error:#}; the rules before stay in force");
                    if told.as_ref() != Some(&text) {
                        failure::warn(&error, &text);
                    }
                    told = Some(text);
                }
            }
        }
    }
}
