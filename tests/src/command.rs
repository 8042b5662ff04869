//! Commands that run to their end.

use std::process::Command;

use crate::wait::within;

/// How a command ended, and what it wrote.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Runs a command to its end.
    ///
    /// # Panics
    /// It cannot be started, or does not end.
    #[must_use]
    pub fn of(command: &mut Command) -> Self {
        let what = format!("{command:?} to end");
        let output = within(&what, || command.output())
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output of a command that succeeded.
    ///
    /// # Panics
    /// It failed.
    pub fn success(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }

    /// Standard output of a command that succeeded, as JSON.
    ///
    /// # Panics
    /// It failed, or did not write JSON.
    #[must_use]
    pub fn json(self) -> serde_json::Value {
        let text = self.success();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Asserts that the command failed with a code, and said each of these things on standard error.
    ///
    /// # Panics
    /// It did not.
    pub fn fails(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        for text in says {
            assert!(self.stderr.contains(text), "standard error lacks {text:?}: {}", self.stderr);
        }
    }
}

/// Runs a command of words that has to succeed, and gives back what it wrote.
///
/// # Panics
/// It failed.
pub fn run(words: &[&str]) -> String {
    let outcome = Outcome::of(Command::new(words[0]).args(&words[1..]));
    assert_eq!(outcome.code, 0, "{}: {}{}", words.join(" "), outcome.stdout, outcome.stderr);
    outcome.stdout
}
