//! Sessions of `bpfman run-as`: one as a block, several as a table.

use std::time::{Duration, UNIX_EPOCH};

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::CommandOutput;
use super::block::Block;
use super::json::filled;
use super::screen::Screen;
use super::table::TextTable;
use crate::show::json_shape::json_shape;

#[derive(Clone, Debug, Serialize)]
pub struct SessionList {
    /// Sessions, in the daemon's order: those that run, then those that left something.
    pub sessions: Vec<SessionJson>,
}

#[derive(Clone, Debug, Serialize)]
pub struct SessionsRemoved {
    /// Names of sessions whose pins and attachments were removed.
    pub removed: Vec<String>,
}

json_shape! {
    /// Session: a running command, or the leftovers of an ended one.
    pub struct SessionJson(session: &ext::Session) {
        name: String = session.name.clone(),
        /// `running`, or `left` for what an ended command left.
        state: &'static str = if session.left { "left" } else { "running" },
        /// File that the command executes.
        executable: Option<String> = filled(&session.executable),
        /// SHA-256 of that file, hexadecimal; null if its user may not read it.
        sha256: Option<String> = filled(&session.sha256),
        /// Command line, at most 512 bytes.
        command: Option<String> = filled(&session.command),
        uid: u32 = session.uid,
        /// systemd unit of the client.
        unit: Option<String> = filled(&session.unit),
        /// Owner of what the command makes: `grant:NAME`.
        owner: String = session.owner.clone(),
        grant: Option<String> = filled(&session.grant),
        /// Start (RFC 3339, UTC).
        started: String = time(session.started),
        /// Process of the receiver, the parent of the command; null once it ended.
        receiver_pid: Option<u32> = (session.receiver > 0 && !session.left).then_some(session.receiver),
        programs: Vec<u32> = session.programs.clone(),
        maps: Vec<u32> = session.maps.clone(),
        links: Vec<u32> = session.links.clone(),
        /// Number of attachments without a link.
        attachments: u32 = session.attachments,
        /// Kernel memory of the maps, in bytes.
        map_memory_bytes: u64 = session.map_memory,
        /// Number of calls that the daemon made since its start.
        calls_granted: u64 = session.calls_granted,
        /// Number of calls that it refused with a reason since its start.
        calls_refused: u64 = session.calls_refused,
    }
}

impl SessionList {
    pub fn new(answer: &ext::ListSessionsResponse) -> Self {
        Self { sessions: answer.sessions.iter().map(SessionJson::new).collect() }
    }
}

fn time(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

impl SessionJson {
    fn called(&self) -> String {
        let path = self.executable.clone().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default().to_owned()
    }
}

impl CommandOutput for SessionJson {
    fn table(&self, screen: Screen) -> String {
        let ids = |ids: &[u32]| {
            let texts: Vec<String> = ids.iter().map(u32::to_string).collect();
            (!texts.is_empty()).then(|| texts.join(", "))
        };
        let mut block = Block::new("Session");
        block
            .line("Name", &self.name)
            .line("State", self.state)
            .optional("Executable", self.executable.as_ref())
            .optional("SHA-256", self.sha256.as_ref())
            .optional("Command", self.command.as_ref())
            .line("User", self.uid)
            .optional("Unit", self.unit.as_ref())
            .line("Owner", &self.owner)
            .optional("Grant", self.grant.as_ref())
            .line("Started", &self.started)
            .optional("Programs", ids(&self.programs))
            .optional("Maps", ids(&self.maps))
            .optional("Links", ids(&self.links))
            .line("Other Attachments", self.attachments)
            .line("Map Memory", format!("{} bytes", self.map_memory_bytes))
            .line("Calls", format!("{} granted, {} refused", self.calls_granted, self.calls_refused));
        block.render(screen)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.name.clone()]
    }
}

impl CommandOutput for SessionList {
    fn table(&self, screen: Screen) -> String {
        let mut table = TextTable::new(&[
            "Session",
            "Command",
            "State",
            "User",
            "Unit",
            "Owner",
            "Started",
            "Programs",
            "Maps",
            "Links",
            "Map Memory",
            "Granted",
            "Refused",
        ]);
        for session in &self.sessions {
            table.row(vec![
                session.name.clone(),
                session.called(),
                session.state.to_owned(),
                session.uid.to_string(),
                session.unit.clone().unwrap_or_default(),
                session.owner.clone(),
                session.started.clone(),
                session.programs.len().to_string(),
                session.maps.len().to_string(),
                (session.links.len() + session.attachments as usize).to_string(),
                format!("{} KiB", session.map_memory_bytes.div_ceil(1 << 10)),
                session.calls_granted.to_string(),
                session.calls_refused.to_string(),
            ]);
        }
        format!("{}\n", table.render(screen))
    }

    fn ids(&self) -> Vec<String> {
        self.sessions.iter().map(|session| session.name.clone()).collect()
    }
}

impl CommandOutput for SessionsRemoved {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_and_block_have_what_the_command_has() {
        let session = SessionJson::new(&ext::Session {
            name: "1a2b".into(),
            uid: 1000,
            owner: "grant:tools".into(),
            executable: "/usr/bin/bpftrace".into(),
            programs: vec![7, 9],
            links: vec![3],
            attachments: 1,
            map_memory: 4097,
            calls_granted: 40,
            calls_refused: 2,
            left: true,
            receiver: 17,
            ..Default::default()
        });
        let block = session.table(Screen::PLAIN);
        for line in [
            "Executable:         /usr/bin/bpftrace",
            "Programs:           7, 9",
            "Calls:              40 granted, 2 refused",
        ] {
            assert!(block.contains(line), "{line}: {block}");
        }
        let list = SessionList { sessions: vec![session] };
        let table = list.table(Screen::PLAIN);
        assert!(table.contains("1a2b     bpftrace  left"), "{table}");
        assert!(table.contains("5 KiB"), "{table}");
        assert_eq!(list.ids(), ["1a2b"]);
        let json = serde_json::to_value(&list).unwrap();
        assert_eq!(json["sessions"][0]["started"], "1970-01-01T00:00:00Z");
        assert_eq!(
            (&json["sessions"][0]["state"], &json["sessions"][0]["receiver_pid"]),
            (&"left".into(), &serde_json::Value::Null)
        );
    }
}
