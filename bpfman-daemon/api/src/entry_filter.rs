//! Filter of journal entries.

use bpfmand_journal::{EntryActor, HistoryEntry};
use tonic::Status;

use crate::status::{invalid, too_large};

const MAX_VERBS: usize = 64;
const RESULTS: [&str; 4] = ["done", "denied", "refused", "failed"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EntryFilter {
    id: Option<u32>,
    hook: String,
    by: String,
    verbs: Vec<String>,
    results: Vec<String>,
}

impl EntryFilter {
    pub fn about(id: u32, hook: String, by: String) -> Self {
        Self { id: (id > 0).then_some(id), hook, by, ..Self::default() }
    }

    pub fn of_verbs(self, verbs: Vec<String>) -> Result<Self, Status> {
        if verbs.len() > MAX_VERBS {
            return Err(too_large(format!(
                "the request names {} calls; one request takes at most {MAX_VERBS}",
                verbs.len()
            )));
        }
        Ok(Self { verbs, ..self })
    }

    pub fn of_results(self, mut results: Vec<String>) -> Result<Self, Status> {
        if let Some(wrong) = results.iter().find(|result| !RESULTS.contains(&result.as_str())) {
            return Err(invalid(format!("\"{wrong}\" is no result: write {}", RESULTS.join(", "))));
        }
        results.sort_unstable();
        results.dedup();
        Ok(Self { results, ..self })
    }

    pub fn wants(&self, entry: &HistoryEntry) -> bool {
        let of_id = |id: &u32| entry.programs.contains(id) || entry.links.contains(id);
        self.id.as_ref().is_none_or(of_id)
            && (self.hook.is_empty() || entry.hooks.contains(&self.hook))
            && (self.by.is_empty() || is_by(entry, &self.by))
            && (self.verbs.is_empty() || self.verbs.iter().any(|verb| verb.eq_ignore_ascii_case(&entry.verb)))
            && (self.results.is_empty() || self.results.iter().any(|result| result == entry.result.name()))
    }
}

pub(crate) fn parse_since(text: String) -> Result<String, Status> {
    if text.is_empty() {
        return Ok(text);
    }
    let time = humantime::parse_rfc3339_weak(&text)
        .map_err(|error| invalid(format!("\"{text}\" is no time: {error} (write 2026-01-31T12:00:00Z)")))?;
    Ok(humantime::format_rfc3339_micros(time).to_string())
}

fn is_by(entry: &HistoryEntry, who: &str) -> bool {
    let of_actor = match &entry.by {
        EntryActor::Caller { uid, unit, pod, .. } => {
            who.parse() == Ok(*uid) || who == unit || who == pod || who == "root" && *uid == 0
        }
        EntryActor::Daemon(part) => who == part.name(),
        EntryActor::Stranger(stranger) => {
            let names = ["radar", &stranger.command, &stranger.unit, &stranger.pod, &stranger.container];
            who.parse() == Ok(stranger.uid)
                || who == "root" && stranger.uid == 0
                || !who.is_empty() && names.contains(&who)
        }
    };
    of_actor || entry.grant == who || entry.owners.iter().any(|owner| owner == who)
}

#[cfg(test)]
mod tests {
    use bpfman_model::Peer;

    use super::*;

    fn entry() -> HistoryEntry {
        HistoryEntry {
            by: EntryActor::of(&Peer { uid: 1000, ..Peer::default() }),
            verb: "Attach".to_owned(),
            owners: vec!["user:1000".to_owned()],
            programs: vec![7],
            hooks: vec!["xdp:eth0".to_owned()],
            grant: "network".to_owned(),
            ..HistoryEntry::default()
        }
    }

    #[test]
    fn a_filter_wants_ids_hooks_and_people() {
        for (id, hook, by, wanted) in [
            (0, "", "", true),
            (7, "xdp:eth0", "1000", true),
            (8, "", "", false),
            (0, "xdp:eth1", "", false),
            (0, "", "user:1000", true),
            (0, "", "network", true),
            (0, "", "0", false),
            (0, "", "root", false),
            (0, "xdp:e\nth0\u{202e}", "\0'; --", false),
        ] {
            let filter = EntryFilter::about(id, hook.to_owned(), by.to_owned());
            assert_eq!(filter.wants(&entry()), wanted, "{id} {hook} {by}");
        }
    }

    #[test]
    fn a_filter_wants_calls_and_results() {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let wants = |verbs: &[&str], results: &[&str]| {
            let filter = EntryFilter::default().of_verbs(owned(verbs)).unwrap();
            filter.of_results(owned(results)).unwrap().wants(&entry())
        };
        assert!(wants(&["detach", "attach"], &[]) && wants(&[], &["denied", "done"]));
        assert!(!wants(&["Load"], &[]) && !wants(&["Attach"], &["failed"]));
        let wrong = EntryFilter::default().of_results(owned(&["good"])).unwrap_err();
        assert!(wrong.message().contains("\"good\" is no result: write done, denied"), "{wrong}");
        let many = EntryFilter::default().of_verbs(vec!["Load".to_owned(); 65]).unwrap_err();
        assert!(many.message().contains("names 65 calls"), "{many}");
    }

    #[test]
    fn a_time_is_one() {
        assert_eq!(parse_since("2026-01-31T12:00:00Z".to_owned()).unwrap(), "2026-01-31T12:00:00.000000Z");
        assert!(
            parse_since("yesterday".to_owned()).unwrap_err().message().contains("\"yesterday\" is no time")
        );
    }
}
