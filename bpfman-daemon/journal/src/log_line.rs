//! Entries as lines of the daemon's log, with the target `audit`.

use bpfman_model::audit_text as text;

use crate::{EntryActor, EntryResult, HistoryEntry};

/// Logs an entry. The log quotes and escapes values: none can end the line or look like another field.
pub(crate) fn write(entry: &HistoryEntry) {
    let (result, reason) = match &entry.result {
        EntryResult::Done => ("done", ""),
        EntryResult::Denied(why) | EntryResult::Refused(why) | EntryResult::Failed(why) => {
            (why.code.as_str(), why.message.as_str())
        }
    };
    let (reason, verb, object, made) =
        (text(reason), text(&entry.verb), text(&entry.object), text(&entry.made));
    let (digest, rule) = (text(&entry.digest), text(&entry.rule));
    match &entry.by {
        EntryActor::Caller { uid, gid, pid, cgroup, unit, pod, account_uid: _ } => tracing::info!(
            target: "audit",
            uid,
            gid,
            pid,
            cgroup,
            unit,
            pod,
            verb,
            object,
            made,
            digest,
            rule,
            grant = text(&entry.grant),
            result,
            reason,
        ),
        EntryActor::Stranger(who) => tracing::info!(
            target: "audit",
            by = "radar",
            uid = who.uid,
            pid = who.pid,
            command = text(&who.command),
            executable = text(&who.executable),
            cgroup = text(&who.cgroup),
            unit = text(&who.unit),
            pod = text(&who.pod),
            container = text(&who.container),
            verb,
            object,
            count = entry.count.max(1),
            result,
            reason,
        ),
        EntryActor::Daemon(part) => tracing::info!(
            target: "audit",
            by = part.name(),
            verb,
            object,
            made,
            digest,
            rule,
            result,
            reason,
        ),
    }
}
