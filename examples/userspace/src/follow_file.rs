//! Rules that follow a file: applied, and applied again when the file changes.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::failure::{self, Failure};

/// Flags for following a file.
#[derive(Args, Clone, Copy, Debug)]
pub struct FollowFlags {
    /// Stay until ended: check the file at this interval, and apply it again when it has changed
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    every: Option<u64>,
}

impl FollowFlags {
    /// Applies the file, once or continuously. After the first success, errors are reported and the rules stay.
    pub fn apply(self, file: &str, mut apply: impl FnMut() -> Result<()>) -> Result<()> {
        let Some(seconds) = self.every else { return apply() };
        if file == "-" {
            let hint = "name a file, or leave out --every";
            return Err(Failure::invalid("standard input cannot be looked at again", hint).into());
        }
        let content = || std::fs::read(file).ok();
        let mut applied = content();
        while let Err(error) = apply() {
            // Retry even after a killed writer: in a pod, no container is left in which to run `unlock`.
            if !failure::is_conflict(&error) {
                return Err(error);
            }
            failure::warn(&error, &format!("{error:#}; trying again"));
            sleep(Duration::from_secs(seconds));
            applied = content();
        }
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    const HERE_AND_NOW: FollowFlags = FollowFlags { every: Some(0) };

    fn tried(contents: &[&str]) -> (Vec<String>, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rules").display().to_string();
        let write = |number: usize| contents.get(number).map(|text| fs::write(&file, text).unwrap());
        write(0);
        let mut tried: Vec<String> = Vec::new();
        // `apply` never returns after a success: a panic ends it when all contents were tried.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            HERE_AND_NOW.apply(&file, || {
                let text = fs::read_to_string(&file)?;
                if tried.last() != Some(&text) {
                    tried.push(text.clone());
                }
                assert!(write(tried.len()).is_some(), "all was tried");
                match text.as_str() {
                    "wrong" => Err(Failure::invalid("wrong", "").into()),
                    "busy" => Err(Failure::conflict("busy", "").into()),
                    _ => Ok(()),
                }
            })
        }));
        (tried, ended.ok().map(|ended| ended.unwrap_err().to_string()))
    }

    #[test]
    fn a_change_is_applied_and_a_wrong_one_ends_nothing() {
        let contents = ["one", "two", "wrong", "busy", "three"];
        assert_eq!(tried(&contents), (contents.map(str::to_owned).to_vec(), None));
    }

    #[test]
    fn the_first_time_waits_for_others_and_for_nothing_else() {
        assert_eq!(tried(&["busy", "one"]).0, ["busy", "one"]);
        assert_eq!(tried(&["wrong", "one"]), (vec!["wrong".to_owned()], Some("wrong".to_owned())));
    }

    #[test]
    fn standard_input_is_read_once() {
        let error = HERE_AND_NOW.apply("-", || Ok(())).unwrap_err();
        assert!(error.to_string().contains("cannot be looked at again"), "{error}");
        FollowFlags { every: None }.apply("-", || Ok(())).unwrap();
    }
}
