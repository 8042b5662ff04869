//! `bpfman detach`.

use clap::{Args, Subcommand};

/// `bpfman detach`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Detach {
    /// Id of the link.
    #[arg(required = true)]
    pub link_id: Option<u32>,
    /// Something else than a link.
    #[command(subcommand)]
    pub what: Option<DetachWhat>,
}

/// What else than a link is detached.
#[derive(Debug, Subcommand)]
pub enum DetachWhat {
    /// End an attachment by pattern, with the links it made.
    Match {
        /// Id of the attachment, as `list matches` shows it.
        match_id: u32,
    },
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn a_link_is_detached_by_its_id_and_a_pattern_by_its_own() {
        let detach = |line: &str| match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Detach(detach) => detach,
            other => panic!("{other:?}"),
        };
        assert_eq!(detach("bpfman detach 7").link_id, Some(7));
        let matching = detach("bpfman detach match 9");
        assert!(matches!(matching.what, Some(DetachWhat::Match { match_id: 9 })));
        for line in ["bpfman detach", "bpfman detach match", "bpfman detach 7 match 9", "bpfman detach x"] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
