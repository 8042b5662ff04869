use bpfman_model::{GroupPath, Peer, audit_text};
use serde::{Deserialize, Serialize};

use crate::ThirdPartyActor;

/// Maximum number of names in an entry: a change concerns few.
const MAX_NAMES: usize = 64;

/// Audit log entry about one change or refusal: a line with a JSON object. Empty fields are omitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryEntry {
    /// Number, which increases by one with each entry. Entries with missing numbers could not be written.
    pub number: u64,
    /// Time in UTC, RFC 3339 with microseconds, by the system clock.
    pub time: String,
    pub by: EntryActor,
    /// Name of the call, such as `Load`, or of the daemon's own action, such as `PutBack`.
    pub verb: String,
    /// Object of the call, as text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// Kernel ids of the programs that the call concerns or created.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<u32>,
    /// Ids of the links that the call concerns or created.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<u32>,
    /// Hooks in the notation of commands: `xdp:eth0`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<String>,
    /// Created objects, as text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub made: String,
    /// Digest of the image or the object file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Rule of the policy and signer that allowed the image.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// Permission that allowed the call: the name of a grant, `root`, or `socket group`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub grant: String,
    /// Owners of the changed and created objects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<String>,
    /// State before the change, if known without asking the kernel.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub before: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub after: String,
    pub result: EntryResult,
    /// Number of refusals of a user without entries of their own, because there were too many.
    #[serde(skip_serializing_if = "is_zero")]
    pub suppressed: u64,
    /// Number of occurrences, if the entry covers several; 0 means one.
    #[serde(skip_serializing_if = "is_zero")]
    pub count: u64,
    /// Time of the first of several occurrences, in the format of `time`; the last one was before `time`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub first: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Actor of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryActor {
    /// A caller of the API.
    Caller {
        uid: u32,
        gid: u32,
        /// Process id at the time of the connection. It may belong to another process by now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// Path of the cgroup at the time of the connection.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        cgroup: String,
        /// systemd unit, derived from the cgroup.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        unit: String,
        /// Uid of the pod, derived from the cgroup.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pod: String,
        /// User of which the caller is a subordinate user, if any: its refusals count for that user.
        #[serde(skip)]
        account_uid: Option<u32>,
    },
    /// The daemon itself.
    Daemon(DaemonPart),
    /// A process that did not call the daemon, observed by the radar.
    Stranger(ThirdPartyActor),
}

/// Part of the daemon that acts on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DaemonPart {
    /// The start, which compares the records with the kernel.
    Start,
    /// The checks of all hooks.
    Checks,
    /// The interface watcher.
    Interfaces,
    /// The policy, which revokes running programs.
    Policy,
    /// The CSI driver, called by the kubelet.
    Csi,
    /// Break-glass: all programs were detached, or are being restored.
    BreakGlass,
    /// The load gate, which refused a load.
    Gate,
    /// The journal itself.
    Journal,
    /// The limits: of CPU time, or a time to live.
    Limits,
    /// The radar, which observes third-party use of eBPF.
    Radar,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryResult {
    #[default]
    Done,
    /// The caller or the signer lacks permission.
    Denied(EntryFailure),
    /// The request is invalid, or not possible now.
    Refused(EntryFailure),
    /// The kernel, a registry, or the daemon failed.
    Failed(EntryFailure),
}

/// Reason of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EntryFailure {
    /// The gRPC code: `PermissionDenied`.
    pub code: String,
    /// Kind of failure: `denied`, `not-found`, …
    pub reason: String,
    pub message: String,
}

impl Default for EntryActor {
    fn default() -> Self {
        Self::Daemon(DaemonPart::Journal)
    }
}

impl DaemonPart {
    /// Returns the name used in entries.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Checks => "checks",
            Self::Interfaces => "interfaces",
            Self::Policy => "policy",
            Self::Csi => "csi",
            Self::BreakGlass => "break-glass",
            Self::Gate => "gate",
            Self::Journal => "journal",
            Self::Limits => "limits",
            Self::Radar => "radar",
        }
    }
}

impl EntryActor {
    /// Returns the actor of a connection.
    #[must_use]
    pub fn of(peer: &Peer) -> Self {
        Self::Caller {
            uid: peer.uid,
            gid: peer.gid,
            pid: peer.pid,
            cgroup: audit_text(peer.cgroup.as_ref().map_or("", GroupPath::as_str)),
            unit: audit_text(peer.unit().unwrap_or_default()),
            pod: audit_text(peer.pod().unwrap_or_default()),
            account_uid: peer.account_uid,
        }
    }

    /// Returns the user id of a caller; `None` for the daemon itself and for third parties.
    #[must_use]
    pub const fn uid(&self) -> Option<u32> {
        match self {
            Self::Caller { uid, .. } => Some(*uid),
            Self::Daemon(_) | Self::Stranger(_) => None,
        }
    }

    pub(crate) const fn account(&self) -> Option<u32> {
        match self {
            Self::Caller { account_uid: Some(user), .. } => Some(*user),
            _ => self.uid(),
        }
    }
}

impl EntryResult {
    /// Returns the name of the result.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied(_) => "denied",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }

    /// Returns the failure, if any.
    #[must_use]
    pub const fn failure(&self) -> Option<&EntryFailure> {
        match self {
            Self::Done => None,
            Self::Denied(failure) | Self::Refused(failure) | Self::Failed(failure) => Some(failure),
        }
    }
}

impl HistoryEntry {
    /// Creates an entry about an action of the daemon itself.
    #[must_use]
    pub fn of_daemon(part: DaemonPart, verb: &str, object: &str) -> Self {
        let (verb, object) = (verb.to_owned(), object.to_owned());
        Self { by: EntryActor::Daemon(part), verb, object, ..Self::default() }
    }

    /// Sets the result: a failure if there is a reason.
    #[must_use]
    pub fn unless_failed(self, why: Option<&str>) -> Self {
        let failure = |why: &str| EntryFailure {
            code: "Internal".to_owned(),
            reason: "internal".to_owned(),
            message: why.to_owned(),
        };
        let result = why.map_or(EntryResult::Done, |why| EntryResult::Failed(failure(why)));
        Self { result, ..self }
    }

    /// Returns the line of the entry. Texts are cut after 1,024 bytes.
    pub(crate) fn line(&self) -> String {
        let mut cut = self.clone();
        for text in [
            &mut cut.verb,
            &mut cut.object,
            &mut cut.made,
            &mut cut.digest,
            &mut cut.rule,
            &mut cut.grant,
            &mut cut.before,
            &mut cut.after,
        ] {
            *text = audit_text(text);
        }
        if let EntryResult::Denied(failure) | EntryResult::Refused(failure) | EntryResult::Failed(failure) =
            &mut cut.result
        {
            failure.message = audit_text(&failure.message);
        }
        for names in [&mut cut.hooks, &mut cut.owners] {
            names.truncate(MAX_NAMES);
            names.iter_mut().for_each(|name| *name = audit_text(name));
        }
        if let EntryActor::Stranger(stranger) = &mut cut.by {
            stranger.cut();
        }
        cut.programs.truncate(MAX_NAMES);
        cut.links.truncate(MAX_NAMES);
        // The entry has only numbers and texts: serialization cannot fail.
        let json = serde_json::to_string(&cut).unwrap_or_default();
        let mut line = String::with_capacity(json.len() + 1);
        for character in json.chars() {
            if hides(character) {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    line.push_str(&format!("\\u{unit:04x}"));
                }
            } else {
                line.push(character);
            }
        }
        line.push('\n');
        line
    }
}

/// True for characters that are harmful on a terminal: controls, line separators, changes of direction.
fn hides(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> HistoryEntry {
        let peer = Peer { uid: 7, gid: 8, pid: Some(9), ..Peer::default() };
        HistoryEntry {
            number: 3,
            by: EntryActor::of(&peer),
            verb: "Load".to_owned(),
            object: "file /x\n{\"verb\":\"Unload\"}\u{1b}[2J\u{85}\u{202e}.o".to_owned(),
            ..HistoryEntry::default()
        }
    }

    #[test]
    fn entry_is_one_line_without_control_characters_and_reads_back() {
        let line = entry().line();
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.trim_end().chars().all(|character| !hides(character)), "{line:?}");
        assert_eq!(serde_json::from_str::<HistoryEntry>(&line).unwrap(), entry());
    }

    #[test]
    fn third_party_text_in_entries_is_escaped() {
        let stranger = ThirdPartyActor {
            command: "x\n{\"number\":1}".to_owned(),
            executable: "/\u{1b}".repeat(100_000),
            ..ThirdPartyActor::default()
        };
        let by = EntryActor::Stranger(stranger);
        let line = HistoryEntry { by, count: 3, ..entry() }.line();
        assert!(line.len() < 64 << 10 && line.matches('\n').count() == 1, "{}", line.len());
        let read: HistoryEntry = serde_json::from_str(&line).unwrap();
        assert!(matches!(read.by, EntryActor::Stranger(stranger) if stranger.command.contains('\n')));
    }

    #[test]
    fn a_text_is_cut_and_an_entry_bounded() {
        let long = HistoryEntry {
            object: "\u{1}".repeat(1 << 20),
            programs: (0..100_000).collect(),
            hooks: vec!["x".repeat(1 << 20); 1000],
            ..entry()
        };
        assert!(long.line().len() < 256 << 10);
    }

    #[test]
    fn a_field_of_a_later_version_is_no_mistake() {
        let line = entry().line().replacen('{', "{\"later\":[1],", 1);
        assert_eq!(serde_json::from_str::<HistoryEntry>(&line).unwrap(), entry());
    }
}
