//! `--watch` of lists and of single objects.

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
    fn every_list_and_get_can_be_watched() {
        let mut open = vec![definition()];
        while let Some(command) = open.pop() {
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                let name = sub.get_name();
                // Entries of maps are watched by `map watch`.
                let is_shown =
                    matches!(name, "list" | "get") && command.get_name() != "map" || name == "list";
                assert!(
                    !is_shown || sub.get_arguments().any(|arg| arg.get_long() == Some("watch")),
                    "{name}"
                );
                open.push(sub.clone());
            }
        }
    }
}
