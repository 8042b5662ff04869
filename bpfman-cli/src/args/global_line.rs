//! Help of commands, with examples, and with the global options on one line: most commands have fewer of their own.

use clap::Command;

use super::examples;

pub const HEADING: &str = "Global options";
const LINE: &str = "\
Global options: -o table|json|yaml, -q, --socket-path PATH, --progress auto|always|never; see bpfman --help";

#[must_use]
pub fn shortened(mut command: Command) -> Command {
    // Copies the global options into the subcommands.
    command.build();
    command.mut_subcommands(|command| shorten(command, ""))
}

fn shorten(command: Command, group: &str) -> Command {
    let path = format!("{group} {}", command.get_name()).trim_start().to_owned();
    let is_global = |heading: Option<&str>| heading == Some(HEADING);
    let command =
        command.mut_args(|arg| if is_global(arg.get_help_heading()) { arg.hide(true) } else { arg });
    let text = examples::of(&path) + LINE;
    command.after_help(text).mut_subcommands(|command| shorten(command, &path))
}

#[cfg(test)]
mod tests {
    use crate::args::definition;

    #[test]
    fn global_options_are_one_line_of_a_command_and_still_parsed() {
        let mut definition = definition();
        let attach = definition.find_subcommand_mut("attach").unwrap().find_subcommand_mut("xdp").unwrap();
        for help in [attach.render_help().to_string(), attach.render_long_help().to_string()] {
            assert_eq!(help.matches("--socket-path").count(), 1, "{help}");
            assert!(help.contains("--iface"), "{help}");
        }
        let words = ["bpfman", "list", "programs", "-o", "json", "--socket-path", "/s"];
        let matches = super::super::definition().try_get_matches_from(words).unwrap();
        assert!(matches.subcommand_name() == Some("list"));
    }
}
