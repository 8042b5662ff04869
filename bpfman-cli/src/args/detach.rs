//! `bpfman detach`.

use clap::{Args, Subcommand};

use super::object_name::{link_id, match_id};

/// `bpfman detach`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Detach {
    /// Ids of the links. The command tries all of them, in this order.
    #[arg(required = true, value_name = "LINK_ID", value_parser = link_id)]
    pub link_ids: Vec<u32>,
    /// Ignore links that do not exist.
    #[arg(long)]
    pub ignore_missing: bool,
    /// Detach something other than a link.
    #[command(subcommand)]
    pub what: Option<DetachWhat>,
}

/// Objects other than links that can be detached.
#[derive(Debug, Subcommand)]
pub enum DetachWhat {
    /// Remove attachments by interface selector, and the links that they created.
    Match {
        /// Ids of the attachments, as `list matches` shows them. The command tries all of them, in this order.
        #[arg(required = true, value_name = "MATCH_ID", value_parser = match_id)]
        match_ids: Vec<u32>,
        /// Ignore attachments that do not exist.
        #[arg(long)]
        ignore_missing: bool,
    },
    /// Remove the pins and attachments that ended sessions of `run-as` have left.
    Session {
        /// Names of the sessions, as `list sessions` shows them.
        #[arg(required = true, value_name = "SESSION")]
        sessions: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    #[test]
    fn links_are_detached_by_their_ids_and_patterns_by_their_own() {
        let detach = |line: &str| match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            CliCommand::Detach(detach) => detach,
            other => panic!("{other:?}"),
        };
        assert_eq!(detach("bpfman detach 7").link_ids, [7]);
        let several = detach("bpfman detach 7 8 9 --ignore-missing");
        assert_eq!((several.link_ids, several.ignore_missing), (vec![7, 8, 9], true));
        let matching = detach("bpfman detach match 9 10 --ignore-missing");
        let Some(DetachWhat::Match { match_ids, ignore_missing: true }) = matching.what else { panic!() };
        assert_eq!(match_ids, [9, 10]);
        for line in [
            "bpfman detach",
            "bpfman detach match",
            "bpfman detach 7 match 9",
            "bpfman detach x",
            "bpfman detach 7 x",
            "bpfman detach match 9 x",
        ] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
