//! `bpfman map`: maps of the daemon's programs, and their entries.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::object_name::ObjectName;
use super::value_error::ValueError;
use super::watch::WatchFlag;

/// Map commands.
#[derive(Debug, Subcommand)]
pub enum MapCommand {
    /// List the maps of bpfman's programs, including maps inside maps.
    List(ListMaps),
    /// Show all entries of a map, formatted by their types.
    Dump(DumpMap),
    /// Show one entry; for a queue or a stack, the next value, which stays there.
    Get(GetEntry),
    /// Set one entry; add a value to a queue or a stack.
    Set(SetEntry),
    /// Delete entries.
    Delete(DeleteEntries),
    /// Show changes of a map, or records of a ring or perf buffer as they arrive, until Ctrl-C.
    Watch(WatchMap),
    /// Pin a map in a bpffs, with your own permissions on the folder.
    Pin(PinMap),
}

/// Map argument: a map's id, or `PROGRAM:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapName {
    /// Map by the kernel's id.
    Id(u32),
    /// Name of a program, which the map's name has to follow.
    Program(String),
    /// Map by a program and the map's name in the object.
    OfProgram {
        /// Id of the program, or its name.
        program: ObjectName,
        /// Map's name in the object.
        name: String,
    },
}

impl FromStr for MapName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ValueError::NotMap(text.to_owned());
        match text.split_once(':') {
            None => match text.parse().map_err(|_| wrong())? {
                ObjectName::Id(id) => Ok(Self::Id(id)),
                ObjectName::Name(name) => Ok(Self::Program(name)),
            },
            Some((_, "")) => Err(wrong()),
            Some((program, name)) => {
                let program = program.parse().map_err(|_| wrong())?;
                Ok(Self::OfProgram { program, name: name.to_owned() })
            }
        }
    }
}

impl std::fmt::Display for MapName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Program(program) => f.write_str(program),
            Self::OfProgram { program, name } => write!(f, "{program}:{name}"),
        }
    }
}

impl MapName {
    fn of(program: ObjectName, name: &str) -> Self {
        Self::OfProgram { program, name: name.to_owned() }
    }

    /// Returns the map that one or two arguments name. The first of two has to be a program.
    pub fn of_words(&self, name: Option<&str>) -> Result<Self, ValueError> {
        match (self, name) {
            (map, None) => Ok(map.clone()),
            (Self::Id(id), Some(name)) => Ok(Self::of(ObjectName::Id(*id), name)),
            (Self::Program(program), Some(name)) => Ok(Self::of(ObjectName::Name(program.clone()), name)),
            (Self::OfProgram { .. }, Some(name)) => Err(ValueError::NotMap(format!("{self} {name}"))),
        }
    }
}

/// `bpfman map list`.
#[derive(Args, Debug)]
pub struct ListMaps {
    #[command(flatten)]
    pub watch: WatchFlag,
    /// List only maps of this program, and maps inside these.
    #[arg(long, value_name = "ID")]
    pub program: Option<u32>,
}

/// `bpfman map dump`.
#[derive(Args, Debug)]
pub struct DumpMap {
    /// A map's id, or PROGRAM:NAME. If NAME follows as a second argument: the program's id or name.
    #[arg(value_name = "MAP")]
    pub map: MapName,
    /// Name of the map in the program's object, if the first argument is a program.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Show the value of each CPU, in CPU order, instead of the sum.
    #[arg(long)]
    pub per_cpu: bool,
    #[command(flatten)]
    pub watch: WatchFlag,
}

/// `bpfman map get`.
#[derive(Args, Debug)]
pub struct GetEntry {
    /// A map's id, or PROGRAM:NAME.
    #[arg(value_name = "MAP")]
    pub map: MapName,
    /// Key by its type: a number, text, JSON or FIELD=VALUE,...; or hex: and its bytes. Queues and stacks have no keys.
    #[arg(value_name = "KEY", allow_negative_numbers = true)]
    pub key: Option<String>,
    /// Show the value of each CPU, in CPU order, instead of the sum.
    #[arg(long)]
    pub per_cpu: bool,
}

/// `bpfman map set`.
#[derive(Args, Debug)]
pub struct SetEntry {
    /// Set it only if there is no entry with this key.
    #[arg(long, conflicts_with = "existing")]
    pub create_only: bool,
    /// Set it only if there is an entry with this key.
    #[arg(long)]
    pub existing: bool,
    /// A map's id, or PROGRAM:NAME.
    #[arg(value_name = "MAP")]
    pub map: MapName,
    /// Key, as for get; for a queue or a stack, the value.
    #[arg(value_name = "KEY", allow_negative_numbers = true)]
    pub key: String,
    /// Value by its type, in the same form as a key. Fields that it does not name are unchanged. In a per-CPU map, all
    /// CPUs get it.
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    pub value: Option<String>,
}

/// `bpfman map delete`.
#[derive(Args, Debug)]
pub struct DeleteEntries {
    /// Ignore entries that do not exist.
    #[arg(long)]
    pub ignore_missing: bool,
    /// A map's id, or PROGRAM:NAME.
    #[arg(value_name = "MAP")]
    pub map: MapName,
    /// Keys of entries, as for get.
    #[arg(value_name = "KEY", required = true, allow_negative_numbers = true)]
    pub keys: Vec<String>,
}

/// `bpfman map watch`.
#[derive(Args, Debug)]
pub struct WatchMap {
    /// A map's id, or PROGRAM:NAME. If NAME follows as a second argument: the program's id or name.
    #[arg(value_name = "MAP")]
    pub map: MapName,
    /// Name of the map in the program's object, if the first argument is a program.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// End after this time: a number and s, m, h or d. Default: at Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = super::image::age)]
    pub watch_for: Option<Duration>,
    /// Interval between reads of the entries: a number and s, m, h or d.
    #[arg(long, value_name = "TIME", value_parser = super::image::age, default_value = "1s")]
    pub interval: Duration,
    /// Type of the records, if the buffer's declaration does not name it: struct event.
    #[arg(long, value_name = "TYPE")]
    pub record: Option<String>,
}

/// `bpfman map pin`.
#[derive(Args, Debug)]
pub struct PinMap {
    /// A map's id, or PROGRAM:NAME.
    #[arg(value_name = "MAP")]
    pub map: MapName,
    /// Path in a bpffs. It must not exist.
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, CliCommand};

    #[test]
    fn a_map_is_named_by_its_id_or_by_a_program() {
        let of = |id, name: &str| MapName::of(ObjectName::Id(id), name);
        assert_eq!("17".parse(), Ok(MapName::Id(17)));
        assert_eq!("42:events".parse(), Ok(of(42, "events")));
        assert_eq!("42:.bss:x".parse(), Ok(of(42, ".bss:x")));
        let named = MapName::of(ObjectName::Name("count".to_owned()), "events");
        assert_eq!("count:events".parse(), Ok(named.clone()));
        assert_eq!("count".parse::<MapName>().unwrap().of_words(Some("events")), Ok(named));
        for bad in ["", "42:", ":events", "-1", "a b:events", "0:events", "4294967296"] {
            let error = bad.parse::<MapName>().unwrap_err().to_string();
            assert!(error.contains("is no map: write"), "{error}");
        }
        assert_eq!(MapName::Id(42).of_words(Some("events")), Ok(of(42, "events")));
        assert!(of(42, "a").of_words(Some("events")).is_err());
    }

    #[test]
    fn a_value_below_zero_is_no_flag() {
        let words = ["bpfman", "map", "set", "--create-only", "7:flows", "-1", "-5"];
        let CliCommand::Map(MapCommand::Set(set)) = Cli::try_parse_from(words).unwrap().command else {
            panic!("another command");
        };
        assert!(set.create_only);
        assert_eq!((set.key.as_str(), set.value.as_deref()), ("-1", Some("-5")));
        let words = ["bpfman", "map", "delete", "7:flows", "-1", "--ignore-missing"];
        let CliCommand::Map(MapCommand::Delete(delete)) = Cli::try_parse_from(words).unwrap().command else {
            panic!("another command");
        };
        assert!(delete.ignore_missing && delete.keys == ["-1"]);
        assert!(Cli::try_parse_from(["bpfman", "map", "set", "7", "1", "2", "3"]).is_err());
        assert!(Cli::try_parse_from(["bpfman", "map", "delete", "7"]).is_err());
    }
}
