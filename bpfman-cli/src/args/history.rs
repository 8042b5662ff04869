//! `bpfman history`: changes and refusals.

use bpfman_proto::ext::v1 as ext;
use clap::Args;

use super::entry_filters::{EntryFilters, WireFilters};
use super::watch::WatchFlag;

/// Number of entries without `--limit`.
const USUAL: u32 = 100;

/// `bpfman history`.
#[derive(Args, Debug)]
pub struct History {
    /// Entries.
    #[command(flatten)]
    pub filters: EntryFilters,
    /// Show accesses instead of changes: who opened or read maps
    #[arg(long)]
    pub accesses: bool,
    #[command(flatten)]
    pub watch: WatchFlag,
}

impl History {
    /// Returns the daemon's request: by default for the newest 100 entries.
    #[must_use]
    pub fn request(&self) -> ext::HistoryRequest {
        let WireFilters { id, hook, since, by, verbs, results } = self.filters.on_the_wire();
        let (limit, accesses) = (self.filters.limit.unwrap_or(USUAL), self.accesses);
        ext::HistoryRequest { limit, before: 0, since, id, hook, by, accesses, verbs, results }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn request(line: &str) -> ext::HistoryRequest {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            CliCommand::History(history) => history.request(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn history_has_the_filters_of_events() {
        let usual = ext::HistoryRequest { limit: 100, ..Default::default() };
        assert_eq!(request("bpfman history"), usual);
        let line = "bpfman history 7 --by root --verb put-back,Attach --result denied --limit 5 --accesses";
        let filtered = ext::HistoryRequest {
            limit: 5,
            id: 7,
            by: "root".to_owned(),
            verbs: vec!["putback".to_owned(), "Attach".to_owned()],
            results: vec!["denied".to_owned()],
            accesses: true,
            ..Default::default()
        };
        assert_eq!(request(line), filtered);
    }
}
