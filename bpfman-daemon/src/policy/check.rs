//! `bpfmand policy check` and `show`, which `bpfman policy` runs: the code that will read the policy reports its
//! mistakes. The client links neither the library of signatures nor the rules for grants.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bpfmand_image::{LegacySigning, Policy};
use clap::Parser;
use serde::Serialize;

use super::file::{FileStamp, MAX_ROOT_FILE, others_can_change, read_bounded};
use super::last_good::LastGoodCopy;
use super::summary::PolicySummary;
use super::texts::{ParsedPolicy, PolicyMistake, PolicyTexts};
use crate::config::{POLICY, STATE};

pub const COMMAND: &str = "policy";

const DENIED: u8 = 4;
const NOT_FOUND: u8 = 5;
const INVALID: u8 = 6;

/// Shows every mistake of a policy file, or what it allows; or the policy in force.
#[derive(Debug, Parser)]
#[command(name = "bpfmand policy")]
struct PolicyArguments {
    /// "check", or "show", which shows the last good policy where the file has mistakes.
    action: PolicyAction,
    /// The file: a draft, which need not be root's yet [default: the daemon's]
    file: Option<PathBuf>,
    /// The policy of the daemon.
    #[arg(long, env = "BPFMAN_POLICY", value_name = "FILE", default_value = POLICY)]
    policy: PathBuf,
    /// The daemon's state folder.
    #[arg(long, env = "BPFMAN_STATE_DIR", value_name = "DIR", default_value = STATE)]
    state_dir: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PolicyAction {
    Check,
    Show,
}

#[derive(Debug, Serialize)]
struct CheckedPolicy {
    file: String,
    mistakes: Vec<PolicyMistake>,
    notes: Vec<String>,
    policy: Option<PolicySummary>,
}

pub fn run() -> ExitCode {
    let arguments = PolicyArguments::parse_from(std::env::args_os().skip(1));
    let file = arguments.file.as_deref().unwrap_or(&arguments.policy);
    let is_installed = arguments.file.is_none()
        || FileStamp::of(file).is_some_and(|stamp| Some(stamp) == FileStamp::of(&arguments.policy));
    let checked = check(file, is_installed).and_then(|checked| match arguments.action {
        PolicyAction::Check => Ok(checked),
        PolicyAction::Show => in_force(checked, file, &LastGoodCopy::new(&arguments.state_dir)),
    });
    let checked = match checked {
        Ok(checked) => checked,
        Err(error) => {
            eprintln!("bpfmand: error: {}: {error}", file.display());
            return ExitCode::from(match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                io::ErrorKind::PermissionDenied => DENIED,
                _ => INVALID,
            });
        }
    };
    match serde_json::to_string(&checked) {
        Ok(json) if arguments.json => println!("{json}"),
        Ok(_) => print_lines(file, &checked),
        Err(error) => {
            eprintln!("bpfmand: error: {error}");
            return ExitCode::FAILURE;
        }
    }
    if checked.mistakes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(INVALID) }
}

/// Returns the policy that is in force while the file has mistakes: the daemon's copy of the last one that had none.
fn in_force(checked: CheckedPolicy, file: &Path, copy: &LastGoodCopy) -> io::Result<CheckedPolicy> {
    if checked.mistakes.is_empty() {
        return Ok(checked);
    }
    let good = copy.read(file)?;
    let accepted = good.as_ref().map(|good| good.accepted.clone());
    let policy = good.and_then(|good| ParsedPolicy::parse_again(&good.texts).ok()).map(summary);
    let basis = match accepted.filter(|_| policy.is_some()) {
        Some(time) => format!("the policy that was accepted at {time} is in force"),
        None => "no earlier policy is known: only root and the node agent may do anything".to_owned(),
    };
    let mistakes = checked.mistakes.len();
    let note = format!("the file has mistakes ({mistakes}), which `bpfman policy check` shows; {basis}");
    Ok(CheckedPolicy { file: checked.file, mistakes: Vec::new(), notes: vec![note], policy })
}

fn print_lines(file: &Path, checked: &CheckedPolicy) {
    checked.mistakes.iter().for_each(|mistake| println!("{}", mistake.at(file)));
    checked.notes.iter().for_each(|note| println!("note: {note}"));
}

/// Checks a file. The daemon's policy and the files that it names must be root's; for a draft this is only a note.
fn check(file: &Path, is_installed: bool) -> io::Result<CheckedPolicy> {
    let mut whole = CheckedPolicy {
        file: file.display().to_string(),
        mistakes: Vec::new(),
        notes: Vec::new(),
        policy: None,
    };
    let (text, metadata) = match read_bounded(file, MAX_ROOT_FILE) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_installed => {
            whole.notes.push("there is no such file: the default policy is in force".to_owned());
            whole.policy = Some(summary(ParsedPolicy::default()));
            return Ok(whole);
        }
        Err(error) => return Err(error),
    };
    let mut notes = Vec::new();
    match others_can_change(file, &metadata) {
        Some(why) if is_installed => whole.mistakes.push(PolicyMistake::of_file(why)),
        Some(why) => notes.push(format!("the daemon will not read it as it is: {why}")),
        None => {}
    }
    let mut kept = PolicyTexts::default();
    let mut read = |path: &Path| {
        let (text, metadata) = read_bounded(path, MAX_ROOT_FILE)?;
        kept.keep(path, &text)?;
        match others_can_change(path, &metadata) {
            Some(why) if is_installed => Err(io::Error::new(io::ErrorKind::PermissionDenied, why)),
            Some(why) => {
                notes.push(format!("the daemon will not read it as it is: {why}"));
                Ok(text)
            }
            None => Ok(text),
        }
    };
    match ParsedPolicy::parse(&text, &mut read) {
        Ok(parsed) => whole.policy = Some(summary(parsed)),
        Err(mistakes) => whole.mistakes.extend(mistakes),
    }
    if !whole.mistakes.is_empty() {
        whole.policy = None;
    }
    notes.dedup();
    whole.notes = notes;
    Ok(whole)
}

fn summary(parsed: ParsedPolicy) -> PolicySummary {
    PolicySummary::of(&Policy::resolve(parsed.images, LegacySigning::default()), &parsed.access)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn draft_gets_the_mistakes_of_an_installed_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        fs::write(&file, "mode = \"warn\"\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        let draft = check(&file, false).unwrap();
        assert!(draft.mistakes.is_empty() && draft.notes.len() == 1 && draft.policy.is_some(), "{draft:?}");
        let installed = check(&file, true).unwrap();
        assert_eq!((installed.mistakes.len(), installed.policy.is_some()), (1, false), "{installed:?}");
    }

    #[test]
    fn each_mistake_has_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        let text = "mode = \"of\"\n[[grants]]\nname = \"x\"\nusers = [\"nobody-of-this-name\"]\nallow = [\"fly\"]\n\
                    [[images]]\npattern = \"quay.io\"\nkeys = [\"/none.pub\"]\n";
        fs::write(&file, text).unwrap();
        let checked = check(&file, false).unwrap();
        let lines: Vec<usize> = checked.mistakes.iter().filter_map(|mistake| mistake.line).collect();
        assert_eq!(lines, [1, 4, 5, 7, 8], "{checked:?}");
        let first = checked.mistakes[0].at(&file);
        assert!(first.starts_with(&format!("{}:1: ", file.display())), "{first}");
    }

    #[test]
    fn missing_draft_is_an_error_and_missing_policy_the_default() {
        let none = Path::new("/nonexistent/policy.toml");
        assert_eq!(check(none, false).unwrap_err().kind(), io::ErrorKind::NotFound);
        let default = check(none, true).unwrap();
        assert!(default.mistakes.is_empty() && default.policy.is_some(), "{default:?}");
    }
}
