//! `--watch` of commands that show objects.

use clap::Args;

use super::CliCommand;
use super::chain::ChainCommand;
use super::image::ImageCommand;
use super::map::MapCommand;
use super::stray::StrayCommand;

/// Flag of commands that show objects.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchFlag {
    /// Show the answer again whenever it changes, until Ctrl-C
    #[arg(short = 'w', long, global = true)]
    pub watch: bool,
}

impl CliCommand {
    /// Returns whether the command is repeated until it is interrupted.
    #[must_use]
    pub const fn is_watched(&self) -> bool {
        let WatchFlag { watch } = match self {
            Self::List(list) => list.watch,
            Self::Get(get) => get.watch,
            Self::Map(MapCommand::List(list)) => list.watch,
            Self::Map(MapCommand::Dump(dump)) => dump.watch,
            Self::Explain(explain) => explain.watch,
            Self::History(history) => history.watch,
            Self::Chain(ChainCommand::List(watch))
            | Self::Image(ImageCommand::List(watch))
            | Self::Stray(StrayCommand::List(watch)) => *watch,
            _ => WatchFlag { watch: false },
        };
        watch
    }
}

#[cfg(test)]
mod tests {
    use crate::args::definition;

    #[test]
    fn all_commands_that_show_state_can_be_watched() {
        let mut open = vec![definition()];
        while let Some(command) = open.pop() {
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                let name = sub.get_name();
                let is_shown = match name {
                    "get" => command.get_name() != "map",
                    "list" | "dump" | "explain" | "drops" | "events" | "history" | "radar" => true,
                    _ => false,
                };
                let is_watch = |arg: &clap::Arg| {
                    arg.get_long_and_visible_aliases().is_some_and(|names| names.contains(&"watch"))
                        && arg.get_short_and_visible_aliases().is_some_and(|names| names.contains(&'w'))
                };
                assert!(!is_shown || sub.get_arguments().any(is_watch), "{name}");
                open.push(sub.clone());
            }
        }
    }
}
