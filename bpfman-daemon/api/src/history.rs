//! Journal as callers see it: filters, permissions, and conversion to the wire.

use bpfman_model::{Owner, Peer};
use bpfman_proto::ext::v1 as wire;
use bpfmand_access::{AccessPolicy, AccessVerb};
use bpfmand_engine::ProgramDetails;
use bpfmand_journal::{DaemonPart, EntryActor, HistoryEntry, Journal};
use bpfmand_kernel::Kernel;
use tonic::Status;

use crate::audit;
use crate::entry_filter::{EntryFilter, parse_since};
use crate::server::Api;
use crate::status;

const USUAL: usize = 100;
pub(crate) const MAX_ENTRIES: usize = 100_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HistoryFilter {
    pub limit: usize,
    pub before: Option<u64>,
    pub since: String,
    pub accesses: bool,
    pub entries: EntryFilter,
}

impl HistoryFilter {
    pub fn parse(request: wire::HistoryRequest) -> Result<Self, Status> {
        let wire::HistoryRequest { limit, before, since, id, hook, by, accesses, verbs, results } = request;
        let limit = match limit as usize {
            0 => USUAL,
            limit => limit.min(MAX_ENTRIES),
        };
        let before = (before > 0).then_some(before);
        let entries = EntryFilter::about(id, hook, by).of_verbs(verbs)?.of_results(results)?;
        Ok(Self { limit, before, since: parse_since(since)?, accesses, entries })
    }

    pub fn after(&self, answered: usize, before: u64) -> Self {
        Self { limit: self.limit.saturating_sub(answered), before: Some(before), ..self.clone() }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct HistoryViewer {
    peer: Peer,
    policy: std::sync::Arc<AccessPolicy>,
    sees_strangers: bool,
}

impl HistoryViewer {
    /// Returns whether the reader may see an entry: its own, its owners', or the radar's if a grant allows.
    pub fn may_read(&self, entry: &HistoryEntry) -> bool {
        let concerns = |owner: &String| {
            owner.parse::<Owner>().is_ok_and(|owner| self.policy.concerns(&self.peer, &owner))
        };
        // The radar's own entries, such as those about losses, need the same grant.
        let of_radar = || {
            let is_it = matches!(entry.by, EntryActor::Stranger(_) | EntryActor::Daemon(DaemonPart::Radar));
            self.sees_strangers && is_it
        };
        self.peer.uid == 0 || self.did(entry) || of_radar() || entry.owners.iter().any(concerns)
    }

    /// Returns whether the reader caused an entry. Pods that share a uid are different callers.
    fn did(&self, entry: &HistoryEntry) -> bool {
        let own_pod = self.peer.pod().unwrap_or_default();
        match &entry.by {
            EntryActor::Caller { uid, pod, .. } => *uid == self.peer.uid && pod == own_pod,
            EntryActor::Stranger(who) => who.uid == self.peer.uid && who.pod == own_pod,
            EntryActor::Daemon(_) => false,
        }
    }

    /// Converts an entry for this reader. Only root sees processes, cgroups, units and pods of other callers.
    pub fn line(&self, entry: HistoryEntry) -> wire::JournalLine {
        // A grant for third-party activity includes the process that caused it.
        let is_stranger = matches!(entry.by, EntryActor::Stranger(_));
        let whole = self.peer.uid == 0 || self.did(&entry) || is_stranger && self.sees_strangers;
        let mut line = line(entry);
        if !whole {
            line.pid = 0;
            line.cgroup.clear();
            line.unit.clear();
            line.pod.clear();
            line.executable.clear();
            line.container.clear();
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
        count: entry.count,
        first: entry.first,
        ..wire::JournalLine::default()
    };
    match entry.by {
        EntryActor::Caller { uid, gid, pid, cgroup, unit, pod, account_uid: _ } => {
            (line.uid, line.gid, line.pid) = (Some(uid), gid, pid.unwrap_or_default());
            (line.cgroup, line.unit, line.pod) = (cgroup, unit, pod);
        }
        EntryActor::Daemon(part) => line.daemon = part.name().to_owned(),
        EntryActor::Stranger(who) => {
            line.daemon = DaemonPart::Radar.name().to_owned();
            (line.uid, line.gid, line.pid) = (Some(who.uid), who.gid, who.pid);
            (line.cgroup, line.unit, line.pod) = (who.cgroup, who.unit, who.pod);
            (line.command, line.executable) = (who.command, who.executable);
            (line.container, line.gone) = (who.container, who.gone);
        }
    }
    line
}

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

pub(crate) fn refused(journal: &Journal) -> Vec<wire::RefusedCalls> {
    let counts = journal.refusals().into_iter();
    counts
        .map(|count| wire::RefusedCalls { verb: count.verb, reason: count.reason, count: count.count })
        .collect()
}

impl<K: Kernel> Api<K> {
    pub(crate) fn history_viewer(&self) -> Result<HistoryViewer, Status> {
        let peer = audit::caller()?;
        self.viewer_of(peer)
    }

    /// Returns a reader with the current permissions of a peer; long reads call it repeatedly.
    pub(crate) fn viewer_of(&self, peer: Peer) -> Result<HistoryViewer, Status> {
        let policy = self.policy_for(&peer);
        policy.decide(&peer, AccessVerb::Read, &[]).map_err(|denial| status::denial(&denial))?;
        let sees_strangers = policy.decide(&peer, AccessVerb::Radar, &[]).is_ok();
        Ok(HistoryViewer { peer, policy, sees_strangers })
    }

    pub(crate) fn note_revoked(
        &self,
        link: bpfman_model::LinkId,
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
    use bpfman_model::GroupPath;
    use bpfmand_journal::ThirdPartyActor;

    use super::*;

    const GROUP: &str = "/system.slice/cron.service";

    fn entry(uid: u32, owners: &[&str]) -> HistoryEntry {
        HistoryEntry {
            by: EntryActor::of(&Peer {
                uid,
                pid: Some(9),
                cgroup: Some(GroupPath::new(GROUP, 2, None)),
                ..Peer::default()
            }),
            owners: owners.iter().map(|owner| (*owner).to_owned()).collect(),
            ..HistoryEntry::default()
        }
    }

    fn viewer(uid: u32) -> HistoryViewer {
        let peer = Peer { uid, ..Peer::default() };
        HistoryViewer { peer, policy: std::sync::Arc::default(), sees_strangers: false }
    }

    #[test]
    fn users_read_their_own_changes_and_those_of_their_objects() {
        let (own, of_root, to_own) =
            (entry(1000, &["user:1000"]), entry(0, &["root"]), entry(0, &["root", "user:1000"]));
        let may = |uid| [&own, &of_root, &to_own].map(|entry| viewer(uid).may_read(entry));
        assert_eq!(may(0), [true; 3]);
        assert_eq!(may(1000), [true, false, true]);
        assert_eq!(may(2000), [false; 3]);
        let line = viewer(1000).line(to_own.clone());
        assert_eq!((line.uid, line.pid, line.cgroup.as_str(), line.unit.as_str()), (Some(0), 0, "", ""));
        assert_eq!(viewer(1000).line(own).pid, 9);
        let line = viewer(0).line(to_own);
        assert_eq!((line.cgroup.as_str(), line.unit.as_str()), (GROUP, "cron.service"));
    }

    #[test]
    fn third_party_events_need_root_own_processes_or_a_grant() {
        let who =
            ThirdPartyActor { uid: 1000, pid: 9, executable: "/x".to_owned(), ..ThirdPartyActor::default() };
        let seen = HistoryEntry { by: EntryActor::Stranger(who), ..HistoryEntry::default() };
        let granted = HistoryViewer { sees_strangers: true, ..viewer(2000) };
        let readers = [viewer(0), viewer(1000), viewer(2000), granted];
        assert_eq!(readers.each_ref().map(|reader| reader.may_read(&seen)), [true, true, false, true]);
        let line = readers[3].line(seen.clone());
        assert_eq!((line.daemon.as_str(), line.uid, line.pid), ("radar", Some(1000), 9));
        assert_eq!(readers[3].line(seen).executable, "/x");
        // The same reader sees the radar's own entries, and none of other parts of the daemon.
        let of_part = |part| {
            let entry = HistoryEntry::of_daemon(part, "Lost", "9 calls");
            readers.each_ref().map(|reader| reader.may_read(&entry))
        };
        assert_eq!(of_part(DaemonPart::Radar), [true, false, false, true]);
        for part in [DaemonPart::Start, DaemonPart::Checks, DaemonPart::Limits, DaemonPart::Gate] {
            assert_eq!(of_part(part), [true, false, false, false]);
        }
        // Owners see which command changed their objects, without further facts about the process.
        let who = EntryActor::Stranger(ThirdPartyActor {
            pid: 9,
            command: "ip".to_owned(),
            executable: "/x".to_owned(),
            ..ThirdPartyActor::default()
        });
        let touched = HistoryEntry { by: who, ..entry(0, &["user:2000"]) };
        assert!(readers[2].may_read(&touched) && !readers[1].may_read(&touched));
        let line = readers[2].line(touched);
        assert_eq!((line.pid, line.command.as_str(), line.executable.as_str()), (0, "ip", ""));
        assert_eq!(readers[3].line(entry(0, &["user:2000"])).pid, 0);
    }

    #[test]
    fn an_owner_that_cannot_be_read_is_nobodys() {
        assert!(!viewer(1000).may_read(&entry(0, &["", "user:", "1000"])));
    }
}
