//! `bpfman events`: stream of the daemon's journal.

use bpfman_client::EventQuery;
use bpfman_proto::ext::v1 as ext;
use clap::Args;

use super::entry_filters::{EntryFilters, WireFilters};

/// `bpfman events`.
#[derive(Args, Debug)]
pub struct ShowEvents {
    /// Entries.
    #[command(flatten)]
    pub filters: EntryFilters,
    /// Continue with each new entry, also after a restart of the daemon, until Ctrl-C. Without --after, --since and
    /// --limit, begin with the next entry
    #[arg(short, long, visible_short_alias = 'w', visible_alias = "watch")]
    pub follow: bool,
    /// Begin after the entry with this number; 0: with the oldest entry that is kept
    #[arg(long, value_name = "NUMBER")]
    pub after: Option<u64>,
    /// Run of the daemon that assigned the number of --after: the field `epoch` of entries in JSON. A later run may assign
    /// the numbers of lost entries again
    #[arg(long, value_name = "EPOCH", requires = "after")]
    pub epoch: Option<String>,
}

impl ShowEvents {
    /// Returns the daemon's query.
    #[must_use]
    pub fn query(&self) -> EventQuery {
        let WireFilters { id, hook, since, by, verbs, results } = self.filters.on_the_wire();
        // Without --follow, all existing entries are requested.
        let after = self.after.or_else(|| (!self.follow).then_some(0));
        EventQuery::of(ext::FollowEventsRequest {
            after,
            newest: self.filters.limit.unwrap_or(0),
            since,
            until_now: !self.follow,
            id,
            hook,
            by,
            verbs,
            results,
            epoch: self.epoch.clone().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn query(line: &str) -> EventQuery {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            CliCommand::Events(events) => events.query(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_after_all_entries_or_with_follow_only_new_ones() {
        let request = ext::FollowEventsRequest::default();
        let all = ext::FollowEventsRequest { after: Some(0), until_now: true, ..request.clone() };
        assert_eq!(query("bpfman events"), EventQuery::of(all));
        assert_eq!(query("bpfman events -f"), EventQuery::of(request.clone()));
        let some = ext::FollowEventsRequest { newest: 5, ..request.clone() };
        assert_eq!(query("bpfman events --follow --limit 5"), EventQuery::of(some));
        let from = ext::FollowEventsRequest { after: Some(7), ..request };
        assert_eq!(query("bpfman events --follow --after 7"), EventQuery::of(from.clone()));
        let of_run = ext::FollowEventsRequest { epoch: "00ff".to_owned(), ..from };
        assert_eq!(query("bpfman events --follow --after 7 --epoch 00ff"), EventQuery::of(of_run));
    }

    #[test]
    fn filters_are_asked_for_as_they_are_written() {
        let line =
            "bpfman events xdp:eth0 --by user:1000 --verb attach,Detach --result denied --result failed";
        let request = ext::FollowEventsRequest {
            after: Some(0),
            until_now: true,
            hook: "xdp:eth0".to_owned(),
            by: "user:1000".to_owned(),
            verbs: vec!["attach".to_owned(), "Detach".to_owned()],
            results: vec!["denied".to_owned(), "failed".to_owned()],
            ..Default::default()
        };
        assert_eq!(query(line), EventQuery::of(request));
        for wrong in ["--epoch 00ff", "--result good", "--limit 0", "--after x", "eth0", "--since yesterday"]
        {
            let line = format!("bpfman events {wrong}");
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
