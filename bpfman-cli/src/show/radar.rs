//! What others have loaded and attached, and how the radar stands.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::CommandOutput;
use super::json::filled;
use super::screen::Screen;
use super::table::TextTable;
use crate::show::json_shape::json_shape;

json_shape! {
    /// The answer to `radar`.
    pub struct RadarJson(answer: &ext::SurveyRadarResponse) {
        /// How it stands.
        radar: RadarStatusJson = RadarStatusJson::new(&answer.status.clone().unwrap_or_default()),
        /// Programs that are not this daemon's.
        programs: Vec<StrangeProgramJson> = answer.programs.iter().map(StrangeProgramJson::new).collect(),
        /// Links that are not.
        links: Vec<StrangeLinkJson> = answer.links.iter().map(StrangeLinkJson::new).collect(),
    }
}

json_shape! {
    /// How the radar stands.
    pub struct RadarStatusJson(status: &ext::RadarStatus) {
        /// `off`, `trampolines`, `tracepoints` or `polling`.
        source: String = status.source.clone(),
        /// Its object.
        object: Option<String> = filled(&status.object),
        /// What keeps it from a better source.
        why: Option<String> = filled(&status.why),
        /// What it cannot see.
        unseen: Vec<String> = status.unseen.clone(),
        /// Since when it sees.
        since: Option<String> = filled(&status.since),
        /// Events since then.
        events: u64 = status.events,
        /// Those of the daemon itself.
        own_events: u64 = status.own,
        /// Those that were only counted, by process.
        aggregated: u64 = status.aggregated,
        /// Those of which nothing is known.
        lost: u64 = status.lost,
        /// Hooks of bpfman that others touched.
        touched: Vec<String> = status.touched.clone(),
    }
}

json_shape! {
    /// A program of others.
    pub struct StrangeProgramJson(program: &ext::StrangeProgram) {
        /// The kernel's id.
        id: u32 = program.id,
        /// At most 15 bytes.
        name: String = program.name.clone(),
        /// As `list programs` names it.
        r#type: String = program.r#type.clone(),
        /// Hash of its instructions.
        tag: String = program.tag.clone(),
        /// RFC 3339, UTC.
        loaded_at: String = program.loaded_at.clone(),
        /// Who loaded it, by user.
        uid: u32 = program.uid,
        /// Who has it open.
        holders: Vec<HolderJson> = program.holders.iter().map(HolderJson::new).collect(),
        /// Who loaded it, if that was seen.
        loaded_by: Option<StrangeProcessJson> = program.loaded_by.as_ref().map(StrangeProcessJson::new),
    }
}

json_shape! {
    /// A link of others.
    pub struct StrangeLinkJson(link: &ext::StrangeLink) {
        /// The kernel's id.
        id: u32 = link.id,
        /// As bpftool names it.
        r#type: String = link.r#type.clone(),
        /// The program that it runs.
        program_id: u32 = link.program_id,
        /// Index of its interface, where it is at one.
        ifindex: Option<u32> = (link.ifindex > 0).then_some(link.ifindex),
        /// Who has it open.
        holders: Vec<HolderJson> = link.holders.iter().map(HolderJson::new).collect(),
        /// Who made it, if that was seen.
        made_by: Option<StrangeProcessJson> = link.made_by.as_ref().map(StrangeProcessJson::new),
    }
}

json_shape! {
    /// A process that has something open.
    pub struct HolderJson(holder: &ext::ObjectHolder) {
        /// Its number.
        pid: u32 = holder.pid,
        /// Its name.
        command: String = holder.command.clone(),
        /// Its systemd unit or container.
        unit: Option<String> = filled(&holder.unit),
    }
}

json_shape! {
    /// Who did something.
    pub struct StrangeProcessJson(process: &ext::StrangeProcess) {
        /// User id.
        uid: u32 = process.uid,
        /// Process id.
        pid: Option<u32> = (process.pid > 0).then_some(process.pid),
        /// The name that it gave itself.
        command: String = process.command.clone(),
        /// Path of its executable.
        executable: Option<String> = filled(&process.executable),
        /// systemd unit.
        unit: Option<String> = filled(&process.unit),
        /// Pod.
        pod: Option<String> = filled(&process.pod),
        /// Container.
        container: Option<String> = filled(&process.container),
        /// It ended before anybody could look at it.
        gone: bool = process.gone,
    }
}

/// The answer to `radar stop`.
#[derive(Clone, Debug, Serialize)]
pub struct RadarStopped {
    /// `stopped`.
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
                program.loaded_by.as_ref().map(StrangeProcessJson::text).unwrap_or_default(),
                held(&program.holders),
            ]);
        }
        let mut links = TextTable::new(&["Link ID", "Type", "Program ID", "Interface", "Made By", "Held By"]);
        for link in &self.links {
            links.row(vec![
                link.id.to_string(),
                link.r#type.clone(),
                link.program_id.to_string(),
                link.ifindex.map(|index| index.to_string()).unwrap_or_default(),
                link.made_by.as_ref().map(StrangeProcessJson::text).unwrap_or_default(),
                held(&link.holders),
            ]);
        }
        let parts = [self.radar.lines(), programs.render(screen), links.render(screen)];
        parts.join("\n")
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
    fn who_loaded_and_who_holds_is_in_the_row_and_names_of_others_stay_in_it() {
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
