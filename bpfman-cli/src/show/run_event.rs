//! Events while programs run, one line each, as text or JSON.

use serde::Serialize;

use super::value::TypedValue;

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// A program was loaded.
    Loaded { program: String, program_id: u32, program_type: String },
    /// A program was attached.
    Attached { program: String, program_id: u32, hook: String, link_id: u32 },
    /// Output of programs is shown from here on.
    Running { maps: Vec<String> },
    /// A program wrote a record.
    Record {
        /// Name of the ring or perf buffer.
        map: String,
        /// Record, by its type or as bytes.
        value: TypedValue,
    },
    /// Records were lost.
    Lost {
        /// Name of the buffer that was full.
        map: String,
        records: u64,
    },
    /// An entry of a map changed.
    Changed {
        map: String,
        key: TypedValue,
        /// Current value, for a per-CPU map the sum; null if the entry is gone.
        value: Option<TypedValue>,
        /// Increase since the previous value, if it can be computed.
        step: Option<TypedValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        per_cpu: Option<Vec<TypedValue>>,
    },
    /// A global variable changed.
    Variable {
        variable: String,
        value: Option<TypedValue>,
        /// Increase since the previous value, if it can be computed.
        step: Option<TypedValue>,
    },
    /// A program of this machine printed a line.
    Printed {
        /// Name and id of the task that ran it.
        task: String,
        cpu: Option<u32>,
        text: String,
    },
    /// The file changed, and its programs replaced the running ones.
    Replaced {
        /// Programs with their new ids.
        programs: Vec<ReplacedProgram>,
        /// Outcome of each map: kept, copied or new.
        maps: Vec<ReplacedMap>,
    },
    /// The file changed, but its programs cannot run; the old version keeps running.
    NotReplaced { error: String },
    /// Note about missing or unexpected output.
    Note { text: String },
    /// A map is watched from here on.
    Watching { map: String, map_id: u32 },
    /// The map is no longer watched.
    WatchEnded { why: &'static str },
    /// All programs have ended.
    Ended { why: &'static str },
}

/// Program with a new version.
#[derive(Clone, Debug, Serialize)]
pub struct ReplacedProgram {
    pub program: String,
    /// Kernel's id of the new version.
    pub program_id: u32,
}

/// Map of replaced programs.
#[derive(Clone, Debug, Serialize)]
pub struct ReplacedMap {
    pub map: String,
    /// Outcome: kept, copied or new.
    pub outcome: String,
}

/// Text line, by its destination.
#[derive(Debug)]
pub enum EventLine {
    /// Output of programs.
    Output(String),
    /// State of programs.
    Status(String),
    Warning(String),
}

impl RunEvent {
    #[must_use]
    pub fn line(&self) -> EventLine {
        let set = |name: String, value: &Option<TypedValue>, step: &Option<TypedValue>| match value {
            None => format!("{name} is gone"),
            Some(value) => match step.as_ref().and_then(TypedValue::as_step) {
                Some(step) => format!("{name} = {value} ({step})"),
                None => format!("{name} = {value}"),
            },
        };
        match self {
            Self::Loaded { program, program_id, program_type } => {
                EventLine::Status(format!("loaded {program} ({program_type}) as program {program_id}"))
            }
            Self::Attached { program, hook, link_id, .. } => {
                EventLine::Status(format!("attached {program} to {hook} by link {link_id}"))
            }
            Self::Running { maps } if maps.is_empty() => {
                EventLine::Status("running; Ctrl-C ends it".to_owned())
            }
            Self::Running { maps } => {
                EventLine::Status(format!("running, watching {}; Ctrl-C ends it", maps.join(", ")))
            }
            Self::Record { map, value } => EventLine::Output(format!("{map}: {value}")),
            Self::Lost { map, records } => EventLine::Warning(format!("{map}: {records} records were lost")),
            Self::Changed { map, key, value, step, .. } => {
                EventLine::Output(set(format!("{map}[{key}]"), value, step))
            }
            Self::Variable { variable, value, step } => EventLine::Output(set(variable.clone(), value, step)),
            Self::Printed { task, text, .. } if task.is_empty() => {
                EventLine::Output(format!("print: {text}"))
            }
            Self::Printed { task, text, .. } => EventLine::Output(format!("print of {task}: {text}")),
            Self::Replaced { programs, maps } => {
                let programs: Vec<_> = programs
                    .iter()
                    .map(|of| format!("{} as program {}", of.program, of.program_id))
                    .collect();
                let maps: Vec<_> = maps.iter().map(|of| format!("{} {}", of.map, of.outcome)).collect();
                let maps =
                    if maps.is_empty() { String::new() } else { format!("; maps: {}", maps.join(", ")) };
                EventLine::Status(format!("replaced {}{maps}", programs.join(", ")))
            }
            Self::NotReplaced { error } => EventLine::Warning(format!("the version before runs on: {error}")),
            Self::Note { text } => EventLine::Status(text.clone()),
            Self::Watching { map, .. } => EventLine::Status(format!("watching {map}; Ctrl-C ends it")),
            Self::WatchEnded { .. } => EventLine::Status("ended".to_owned()),
            Self::Ended { .. } => EventLine::Status("detached and unloaded".to_owned()),
        }
    }
}
