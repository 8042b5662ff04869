//! Commands that run to completion.

use std::process::Command;

use crate::wait::within;

#[derive(Clone, Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
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

    pub fn success(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }

    #[must_use]
    pub fn json(self) -> serde_json::Value {
        let text = self.success();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub fn fails(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        for text in says {
            assert!(self.stderr.contains(text), "standard error lacks {text:?}: {}", self.stderr);
        }
    }
}

pub fn run(words: &[&str]) -> String {
    let outcome = Outcome::of(Command::new(words[0]).args(&words[1..]));
    assert_eq!(outcome.code, 0, "{}: {}{}", words.join(" "), outcome.stdout, outcome.stderr);
    outcome.stdout
}
