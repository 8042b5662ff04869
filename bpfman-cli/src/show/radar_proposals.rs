//! Proposals beside third-party programs: how `bpfman run-as` would run their loaders.

use std::collections::BTreeSet;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::printable::shell_word;

/// Returns a command for each loader that was seen, or else for each process that holds a program.
pub fn proposals(programs: &[ext::StrangeProgram]) -> Vec<String> {
    let mut lines = BTreeSet::new();
    for program in programs.iter().filter(|program| program.session.is_empty()) {
        match &program.loaded_by {
            // Sessions do not support containers.
            Some(loader) if !loader.container.is_empty() || !loader.pod.is_empty() => {}
            Some(loader) => {
                let command = if loader.executable.is_empty() { &loader.command } else { &loader.executable };
                lines.extend(line(&loader.unit, command));
            }
            // Skip process 1: the service manager holds programs of its own.
            None => lines.extend(
                program
                    .holders
                    .iter()
                    .filter(|one| one.pid > 1)
                    .filter_map(|one| line(&one.unit, &executable(one))),
            ),
        }
    }
    lines.into_iter().collect()
}

/// Returns the path of a holder's executable, or its command if the path has another name.
fn executable(holder: &ext::ObjectHolder) -> String {
    let path = std::fs::read_link(format!("/proc/{}/exe", holder.pid)).unwrap_or_default();
    let is_it = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&holder.command));
    if is_it { path.display().to_string() } else { holder.command.clone() }
}

fn line(unit: &str, command: &str) -> Option<String> {
    let is_login = unit.is_empty() || unit.starts_with("session-") && unit.ends_with(".scope");
    if unit.ends_with(".service") && !unit.starts_with("user@") {
        Some(format!("bpfman run-as --unit {}", shell_word(unit)))
    } else if (is_login || unit.starts_with("user@")) && !command.is_empty() {
        Some(format!("bpfman run-as -- {}", shell_word(command)))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_commands_are_proposed_once() {
        let loaded_by = |unit: &str, executable: &str, container: &str| ext::StrangeProgram {
            loaded_by: Some(ext::StrangeProcess {
                unit: unit.to_owned(),
                executable: executable.to_owned(),
                container: container.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let held_by = |pid, unit: &str| {
            let holder = ext::ObjectHolder { pid, command: "a tool".to_owned(), unit: unit.to_owned() };
            ext::StrangeProgram { holders: vec![holder], ..Default::default() }
        };
        let programs = [
            loaded_by("agent.service", "/usr/bin/agent", ""),
            loaded_by("agent.service", "/usr/bin/agent", ""),
            loaded_by("session-2.scope", "/usr/bin/bpftrace", ""),
            loaded_by("", "/bin/in-a-container", "c0ffee"),
            held_by(1, ""),
            held_by(7, ""),
            held_by(8, "docker-1.scope"),
            ext::StrangeProgram { session: "session 1 of user 7".to_owned(), ..held_by(9, "") },
        ];
        let expected = [
            "bpfman run-as -- '/usr/bin/bpftrace'",
            "bpfman run-as -- 'a tool'",
            "bpfman run-as --unit agent.service",
        ];
        let plain = |line: &str| line.replace('\'', "");
        let mut found: Vec<String> = proposals(&programs).iter().map(|line| plain(line)).collect();
        found.sort_unstable();
        let mut expected = expected.map(plain);
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}
