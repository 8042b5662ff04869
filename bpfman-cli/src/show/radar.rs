//! Third-party programs and links, and the state of the radar.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::CommandOutput;
use super::json::filled;
use super::screen::Screen;
use super::table::TextTable;
use crate::show::json_shape::json_shape;
use crate::show::radar_proposals::proposals;

json_shape! {
    pub struct RadarJson(answer: &ext::SurveyRadarResponse) {
        radar: RadarStatusJson = RadarStatusJson::new(&answer.status.clone().unwrap_or_default()),
        programs: Vec<StrangeProgramJson> = answer.programs.iter().map(StrangeProgramJson::new).collect(),
        links: Vec<StrangeLinkJson> = answer.links.iter().map(StrangeLinkJson::new).collect(),
        /// Commands that would run the loaders of these programs without privileges.
        run_as: Vec<String> = proposals(&answer.programs),
    }
}

json_shape! {
    pub struct RadarStatusJson(status: &ext::RadarStatus) {
        /// Source of events: `off`, `trampolines`, `tracepoints` or `polling`.
        source: String = status.source.clone(),
        /// Image or file of the radar's programs.
        object: Option<String> = filled(&status.object),
        /// Reason why no better source is used.
        why: Option<String> = filled(&status.why),
        /// Events that it cannot observe.
        unseen: Vec<String> = status.unseen.clone(),
        since: Option<String> = filled(&status.since),
        /// Number of events since the start.
        events: u64 = status.events,
        /// Number of the daemon's own events.
        own_events: u64 = status.own,
        /// Number of events that were only counted, by process.
        aggregated: u64 = status.aggregated,
        lost: u64 = status.lost,
        /// Hooks of bpfman that third parties changed.
        touched: Vec<String> = status.touched.clone(),
    }
}

json_shape! {
    /// Third-party program.
    pub struct StrangeProgramJson(program: &ext::StrangeProgram) {
        id: u32 = program.id,
        /// Name, at most 15 bytes.
        name: String = program.name.clone(),
        /// Type, by its name in `list programs`.
        r#type: String = program.r#type.clone(),
        tag: String = program.tag.clone(),
        /// Time of load (RFC 3339, UTC).
        loaded_at: String = program.loaded_at.clone(),
        /// User id of the loading process.
        uid: u32 = program.uid,
        /// Processes that have it open.
        holders: Vec<HolderJson> = program.holders.iter().map(HolderJson::new).collect(),
        /// Process that loaded it, if observed.
        loaded_by: Option<StrangeProcessJson> = program.loaded_by.as_ref().map(StrangeProcessJson::new),
        /// Session of `run-as` that has it: `session NAME of user UID`, `left by COMMAND of user UID`.
        session: Option<String> = filled(&program.session),
    }
}

json_shape! {
    /// Third-party link.
    pub struct StrangeLinkJson(link: &ext::StrangeLink) {
        id: u32 = link.id,
        r#type: String = link.r#type.clone(),
        program_id: u32 = link.program_id,
        /// Index of its interface, if it has one.
        ifindex: Option<u32> = (link.ifindex > 0).then_some(link.ifindex),
        /// Its hook, as commands name it, if it was found.
        hook: Option<String> = filled(&link.hook),
        /// Processes that have it open.
        holders: Vec<HolderJson> = link.holders.iter().map(HolderJson::new).collect(),
        /// Process that created it, if observed.
        made_by: Option<StrangeProcessJson> = link.made_by.as_ref().map(StrangeProcessJson::new),
        /// Session that has it, in the same form as for programs.
        session: Option<String> = filled(&link.session),
    }
}

json_shape! {
    /// Process that has an object open.
    pub struct HolderJson(holder: &ext::ObjectHolder) {
        pid: u32 = holder.pid,
        command: String = holder.command.clone(),
        /// systemd unit or container of the process.
        unit: Option<String> = filled(&holder.unit),
    }
}

json_shape! {
    /// Process of a third-party action.
    pub struct StrangeProcessJson(process: &ext::StrangeProcess) {
        uid: u32 = process.uid,
        pid: Option<u32> = (process.pid > 0).then_some(process.pid),
        /// Name of the process, which it chose itself.
        command: String = process.command.clone(),
        executable: Option<String> = filled(&process.executable),
        unit: Option<String> = filled(&process.unit),
        pod: Option<String> = filled(&process.pod),
        container: Option<String> = filled(&process.container),
        /// True if the process ended before it could be identified.
        gone: bool = process.gone,
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct RadarStopped {
    /// Always `stopped`.
    pub outcome: &'static str,
}

impl RadarStatusJson {
    fn lines(&self) -> String {
        let mut lines = format!(" Radar: {}", self.source);
        lines.extend(self.object.as_ref().map(|object| format!(", {object}")));
        lines.extend(self.since.as_ref().map(|since| format!(", since {since}")));
        lines.push('\n');
        if self.since.is_some() {
            lines.push_str(&format!(
                " Events: {}, {} of bpfman itself, {} only counted, {} lost\n",
                self.events, self.own_events, self.aggregated, self.lost
            ));
        }
        lines.extend(self.why.as_ref().map(|why| format!(" Not better, because: {why}\n")));
        lines.extend(self.unseen.iter().map(|what| format!(" Not seen: {what}\n")));
        lines.extend(self.touched.iter().map(|what| format!(" Touched: {what}\n")));
        lines
    }
}

impl StrangeProcessJson {
    fn text(&self) -> String {
        let place = [&self.container, &self.unit].into_iter().flatten().next();
        let mut text = self.executable.clone().unwrap_or_else(|| self.command.clone());
        text.extend(self.pid.map(|pid| format!(" ({pid})")));
        text.extend(place.map(|place| format!(", {place}")));
        text.push_str(&format!(", user {}{}", self.uid, if self.gone { ", gone" } else { "" }));
        text
    }
}

/// Returns the session for which the daemon made the call, or the process that made it.
fn by(session: Option<&String>, process: Option<&StrangeProcessJson>) -> String {
    session.cloned().or_else(|| process.map(StrangeProcessJson::text)).unwrap_or_default()
}

fn held(holders: &[HolderJson]) -> String {
    let holder = |holder: &HolderJson| {
        let unit = holder.unit.as_ref().map(|unit| format!(", {unit}")).unwrap_or_default();
        format!("{} ({}{unit})", holder.command, holder.pid)
    };
    holders.iter().map(holder).collect::<Vec<_>>().join("; ")
}

impl CommandOutput for RadarJson {
    fn table(&self, screen: Screen) -> String {
        let mut programs =
            TextTable::new(&["Program ID", "Name", "Type", "Loaded", "User", "Loaded By", "Held By"]);
        for program in &self.programs {
            programs.row(vec![
                program.id.to_string(),
                program.name.clone(),
                program.r#type.clone(),
                program.loaded_at.clone(),
                program.uid.to_string(),
                by(program.session.as_ref(), program.loaded_by.as_ref()),
                held(&program.holders),
            ]);
        }
        let mut links = TextTable::new(&["Link ID", "Type", "Program ID", "Interface", "Made By", "Held By"]);
        for link in &self.links {
            links.row(vec![
                link.id.to_string(),
                link.r#type.clone(),
                link.program_id.to_string(),
                link.hook.clone().or_else(|| link.ifindex.map(|index| index.to_string())).unwrap_or_default(),
                by(link.session.as_ref(), link.made_by.as_ref()),
                held(&link.holders),
            ]);
        }
        let lines = self.run_as.iter().map(|line| format!("   {line}\n"));
        let lines: String = lines.collect();
        let proposed = match lines.as_str() {
            "" => String::new(),
            lines => {
                format!(" Without rights, with each call granted and recorded, these would run as:\n{lines}")
            }
        };
        let parts = [self.radar.lines(), programs.render(screen), links.render(screen), proposed];
        parts.join("\n").trim_end_matches('\n').to_owned() + "\n"
    }

    fn ids(&self) -> Vec<String> {
        self.programs.iter().map(|program| program.id.to_string()).collect()
    }
}

impl CommandOutput for RadarStatusJson {
    fn table(&self, _: Screen) -> String {
        self.lines()
    }
}

impl CommandOutput for RadarStopped {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_names_loader_and_holders_and_escapes_their_names() {
        let process = ext::StrangeProcess {
            pid: 7,
            command: "evil\n\u{1b}[2J".to_owned(),
            unit: "a.service".to_owned(),
            gone: true,
            ..Default::default()
        };
        let holder = ext::ObjectHolder { pid: 8, command: "agent".to_owned(), ..Default::default() };
        let program = ext::StrangeProgram {
            id: 41,
            holders: vec![holder],
            loaded_by: Some(process),
            ..Default::default()
        };
        let status = ext::RadarStatus {
            source: "tracepoints".to_owned(),
            since: "2026-01-31T12:00:00Z".to_owned(),
            unseen: vec!["XDP by netlink: no function".to_owned()],
            lost: 3,
            ..Default::default()
        };
        let answer =
            ext::SurveyRadarResponse { status: Some(status), programs: vec![program], links: Vec::new() };
        let shown = RadarJson::new(&answer);
        let table = shown.table(Screen::PLAIN);
        for text in [
            "Radar: tracepoints, since 2026",
            "3 lost",
            "Not seen: XDP by netlink",
            "evil\\n\\u{1b}[2J (7), a.service, user 0, gone",
            "agent (8)",
        ] {
            assert!(table.contains(text), "{text}: {table}");
        }
        assert_eq!(shown.ids(), ["41"]);
    }
}
