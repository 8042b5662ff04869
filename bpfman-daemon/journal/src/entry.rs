//! What one entry says.

use bpfmand_core::{GroupPath, Peer, audit_text};
use serde::{Deserialize, Serialize};

use crate::StrangerActor;

/// Most names of one kind in an entry: a call is about a few, and lists of calls are not history.
const MOST_NAMES: usize = 64;

/// One change or refusal, as it is on disk: one JSON object a line. What is empty is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryEntry {
    /// Counts up by one with each entry; a gap is what could not be written.
    pub number: u64,
    /// UTC, RFC 3339 with microseconds, by the machine's clock.
    pub time: String,
    /// Who did it.
    pub by: EntryActor,
    /// The call: `Load`; of what the daemon does by itself, what that is: `PutBack`.
    pub verb: String,
    /// What it is about, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// Kernel ids of the programs that it is about or made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<u32>,
    /// Ids of the links that it is about or made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<u32>,
    /// Hooks, as commands name them: `xdp:eth0`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<String>,
    /// What it made, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub made: String,
    /// Digest of the image or the object file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// The rule of the policy and the signer that let it in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// What allowed it: the name of a grant, `root`, or `socket group`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub grant: String,
    /// Whose what it changed is, and whose what it made is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<String>,
    /// What was there before, where that is known without asking the kernel.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub before: String,
    /// What is there now.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub after: String,
    /// What came of it.
    pub result: EntryResult,
    /// Refusals of the same user before this entry that have none of their own, since there were too many.
    #[serde(skip_serializing_if = "is_zero")]
    pub suppressed: u64,
    /// How often it happened, where one entry tells of several times; 0: once.
    #[serde(skip_serializing_if = "is_zero")]
    pub count: u64,
    /// When it happened first, of several times, as in `time`; the last time is before `time`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub first: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryActor {
    /// Who called.
    Caller {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Process id when the connection was made. Another process may have it since.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// Control group when the connection was taken.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        cgroup: String,
        /// systemd unit, by the control group.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        unit: String,
        /// Uid of the pod, by the control group.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pod: String,
    },
    /// The daemon by itself.
    Daemon(DaemonPart),
    /// Somebody who did not call: the radar saw it.
    Stranger(StrangerActor),
}

/// What of the daemon did something by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DaemonPart {
    /// Its start, which compares the records with the kernel.
    Start,
    /// The checks of all hooks.
    Checks,
    /// What follows interfaces as they come and go.
    Interfaces,
    /// Root's policy, where it revokes what runs.
    Policy,
    /// The driver for volumes of pods; the kubelet asked.
    Csi,
    /// The way out: everything of ours was detached, or is put back.
    BreakGlass,
    /// The gate in front of the kernel's loader, which refused somebody.
    Gate,
    /// The journal itself.
    Journal,
    /// What ends by itself: over a limit of CPU time, or when its time to live is over.
    Limits,
    /// What sees what others do with eBPF.
    Radar,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryResult {
    /// It was done.
    #[default]
    Done,
    /// The caller, or the signer, may not.
    Denied(EntryFailure),
    /// The request cannot be followed as it is, or not now.
    Refused(EntryFailure),
    /// The kernel, a registry, or the daemon failed.
    Failed(EntryFailure),
}

/// Why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EntryFailure {
    /// The gRPC code: `PermissionDenied`.
    pub code: String,
    /// The kind of failure: `denied`, `not-found`, …
    pub reason: String,
    /// What the caller was told.
    pub message: String,
}

impl Default for EntryActor {
    fn default() -> Self {
        Self::Daemon(DaemonPart::Journal)
    }
}

impl DaemonPart {
    /// As entries have it.
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
    /// Who made a connection.
    #[must_use]
    pub fn of(peer: &Peer) -> Self {
        Self::Caller {
            uid: peer.uid,
            gid: peer.gid,
            pid: peer.pid,
            cgroup: audit_text(peer.cgroup.as_ref().map_or("", GroupPath::as_str)),
            unit: audit_text(peer.unit().unwrap_or_default()),
            pod: audit_text(peer.pod().unwrap_or_default()),
        }
    }

    /// The user of a caller; none for the daemon itself, and for strangers.
    #[must_use]
    pub const fn uid(&self) -> Option<u32> {
        match self {
            Self::Caller { uid, .. } => Some(*uid),
            Self::Daemon(_) | Self::Stranger(_) => None,
        }
    }
}

impl EntryResult {
    /// In one word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied(_) => "denied",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }

    /// Why it was not done.
    #[must_use]
    pub const fn failure(&self) -> Option<&EntryFailure> {
        match self {
            Self::Done => None,
            Self::Denied(failure) | Self::Refused(failure) | Self::Failed(failure) => Some(failure),
        }
    }
}

impl HistoryEntry {
    /// Something that the daemon did by itself.
    #[must_use]
    pub fn of_daemon(part: DaemonPart, verb: &str, object: &str) -> Self {
        let (verb, object) = (verb.to_owned(), object.to_owned());
        Self { by: EntryActor::Daemon(part), verb, object, ..Self::default() }
    }

    /// The same, failed if there is a reason.
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

    /// The line, with its end. Each text is cut after 1,024 bytes.
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
            names.truncate(MOST_NAMES);
            names.iter_mut().for_each(|name| *name = audit_text(name));
        }
        if let EntryActor::Stranger(stranger) = &mut cut.by {
            stranger.cut();
        }
        cut.programs.truncate(MOST_NAMES);
        cut.links.truncate(MOST_NAMES);
        // Numbers and texts: nothing in it can fail to be written.
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

/// What JSON may hold as it is, and a terminal should not: control characters of all kinds, other ends of lines, and what
/// turns the direction of text.
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
    fn an_entry_is_one_line_without_control_characters_and_reads_as_it_was_written() {
        let line = entry().line();
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.trim_end().chars().all(|character| !hides(character)), "{line:?}");
        assert_eq!(serde_json::from_str::<HistoryEntry>(&line).unwrap(), entry());
    }

    #[test]
    fn a_stranger_writes_nothing_into_the_journal_but_its_name() {
        let stranger = StrangerActor {
            command: "x\n{\"number\":1}".to_owned(),
            executable: "/\u{1b}".repeat(100_000),
            ..StrangerActor::default()
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
