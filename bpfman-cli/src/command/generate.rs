//! Manual pages and completions, generated from the definition of the command line.

use std::fs;
use std::path::Path;

use clap::{Command, ValueEnum};
use clap_complete::{Generator as _, Shell};

use crate::args::definition;
use crate::error::CliError;
use crate::show;

/// Writes one page per command: `bpfman.1`, `bpfman-load.1`, `bpfman-load-file.1`, and so on.
pub fn man(folder: &Path) -> Result<(), CliError> {
    make(folder)?;
    clap_mangen::generate_to(without_help(definition()), folder)
        .map_err(|source| CliError::File { path: folder.to_path_buf(), source })
}

/// Hides the subcommands `help`, whose pages would repeat those of all commands.
fn without_help(command: Command) -> Command {
    if command.get_name() == "help" { command.hide(true) } else { command.mut_subcommands(without_help) }
}

pub fn completion(shell: Shell) -> Result<(), CliError> {
    show::write(&script(shell))
}

/// Returns a shell's completions, with those of live objects.
fn script(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut definition(), "bpfman", &mut text);
    let mut text = String::from_utf8_lossy(&text).into_owned();
    // When zsh autoloads the file, clap's last lines complete at once, before the appended live completions.
    if let Some(end) = text.find("\nif [ \"$funcstack[1]\"").filter(|_| shell == Shell::Zsh) {
        text.truncate(end);
    }
    text + live(shell)
}

/// Returns the part of a shell's completions that calls `bpfman complete` for live objects first. Elvish and PowerShell
/// have none.
const fn live(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("live_completion.bash"),
        Shell::Zsh => include_str!("live_completion.zsh"),
        Shell::Fish => "complete -c bpfman -f -a '(bpfman complete (commandline -cp) 2>/dev/null)'\n",
        _ => "",
    }
}

pub fn completions(folder: &Path, shell: Option<Shell>) -> Result<(), CliError> {
    make(folder)?;
    let shells = shell.map_or_else(|| Shell::value_variants().to_vec(), |one| vec![one]);
    for shell in shells {
        let path = folder.join(shell.file_name("bpfman"));
        fs::write(&path, script(shell)).map_err(|source| CliError::File { path, source })?;
    }
    Ok(())
}

fn make(folder: &Path) -> Result<(), CliError> {
    fs::create_dir_all(folder).map_err(|source| CliError::File { path: folder.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(folder: &Path) -> BTreeSet<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn every_shell_has_completions_that_know_the_commands() {
        let folder = tempfile::tempdir().unwrap();
        completions(&folder.path().join("new"), None).unwrap();
        let written = names(&folder.path().join("new"));
        assert_eq!(written.len(), Shell::value_variants().len(), "{written:?}");
        for name in &written {
            let text = fs::read_to_string(folder.path().join("new").join(name)).unwrap();
            for word in ["unload", "generate-build-args", "map-owner-id"] {
                assert!(text.contains(word), "{name} lacks {word}");
            }
        }
    }

    #[test]
    fn one_shell_alone() {
        let folder = tempfile::tempdir().unwrap();
        completions(folder.path(), Some(Shell::Bash)).unwrap();
        assert_eq!(names(folder.path()), BTreeSet::from(["bpfman.bash".to_owned()]));
    }

    #[test]
    fn every_visible_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        man(folder.path()).unwrap();
        let written = names(folder.path());
        let mut expected = BTreeSet::new();
        let mut open = vec![("bpfman".to_owned(), definition())];
        while let Some((name, command)) = open.pop() {
            expected.insert(format!("{name}.1"));
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
            {
                open.push((format!("{name}-{}", sub.get_name()), sub.clone()));
            }
        }
        assert_eq!(written, expected);
        let page = fs::read_to_string(folder.path().join("bpfman.1")).unwrap();
        assert!(page.contains("Exit codes"), "{page}");
    }
}
