//! Entries of the daemon's journal.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::CommandOutput;
use super::call_words::{call_words, short_digests};
use super::json::filled;
use super::screen::Screen;
use super::table::TextTable;
use crate::show::json_shape::json_shape;
use crate::user_names::UserNames;

#[derive(Clone, Debug, Default, Serialize)]
pub struct HistoryJson {
    pub entries: Vec<HistoryEntryJson>,
    /// Number of damaged lines that were skipped.
    pub damaged: u64,
}

json_shape! {
    /// Change or refusal.
    pub struct HistoryEntryJson(line: &ext::JournalLine) {
        /// Number of the entry; increases by one.
        number: u64 = line.number,
        /// Time (RFC 3339, UTC).
        time: String = line.time.clone(),
        /// User id of the caller; null if the daemon acted by itself.
        uid: Option<u32> = line.uid,
        /// Group id of the caller.
        gid: Option<u32> = line.uid.map(|_| line.gid),
        /// Process id of the caller.
        pid: Option<u32> = (line.pid > 0).then_some(line.pid),
        cgroup: Option<String> = filled(&line.cgroup),
        /// systemd unit of the caller.
        unit: Option<String> = filled(&line.unit),
        pod: Option<String> = filled(&line.pod),
        /// Name of the process, for actions of third parties.
        command: Option<String> = filled(&line.command),
        executable: Option<String> = filled(&line.executable),
        container: Option<String> = filled(&line.container),
        /// True if the process ended before it could be identified.
        gone: bool = line.gone,
        /// Part of the daemon that acted by itself; `radar` also for actions of third parties.
        daemon: Option<String> = filled(&line.daemon),
        verb: String = line.verb.clone(),
        object: String = line.object.clone(),
        programs: Vec<u32> = line.programs.clone(),
        links: Vec<u32> = line.links.clone(),
        hooks: Vec<String> = line.hooks.clone(),
        made: Option<String> = filled(&line.made),
        /// Digest of the image or the object file.
        digest: Option<String> = filled(&line.digest),
        /// Rule and signer that verified it.
        rule: Option<String> = filled(&line.rule),
        grant: Option<String> = filled(&line.grant),
        /// Owners of the changed or created objects.
        owners: Vec<String> = line.owners.clone(),
        before: Option<String> = filled(&line.before),
        after: Option<String> = filled(&line.after),
        /// `done`, `denied`, `refused` or `failed`.
        result: String = line.result.clone(),
        /// gRPC code of a failed call.
        code: Option<String> = filled(&line.code),
        reason: Option<String> = filled(&line.reason),
        /// Error message to the caller.
        message: Option<String> = filled(&line.message),
        /// Number of refusals that came too fast for entries of their own.
        suppressed: u64 = line.suppressed,
        /// Number of occurrences in one entry.
        count: u64 = line.count.max(1),
        /// Time of the first of several occurrences.
        first: Option<String> = filled(&line.first),
    }
}

impl HistoryJson {
    pub fn add(&mut self, page: &ext::HistoryResponse) {
        self.entries.extend(page.entries.iter().map(HistoryEntryJson::new));
        self.damaged += page.damaged;
    }

    /// Reverses the entries, which arrive newest first.
    pub fn oldest_first(&mut self) {
        self.entries.reverse();
    }
}

impl HistoryEntryJson {
    /// Returns the time in seconds; only JSON has microseconds.
    pub(crate) fn short_time(&self) -> String {
        self.time.get(..19).map_or_else(|| self.time.clone(), |time| format!("{time}Z"))
    }

    pub(crate) fn who(&self) -> String {
        if let Some(stranger) = self.stranger() {
            return stranger;
        }
        let user = |uid| UserNames::of_this_machine().text(uid);
        match (self.uid, &self.unit, &self.daemon) {
            (Some(uid), Some(unit), _) => format!("{} ({unit})", user(uid)),
            (Some(uid), None, _) => user(uid),
            (None, _, Some(part)) => format!("daemon: {part}"),
            (None, _, None) => String::new(),
        }
    }

    fn stranger(&self) -> Option<String> {
        let uid = self.uid.filter(|_| self.daemon.as_deref() == Some("radar"))?;
        let name = self.command.as_deref().unwrap_or("several processes");
        let pid = self.pid.map(|pid| format!("[{pid}]")).unwrap_or_default();
        let place = [&self.container, &self.unit].into_iter().flatten().next().map(|text| {
            // Shorten container ids as docker does.
            let is_id = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            format!(" ({})", if is_id { &text[..12] } else { text.as_str() })
        });
        let user = UserNames::of_this_machine().text(uid);
        Some(format!("{name}{pid}, {user}{}", place.unwrap_or_default()))
    }

    /// Returns the name of the call as words.
    pub(crate) fn call(&self) -> String {
        call_words(&self.verb)
    }

    pub(crate) fn came(&self) -> String {
        let mut text = self.object.clone();
        for (name, value) in [("made", &self.made), ("was", &self.before), ("digest", &self.digest)] {
            text.extend(value.as_ref().map(|value| format!("; {name} {value}")));
        }
        text.extend(self.executable.as_ref().map(|path| format!("; by {path}")));
        if self.gone {
            text.push_str("; the process is gone");
        }
        text.extend(self.first.as_ref().map(|first| format!("; {} times since {first}", self.count)));
        text.extend(self.message.as_ref().map(|message| format!("; {message}")));
        short_digests(&text)
    }
}

impl CommandOutput for HistoryJson {
    fn table(&self, screen: Screen) -> String {
        let mut table = TextTable::new(&["Time", "Who", "Call", "Result", "By Grant", "About"]);
        for entry in &self.entries {
            table.row(vec![
                entry.short_time(),
                entry.who(),
                entry.call(),
                entry.result.clone(),
                entry.grant.clone().unwrap_or_default(),
                entry.came(),
            ]);
        }
        let damaged = match self.damaged {
            0 => String::new(),
            count => format!(" {count} lines of the journal are damaged and not shown\n"),
        };
        table.render(screen) + &damaged
    }

    fn ids(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.number.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn third_party_entry_names_its_process() {
        let line = ext::JournalLine {
            uid: Some(0),
            pid: 7,
            daemon: "radar".to_owned(),
            command: "bpf\ntool".to_owned(),
            executable: "/usr/sbin/bpftool".to_owned(),
            container: "3f".repeat(32),
            verb: "SeenLoad".to_owned(),
            object: "program 41 \"wall\" of type xdp".to_owned(),
            count: 9,
            first: "2026-01-31T12:00:00.1Z".to_owned(),
            ..Default::default()
        };
        let entry = HistoryEntryJson::new(&line);
        assert_eq!(entry.who(), "bpf\ntool[7], root (3f3f3f3f3f3f)");
        assert!(entry.came().ends_with("xdp; by /usr/sbin/bpftool; 9 times since 2026-01-31T12:00:00.1Z"));
        let mut history = HistoryJson::default();
        history.add(&ext::HistoryResponse { entries: vec![line], damaged: 0 });
        assert_eq!(history.table(Screen::PLAIN).lines().count(), 2);
    }

    #[test]
    fn an_entry_is_a_row_and_texts_of_others_stay_in_it() {
        let line = ext::JournalLine {
            number: 7,
            time: "2026-01-31T12:00:00.123456Z".to_owned(),
            uid: Some(3_999_999_999),
            unit: "netops.service".to_owned(),
            verb: "Attach".to_owned(),
            object: "program 7 at xdp e\nth0".to_owned(),
            result: "denied".to_owned(),
            message: "no grant".to_owned(),
            ..Default::default()
        };
        let mut history = HistoryJson::default();
        history.add(&ext::HistoryResponse { entries: vec![line], damaged: 1 });
        let table = history.table(Screen::PLAIN);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3, "{table}");
        for text in [
            "2026-01-31T12:00:00Z",
            "user 3999999999 (netops.service)",
            "attach",
            "denied",
            "e\\nth0; no grant",
        ] {
            assert!(lines[1].contains(text), "{table}");
        }
        assert_eq!(history.ids(), ["7"]);
    }
}
