//! Events of the daemon's journal as they arrive, one line each, as text or JSON.

use bpfman_client::JournalEvent;
use serde::Serialize;

use super::history::HistoryEntryJson;
use super::screen::{cell, harmless};
use super::{json_text, write_while_read, yaml_text};
use crate::args::{Global, OutputForm};
use crate::error::CliError;

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum JournalEventJson {
    /// An entry of the journal.
    Entry(Box<HistoryEntryJson>),
    /// Numbers of entries that are no longer available.
    Missed {
        first: u64,
        last: u64,
        entries: u64,
    },
    /// Numbers after this one now belong to other entries.
    Renumbered {
        /// Number after which entries changed.
        after: u64,
    },
    Damaged {
        lines: u64,
    },
}

#[derive(Clone, Debug, Serialize)]
struct EventLine<'e> {
    #[serde(flatten)]
    event: &'e JournalEventJson,
    /// Epoch (run) of the daemon that assigned the numbers; empty for an older daemon.
    epoch: &'e str,
}

impl JournalEventJson {
    /// Converts an event of the daemon; none for an event that only a newer daemon sends.
    #[must_use]
    pub fn new(event: &JournalEvent) -> Option<Self> {
        Some(match event {
            JournalEvent::Entry(line) => Self::Entry(Box::new(HistoryEntryJson::new(line))),
            JournalEvent::Missed { first, last } => {
                let entries = last.saturating_sub(*first).saturating_add(1);
                Self::Missed { first: *first, last: *last, entries }
            }
            JournalEvent::Renumbered { after } => Self::Renumbered { after: *after },
            JournalEvent::Damaged(lines) => Self::Damaged { lines: *lines },
            _ => return None,
        })
    }
}

pub fn header() -> String {
    columns("Number", "Time", "Who", "Call", "Result", "About")
}

/// Formats columns of fixed width, since later entries are unknown.
fn columns(number: &str, time: &str, who: &str, call: &str, result: &str, about: &str) -> String {
    format!("{number:>7}  {time:<20}  {who:<26}  {call:<14}  {result:<7}  {about}\n")
}

fn line(entry: &HistoryEntryJson) -> String {
    let grant = entry.grant.as_ref().map(|grant| format!(" (by grant {grant})")).unwrap_or_default();
    let (number, about) = (entry.number.to_string(), entry.came() + &grant);
    let [time, who, call, about] =
        [entry.short_time(), entry.who(), entry.call(), about].map(|text| cell(&text));
    harmless(&columns(&number, &time, &who, &call, &entry.result, &about)).into_owned()
}

/// Writes an event; returns false if the output is closed. In tables, only entries go to standard output.
pub fn tell(global: &Global, event: &JournalEventJson, epoch: &str) -> Result<bool, CliError> {
    let text = match (global.output, event) {
        (OutputForm::Json, event) => json_text::line(&EventLine { event, epoch })? + "\n",
        (OutputForm::Yaml, event) => {
            let line = EventLine { event, epoch };
            format!("---\n{}", yaml_text::document(&line)?)
        }
        (OutputForm::Table, JournalEventJson::Entry(entry)) if global.quiet => format!("{}\n", entry.number),
        (OutputForm::Table, JournalEventJson::Entry(entry)) => line(entry),
        (OutputForm::Table, JournalEventJson::Missed { first, last, entries }) => {
            super::warn(&format!(
                "{entries} entries are missed, numbers {first} to {last}: the journal has them no more"
            ));
            return Ok(true);
        }
        (OutputForm::Table, JournalEventJson::Renumbered { after }) => {
            super::warn(&format!(
                "the daemon had lost entries after number {after}, and gave their numbers again: what is after number {after} \
                 now comes"
            ));
            return Ok(true);
        }
        (OutputForm::Table, JournalEventJson::Damaged { lines }) => {
            super::warn(&format!("{lines} lines of the journal are damaged and not shown"));
            return Ok(true);
        }
    };
    write_while_read(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use bpfman_proto::ext::v1 as ext;

    use super::*;

    fn entry() -> JournalEvent {
        JournalEvent::Entry(Box::new(ext::JournalLine {
            number: 7,
            time: "2026-01-31T12:00:00.123456Z".to_owned(),
            uid: Some(1000),
            verb: "Attach".to_owned(),
            object: "program 7 at xdp e\nth0\x1b[2J".to_owned(),
            result: "done".to_owned(),
            grant: "network".to_owned(),
            ..Default::default()
        }))
    }

    #[test]
    fn an_entry_is_one_line_below_its_header() {
        let Some(JournalEventJson::Entry(entry)) = JournalEventJson::new(&entry()) else { panic!() };
        let line = line(&entry);
        assert_eq!(line.matches('\n').count(), 1);
        for (column, text) in
            [("Time", "2026-01-31T12:00:00Z"), ("Call", "attach"), ("About", "program 7 at xdp e\\nth0")]
        {
            assert_eq!(header().find(column), line.find(text), "{line}");
        }
        assert!(line.ends_with("(by grant network)\n") && !line.contains('\x1b'), "{line}");
    }

    #[test]
    fn programs_get_an_object_for_each_event() {
        let json = |event| serde_json::to_value(JournalEventJson::new(&event)).unwrap();
        let entry = json(entry());
        assert_eq!(
            (&entry["event"], &entry["number"], &entry["gid"]),
            (&"entry".into(), &7.into(), &0.into())
        );
        let gap = json(JournalEvent::Missed { first: 5, last: 9 });
        assert_eq!(gap, serde_json::json!({"event": "missed", "first": 5, "last": 9, "entries": 5}));
        assert_eq!(json(JournalEvent::Damaged(2)), serde_json::json!({"event": "damaged", "lines": 2}));
    }
}
