//! Check of a policy.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::CommandOutput;
use super::screen::Screen;

/// Result of `policy check`, as the daemon's program writes it.
#[derive(Debug, Serialize, Deserialize)]
pub struct CheckedPolicyFile {
    pub file: String,
    pub mistakes: Vec<FileMistake>,
    /// Remarks, such as the reason why the daemon would not read it where it is.
    pub notes: Vec<String>,
    /// Contents of the policy; null with mistakes.
    pub policy: Option<PolicyContents>,
}

/// Mistake in a policy.
#[derive(Debug, Serialize, Deserialize)]
pub struct FileMistake {
    /// Line from 1; null for a mistake of the file as a whole.
    pub line: Option<usize>,
    pub reason: String,
}

/// Summary of a policy.
#[derive(Debug, Serialize, Deserialize)]
pub struct PolicyContents {
    mode: String,
    images: Vec<ImageRule>,
    files: Vec<u32>,
    revoked: RevokedCounts,
    socket_group: String,
    grants: Vec<GrantContents>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ImageRule {
    pattern: String,
    needs: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct RevokedCounts {
    keys: usize,
    identities: usize,
    digests: usize,
    running: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct GrantContents {
    name: String,
    callers: Vec<String>,
    allow: Vec<String>,
    restrictions: Vec<String>,
}

/// Result of `policy allow`.
#[derive(Debug, Serialize)]
pub struct AddedPolicyLines {
    pub file: String,
    /// Number of the line, from 1, before which the lines are inserted; null for the end of the file.
    pub before: Option<usize>,
    pub lines: String,
    /// False for a dry run.
    pub written: bool,
    /// True if the user has seen the lines already.
    #[serde(skip)]
    pub is_shown: bool,
}

impl AddedPolicyLines {
    /// Returns the lines and their place.
    pub fn proposal(&self) -> String {
        let place =
            self.before.map_or_else(|| "at its end".to_owned(), |line| format!("in front of line {line}"));
        let mut text = format!("{}, {place}:\n\n", self.file);
        for line in self.lines.lines() {
            let _written = writeln!(text, "{}", format!("    {line}").trim_end());
        }
        text
    }
}

impl CommandOutput for AddedPolicyLines {
    fn table(&self, _screen: Screen) -> String {
        let proposal = if self.is_shown { String::new() } else { self.proposal() + "\n" };
        let result = match self.written {
            true => "written; a running daemon reads it at the next call",
            false => "not written: this was a dry run",
        };
        format!("{proposal}{result}\n")
    }
}

impl CheckedPolicyFile {
    fn places(&self) -> impl Iterator<Item = String> {
        self.mistakes.iter().map(|mistake| match mistake.line {
            Some(line) => format!("{}:{line}: {}", self.file, mistake.reason),
            None => format!("{}: {}", self.file, mistake.reason),
        })
    }
}

impl CommandOutput for CheckedPolicyFile {
    fn table(&self, _screen: Screen) -> String {
        let mut text: String = self.places().map(|place| place + "\n").collect();
        text.extend(self.notes.iter().map(|note| format!("note: {note}\n")));
        text + &self.policy.as_ref().map(PolicyContents::lines).unwrap_or_default()
    }

    fn ids(&self) -> Vec<String> {
        self.places().collect()
    }
}

impl PolicyContents {
    fn lines(&self) -> String {
        let Self { mode, images, files, revoked, socket_group, grants } = self;
        let mut text = format!("mode: {mode}\nimages: {}\n", images.len());
        for rule in images {
            let _written = writeln!(text, "  {}: {}", rule.pattern, rule.needs);
        }
        let users: Vec<String> = files.iter().map(ToString::to_string).collect();
        let users = if users.is_empty() { "none".to_owned() } else { users.join(", ") };
        let RevokedCounts { keys, identities, digests, running } = revoked;
        let _written = write!(
            text,
            "files: users {users}\nrevoked: {keys} keys, {identities} identities, {digests} digests; running: {running}\n\
             socket_group: {socket_group}\ngrants: {}\n",
            grants.len()
        );
        for GrantContents { name, callers, allow, restrictions } in grants {
            let _written = writeln!(text, "  {name}: {}: {}", callers.join(", "), allow.join(", "));
            restrictions.iter().for_each(|one| {
                let _written = writeln!(text, "    {one}");
            });
        }
        text
    }
}
