//! Hooks in the form of `bpfman run`: `xdp:eth0`, `kprobe:vfs_unlink`, `count=tracepoint:sched/sched_switch`.

use std::str::FromStr;

use bpfman_model::{ProgramType, WrittenPoint};

use super::suggestion::did_you_mean;

/// Hook with the program for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedHook {
    /// Function name; none for the program that fits.
    pub program: Option<String>,
    /// Hook to attach to.
    pub hook: WrittenPoint,
}

/// Error of a text that is no hook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no hook: {why}")]
pub struct BadNamedHook {
    /// Rejected text.
    pub text: String,
    /// Defect of the text.
    pub why: String,
}

impl FromStr for NamedHook {
    type Err = BadNamedHook;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Function names have neither `:` nor `/`; paths and patterns in hooks may contain an `=`.
        let (program, hook) = match text.split_once('=') {
            Some((program, hook)) if !program.contains([':', '/']) => (Some(program), hook),
            _ => (None, text),
        };
        if program == Some("") {
            let why = "the program in front of = is missing".to_owned();
            return Err(BadNamedHook { text: text.to_owned(), why });
        }
        Ok(Self { program: program.map(str::to_owned), hook: point(hook)? })
    }
}

/// Parses an attach point. For an unknown kind, the error suggests a similar known one.
pub fn point(text: &str) -> Result<WrittenPoint, BadNamedHook> {
    text.parse().map_err(|error: bpfman_model::BadWrittenPoint| {
        let why = match &error.unknown_kind {
            None => error.why,
            Some(kind) => {
                let kinds = ProgramType::ALL.map(ProgramType::name).into_iter();
                let meant = did_you_mean(kind, kinds.chain(["cgroup", "netns", "sockmap"]));
                format!("{}{meant}; `bpfman run --help` lists them", error.why)
            }
        };
        BadNamedHook { text: error.text, why }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_stands_in_front_of_its_hook() {
        let named: NamedHook = "count=uprobe:/opt/a=b:main".parse().unwrap();
        assert_eq!(
            (named.program.as_deref(), named.hook.to_string().as_str()),
            (Some("count"), "uprobe:/opt/a=b:main")
        );
        let bare: NamedHook = "uprobe:/opt/a=b:main".parse().unwrap();
        assert_eq!(bare.program, None);
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, why) in [
            ("eth0", "no kind of hook; `bpfman run --help` lists them"),
            ("kprobee:f", "no kind of hook (did you mean kprobe?)"),
            ("kprobe", "write kprobe:FUNCTION"),
            ("=xdp:eth0", "the program in front of = is missing"),
        ] {
            let error = text.parse::<NamedHook>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(text), "{error}");
        }
    }
}
