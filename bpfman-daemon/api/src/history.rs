//! The journal as callers see it: what they ask for, what concerns them, and how it is told.

use bpfman_proto::ext::v1 as wire;
use bpfmand_access::AccessPolicy;
use bpfmand_core::{Owner, Peer};
use bpfmand_engine::ProgramDetails;
use bpfmand_journal::{DaemonPart, EntryActor, HistoryEntry, Journal};
use bpfmand_kernel::Kernel;
use tonic::Status;

use crate::audit;
use crate::server::Api;
use crate::status::{denied, invalid};

/// Entries that one call answers, where it says no number.
const USUAL: usize = 100;
/// The most that one call answers.
const MOST: usize = 100_000;

/// What a caller asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HistoryFilter {
    /// Most entries.
    pub limit: usize,
    /// With smaller numbers only.
    pub before: Option<u64>,
    /// Not older, as entries have it.
    pub since: String,
    id: Option<u32>,
    hook: String,
    by: String,
}

impl HistoryFilter {
    /// Reads a request.
    pub fn parse(request: wire::HistoryRequest) -> Result<Self, Status> {
        let wire::HistoryRequest { limit, before, since, id, hook, by } = request;
        let since = match since.as_str() {
            "" => since,
            text => humantime::parse_rfc3339_weak(text)
                .map(|time| humantime::format_rfc3339_micros(time).to_string())
                .map_err(|error| {
                    invalid(format!("\"{text}\" is no time: {error} (write 2026-01-31T12:00:00Z)"))
                })?,
        };
        let limit = match limit as usize {
            0 => USUAL,
            limit => limit.min(MOST),
        };
        let (before, id) = ((before > 0).then_some(before), (id > 0).then_some(id));
        Ok(Self { limit, before, since, id, hook, by })
    }

    /// What is wanted once so many were answered, down to this number.
    pub fn after(&self, answered: usize, before: u64) -> Self {
        Self { limit: self.limit.saturating_sub(answered), before: Some(before), ..self.clone() }
    }

    /// True for an entry that is asked for.
    pub fn wants(&self, entry: &HistoryEntry) -> bool {
        let of_id = |id: &u32| entry.programs.contains(id) || entry.links.contains(id);
        self.id.as_ref().is_none_or(of_id)
            && (self.hook.is_empty() || entry.hooks.contains(&self.hook))
            && (self.by.is_empty() || is_by(entry, &self.by))
    }
}

fn is_by(entry: &HistoryEntry, who: &str) -> bool {
    let of_actor = match &entry.by {
        EntryActor::Caller { uid, unit, pod, .. } => {
            who.parse() == Ok(*uid) || who == unit || who == pod || who == "root" && *uid == 0
        }
        EntryActor::Daemon(part) => who == part.name(),
    };
    of_actor || entry.grant == who || entry.owners.iter().any(|owner| owner == who)
}

/// Who reads.
#[derive(Clone, Debug)]
pub(crate) struct HistoryViewer {
    peer: Peer,
    policy: std::sync::Arc<AccessPolicy>,
}

impl HistoryViewer {
    /// True for an entry of this reader's own, and what belongs to an owner whose they are. Root reads all.
    pub fn may_read(&self, entry: &HistoryEntry) -> bool {
        let concerns = |owner: &String| {
            owner.parse::<Owner>().is_ok_and(|owner| self.policy.concerns(&self.peer, &owner))
        };
        self.peer.uid == 0 || self.did(entry) || entry.owners.iter().any(concerns)
    }

    /// One user of several pods is several callers.
    fn did(&self, entry: &HistoryEntry) -> bool {
        let own_pod = self.peer.pod().unwrap_or_default();
        matches!(&entry.by, EntryActor::Caller { uid, pod, .. } if *uid == self.peer.uid && pod == own_pod)
    }

    /// The entry as this reader gets it: others' processes, control groups and pods are root's to know.
    pub fn line(&self, entry: HistoryEntry) -> wire::JournalLine {
        let whole = self.peer.uid == 0 || self.did(&entry);
        let mut line = line(entry);
        if !whole {
            line.pid = 0;
            line.cgroup.clear();
            line.pod.clear();
        }
        line
    }
}

fn line(entry: HistoryEntry) -> wire::JournalLine {
    let result = entry.result.name().to_owned();
    let failure = entry.result.failure().cloned().unwrap_or_default();
    let mut line = wire::JournalLine {
        number: entry.number,
        time: entry.time,
        verb: entry.verb,
        object: entry.object,
        programs: entry.programs,
        links: entry.links,
        hooks: entry.hooks,
        made: entry.made,
        digest: entry.digest,
        rule: entry.rule,
        grant: entry.grant,
        owners: entry.owners,
        before: entry.before,
        after: entry.after,
        result,
        code: failure.code,
        reason: failure.reason,
        message: failure.message,
        suppressed: entry.suppressed,
        ..wire::JournalLine::default()
    };
    match entry.by {
        EntryActor::Caller { uid, gid, pid, cgroup, unit, pod } => {
            (line.uid, line.gid, line.pid) = (Some(uid), gid, pid.unwrap_or_default());
            (line.cgroup, line.unit, line.pod) = (cgroup, unit, pod);
        }
        EntryActor::Daemon(part) => line.daemon = part.name().to_owned(),
    }
    line
}

/// How the journal is; none if there is none.
pub(crate) fn status(journal: &Journal) -> Option<wire::JournalStatus> {
    let standing = journal.standing()?;
    Some(wire::JournalStatus {
        first: standing.first,
        last: standing.last,
        bytes: standing.bytes,
        most_bytes: standing.most_bytes,
        lost: standing.lost,
        suppressed: standing.suppressed,
        failure: standing.failure,
        cut: standing.cut,
    })
}

/// How often calls were not done.
pub(crate) fn refused(journal: &Journal) -> Vec<wire::RefusedCalls> {
    let counts = journal.refusals().into_iter();
    counts
        .map(|count| wire::RefusedCalls { verb: count.verb, reason: count.reason, count: count.count })
        .collect()
}

impl<K: Kernel> Api<K> {
    /// Who reads the journal by the call that this task works for.
    pub(crate) fn history_viewer(&self) -> Result<HistoryViewer, Status> {
        let peer = audit::peer().ok_or_else(|| denied("the calling process cannot be identified"))?;
        let policy = self.policy_for(&peer)?;
        Ok(HistoryViewer { peer, policy })
    }

    /// Records a link that the daemon ended by itself, because of root's policy.
    pub(crate) fn note_revoked(
        &self,
        link: bpfmand_core::LinkId,
        program: &ProgramDetails,
        why: &str,
        failed: Option<&Status>,
    ) {
        let object = format!("link {link} of program {}", program.id);
        let mut entry = HistoryEntry::of_daemon(DaemonPart::Policy, "Detach", &object);
        (entry.links, entry.programs) = (vec![link.0], vec![program.id.0]);
        if let Some(managed) = &program.managed {
            entry.digest = format!("sha256:{}", managed.record.bytecode_sha256());
            entry.owners = vec![managed.record.owner().to_string()];
        }
        why.clone_into(&mut entry.rule);
        entry.result = audit::result_of(failed);
        self.journal.record(entry, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(uid: u32, owners: &[&str]) -> HistoryEntry {
        HistoryEntry {
            by: EntryActor::of(&Peer { uid, pid: Some(9), cgroup: Some("/a".to_owned()), ..Peer::default() }),
            owners: owners.iter().map(|owner| (*owner).to_owned()).collect(),
            programs: vec![7],
            hooks: vec!["xdp:eth0".to_owned()],
            grant: "network".to_owned(),
            ..HistoryEntry::default()
        }
    }

    fn viewer(uid: u32) -> HistoryViewer {
        HistoryViewer { peer: Peer { uid, ..Peer::default() }, policy: std::sync::Arc::default() }
    }

    #[test]
    fn users_read_what_they_did_and_what_was_done_to_theirs_without_the_processes_of_others() {
        let (own, of_root, to_own) =
            (entry(1000, &["user:1000"]), entry(0, &["root"]), entry(0, &["root", "user:1000"]));
        let may = |uid| [&own, &of_root, &to_own].map(|entry| viewer(uid).may_read(entry));
        assert_eq!(may(0), [true; 3]);
        assert_eq!(may(1000), [true, false, true]);
        assert_eq!(may(2000), [false; 3]);
        let line = viewer(1000).line(to_own.clone());
        assert_eq!((line.uid, line.pid, line.cgroup.as_str()), (Some(0), 0, ""));
        assert_eq!(viewer(1000).line(own).pid, 9);
        assert_eq!(viewer(0).line(to_own).cgroup, "/a");
    }

    #[test]
    fn an_owner_that_cannot_be_read_is_nobodys() {
        assert!(!viewer(1000).may_read(&entry(0, &["", "user:", "1000"])));
    }

    #[test]
    fn a_filter_wants_ids_hooks_and_people() {
        let filter = |id, hook: &str, by: &str| {
            let request =
                wire::HistoryRequest { id, hook: hook.to_owned(), by: by.to_owned(), ..Default::default() };
            HistoryFilter::parse(request).unwrap().wants(&entry(1000, &["user:1000"]))
        };
        for (id, hook, by, wanted) in [
            (0, "", "", true),
            (7, "xdp:eth0", "1000", true),
            (8, "", "", false),
            (0, "xdp:eth1", "", false),
            (0, "", "user:1000", true),
            (0, "", "network", true),
            (0, "", "0", false),
            (0, "", "root", false),
        ] {
            assert_eq!(filter(id, hook, by), wanted, "{id} {hook} {by}");
        }
        let wrong = wire::HistoryRequest { since: "yesterday".to_owned(), ..Default::default() };
        assert!(HistoryFilter::parse(wrong).unwrap_err().message().contains("\"yesterday\" is no time"));
    }
}
