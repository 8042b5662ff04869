//! What happens while programs run, one line each: for people, or as JSON.

use serde::Serialize;

use super::value::TypedValue;

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// A program was loaded.
    Loaded {
        /// Its function.
        program: String,
        /// The kernel's id.
        program_id: u32,
        /// What it was loaded as.
        program_type: String,
    },
    /// A program was attached.
    Attached {
        /// Its function.
        program: String,
        /// The kernel's id.
        program_id: u32,
        /// Where to.
        hook: String,
        /// The daemon's id of the link.
        link_id: u32,
    },
    /// From here on what the programs say is told.
    Running {
        /// The maps that are followed.
        maps: Vec<String>,
    },
    /// A program wrote a record.
    Record {
        /// The ring or perf buffer.
        map: String,
        /// By its type, or its bytes.
        value: TypedValue,
    },
    /// Records were lost.
    Lost {
        /// The buffer that they did not fit in.
        map: String,
        /// How many.
        records: u64,
    },
    /// An entry of a map is another than before.
    Changed {
        /// The map.
        map: String,
        /// The key.
        key: TypedValue,
        /// As it is now; of a per-CPU map the sum; null if it is gone.
        value: Option<TypedValue>,
        /// By how much it is more than before, where that can be said.
        step: Option<TypedValue>,
        /// The values by CPU, of a per-CPU map.
        #[serde(skip_serializing_if = "Option::is_none")]
        per_cpu: Option<Vec<TypedValue>>,
    },
    /// A global variable is another than before.
    Variable {
        /// Its name.
        variable: String,
        /// As it is now.
        value: Option<TypedValue>,
        /// By how much it is more than before, where that can be said.
        step: Option<TypedValue>,
    },
    /// A program of this machine printed a line.
    Printed {
        /// Name and id of the task that ran it.
        task: String,
        /// The CPU.
        cpu: Option<u32>,
        /// The line.
        text: String,
    },
    /// The file changed, and its programs run in the place of those before.
    Replaced {
        /// The programs, with their new ids.
        programs: Vec<ReplacedProgram>,
        /// What became of each map: kept, copied or new.
        maps: Vec<ReplacedMap>,
    },
    /// The file changed, and its programs cannot run: those before do.
    NotReplaced {
        /// Why.
        error: String,
    },
    /// A word about what is not shown, or is not as expected.
    Note {
        /// It is.
        text: String,
    },
    /// A map is watched from here on.
    Watching {
        /// Its name.
        map: String,
        /// The kernel's id.
        map_id: u32,
    },
    /// It is watched no more.
    WatchEnded {
        /// Why: interrupted, time, output.
        why: &'static str,
    },
    /// Nothing runs any more.
    Ended {
        /// Why: interrupted, time, output.
        why: &'static str,
    },
}

/// A program that goes on as a new version.
#[derive(Clone, Debug, Serialize)]
pub struct ReplacedProgram {
    /// Its function.
    pub program: String,
    /// The kernel's id of the new version.
    pub program_id: u32,
}

/// A map of programs that were replaced.
#[derive(Clone, Debug, Serialize)]
pub struct ReplacedMap {
    /// Its name.
    pub map: String,
    /// kept, copied or new.
    pub outcome: String,
}

/// A line for people, by where it goes.
#[derive(Debug)]
pub enum EventLine {
    /// What programs say.
    Said(String),
    /// What became of them.
    Told(String),
    /// What is not as it should be.
    Warned(String),
}

impl RunEvent {
    /// The event in one line for people.
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
                EventLine::Told(format!("loaded {program} ({program_type}) as program {program_id}"))
            }
            Self::Attached { program, hook, link_id, .. } => {
                EventLine::Told(format!("attached {program} to {hook} by link {link_id}"))
            }
            Self::Running { maps } if maps.is_empty() => {
                EventLine::Told("running; Ctrl-C ends it".to_owned())
            }
            Self::Running { maps } => {
                EventLine::Told(format!("running, with an eye on {}; Ctrl-C ends it", maps.join(", ")))
            }
            Self::Record { map, value } => EventLine::Said(format!("{map}: {value}")),
            Self::Lost { map, records } => EventLine::Warned(format!("{map}: {records} records were lost")),
            Self::Changed { map, key, value, step, .. } => {
                EventLine::Said(set(format!("{map}[{key}]"), value, step))
            }
            Self::Variable { variable, value, step } => EventLine::Said(set(variable.clone(), value, step)),
            Self::Printed { task, text, .. } if task.is_empty() => EventLine::Said(format!("print: {text}")),
            Self::Printed { task, text, .. } => EventLine::Said(format!("print of {task}: {text}")),
            Self::Replaced { programs, maps } => {
                let programs: Vec<_> = programs
                    .iter()
                    .map(|of| format!("{} as program {}", of.program, of.program_id))
                    .collect();
                let maps: Vec<_> = maps.iter().map(|of| format!("{} {}", of.map, of.outcome)).collect();
                let maps =
                    if maps.is_empty() { String::new() } else { format!("; maps: {}", maps.join(", ")) };
                EventLine::Told(format!("replaced {}{maps}", programs.join(", ")))
            }
            Self::NotReplaced { error } => EventLine::Warned(format!("the version before runs on: {error}")),
            Self::Note { text } => EventLine::Told(text.clone()),
            Self::Watching { map, .. } => EventLine::Told(format!("watching {map}; Ctrl-C ends it")),
            Self::WatchEnded { .. } => EventLine::Told("ended".to_owned()),
            Self::Ended { .. } => EventLine::Told("detached and unloaded".to_owned()),
        }
    }
}
