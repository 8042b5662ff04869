//! Groups of commands in the help of `bpfman`.

use std::fmt::Write as _;

use clap::Command;

const GROUPS: [(&str, &[&str]); 6] = [
    ("Run programs", &["run", "run-as", "load", "attach", "update", "replace", "detach", "unload", "adopt"]),
    ("Applications", &["apply", "diff", "delete"]),
    (
        "See what runs",
        &[
            "list", "get", "top", "drops", "chain", "explain", "map", "iter", "events", "history", "console",
            "radar", "wait",
        ],
    ),
    ("Images and objects", &["image", "check"]),
    ("Access", &["policy", "whoami", "auth"]),
    ("Machine", &["doctor", "features", "stray", "debug", "support-bundle", "completion", "version", "help"]),
];
/// Maximum length of a description, in bytes: lines of the help have at most 100.
const MAX_ABOUT: usize = 80;
const EXAMPLES: &str = "\
Examples:
  bpfman run ./filter.o --attach xdp:eth0      Try a program until Ctrl-C
  bpfman load image quay.io/bpfman-bytecode/xdp_pass:latest --programs xdp:pass
  bpfman attach PROGRAM_ID xdp:eth0            Attach what is loaded
  bpfman list links                            Show what is attached";

pub fn grouped(command: Command) -> Command {
    let mut text = String::new();
    for (heading, names) in GROUPS {
        let _infallible = writeln!(text, "{heading}:");
        for name in names {
            let about = command.find_subcommand(name).and_then(Command::get_about).map(ToString::to_string);
            let about = about.unwrap_or_else(|| "Show help of a command".to_owned());
            let _infallible = writeln!(text, "  {name:<15} {}", first_part(&about));
        }
        text.push('\n');
    }
    let template = format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{text}{EXAMPLES}\n\n{{options}}{{after-help}}"
    );
    command.help_template(template)
}

fn first_part(text: &str) -> &str {
    let first = text.split([':', '.']).next().unwrap_or_default();
    let end = first
        .match_indices(", ")
        .map(|(at, _)| at)
        .chain([first.len()])
        .filter(|end| *end <= MAX_ABOUT)
        .last();
    first[..end.unwrap_or(first.len())].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::definition;

    #[test]
    fn each_visible_command_is_in_one_group() {
        let definition = definition();
        let visible = definition.get_subcommands().filter(|command| !command.is_hide_set());
        let mut visible: Vec<&str> = visible.map(Command::get_name).collect();
        visible.sort_unstable();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        grouped.sort_unstable();
        assert_eq!(grouped, visible);
    }

    #[test]
    fn help_has_groups_examples_and_flags() {
        let help = definition().render_help().to_string();
        for part in ["Run programs:\n", "\n  attach ", "Examples:\n", "--socket-path", "--output"] {
            assert!(help.contains(part), "{part}: {help}");
        }
        let longest = help.lines().map(str::len).max().unwrap();
        assert!(longest <= 100, "{longest}: {help}");
    }
}
