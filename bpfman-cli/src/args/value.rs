//! Parsers of flags' values.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::str::FromStr;

use bpfman_model::{LoadTarget, ProgramType, from_hexadecimal};
use bpfman_proto::ext::v1::LoadValues;
use bpfman_proto::type_number;
use bpfman_proto::v1::prog_specific_info::Info;
use bpfman_proto::v1::{
    BpfmanProgramType, FentryLoadInfo, FexitLoadInfo, LoadInfo, LsmLoadInfo, ProgSpecificInfo,
};

use super::value_error::ValueError;
use crate::kernel_type;

/// `KEY=VALUE`, split at the first `=`. The value may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// Text before the `=`.
    pub key: String,
    /// Text after the `=`.
    pub value: String,
}

impl FromStr for KeyValue {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some(("", _)) => Err(ValueError::NoName("key", text.to_owned())),
            Some((key, value)) => Ok(Self { key: key.to_owned(), value: value.to_owned() }),
            None => Err(ValueError::NoEquals(text.to_owned(), "KEY=VALUE")),
        }
    }
}

/// Returns pairs as a map; the last of equal keys wins.
#[must_use]
pub fn to_map(pairs: &[KeyValue]) -> HashMap<String, String> {
    pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect()
}

/// `NAME=VALUE`: a global variable and its value, which the daemon parses by the variable's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalValue {
    /// Name of the variable.
    pub name: String,
    /// Value by its type, or bytes as hexadecimal digits.
    pub text: String,
}

impl FromStr for GlobalValue {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) =
            text.split_once('=').ok_or_else(|| ValueError::NoEquals(text.to_owned(), "NAME=VALUE"))?;
        if name.is_empty() {
            return Err(ValueError::NoName("variable's name", text.to_owned()));
        }
        Ok(Self { name: name.to_owned(), text: value.to_owned() })
    }
}

/// `MAP=ENTRIES`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSize {
    pub map: String,
    pub entries: u32,
}

impl FromStr for MapSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (map, entries) =
            text.split_once('=').ok_or_else(|| ValueError::NoEquals(text.to_owned(), "MAP=ENTRIES"))?;
        if map.is_empty() {
            return Err(ValueError::NoName("map's name", text.to_owned()));
        }
        let not_entries = || ValueError::NotEntries(map.to_owned(), entries.to_owned());
        let number = entries.parse().ok().filter(|number| *number > 0).ok_or_else(not_entries)?;
        Ok(Self { map: map.to_owned(), entries: number })
    }
}

/// Returns the values of a load on the wire; a name may not occur twice.
pub fn load_values(globals: &[GlobalValue], sizes: &[MapSize]) -> Result<Option<LoadValues>, ValueError> {
    ensure_distinct("global variable", globals.iter().map(|global| &global.name))?;
    ensure_distinct("map", sizes.iter().map(|size| &size.map))?;
    let values = LoadValues {
        globals: globals.iter().map(|value| (value.name.clone(), value.text.clone())).collect(),
        map_sizes: sizes.iter().map(|size| (size.map.clone(), size.entries)).collect(),
        // Also accept bytes, which scripts of v0.6.0 pass.
        by_type_only: false,
    };
    Ok((values != LoadValues::default()).then_some(values))
}

fn ensure_distinct<'n>(
    what: &'static str,
    mut names: impl Iterator<Item = &'n String>,
) -> Result<(), ValueError> {
    let mut seen = HashSet::new();
    match names.find(|name| !seen.insert(*name)) {
        Some(name) => Err(ValueError::Twice(what, name.clone())),
        None => Ok(()),
    }
}

/// Packet in hexadecimal digits. Colons between bytes are allowed, as in addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketBytes(pub Vec<u8>);

impl FromStr for PacketBytes {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match from_hexadecimal(&text.replace(':', "")) {
            Some(bytes) if !bytes.is_empty() => Ok(Self(bytes)),
            _ => Err(ValueError::NotPacket),
        }
    }
}

/// `TYPE:FUNCTION`, or `TYPE:FUNCTION:TARGET` for types that are bound to a kernel function or hook at load. The target
/// is required for v0.6.0's types; others can take it from the section's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSpec {
    /// Number of the type on the wire; a return probe has that of its entry probe.
    pub program_type: i32,
    /// Name of a type without a number on the wire: a return probe's.
    pub actual_type: Option<&'static str>,
    /// Function name in the object file.
    pub function: String,
    /// Target: kernel function, trace point, hook or kind of objects.
    pub target: Option<String>,
}

impl FromStr for ProgramSpec {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split(':').collect();
        let (name, rest) = (parts[0], &parts[1..]);
        let known = kernel_type::exact(name)?;
        let target = target_form(known);
        if rest.iter().any(|part| part.is_empty()) {
            return Err(ValueError::EmptyPart(text.to_owned()));
        }
        let wrong = |form: String| Err(ValueError::WrongForm(text.to_owned(), form));
        let (function, target) = match (rest, target) {
            ([function], None | Some((_, false))) => (*function, None),
            ([function, target], Some(_)) => (*function, Some((*target).to_owned())),
            // The target is PROGRAM_ID:FUNCTION, or only PROGRAM_ID if the section names the function.
            ([function, program, replaced], Some(_)) if known == ProgramType::Freplace => {
                (*function, Some(format!("{program}:{replaced}")))
            }
            (_, None) => return wrong(format!("{name}:FUNCTION")),
            (_, Some((target, true))) => return wrong(format!("{name}:FUNCTION:{target}")),
            (_, Some((target, false))) => return wrong(format!("{name}:FUNCTION[:{target}]")),
        };
        let actual_type = (known.declared() != known).then_some(known.name());
        Ok(Self { program_type: type_number(known), actual_type, function: function.to_owned(), target })
    }
}

/// Returns the placeholder of a type's TARGET, and whether it is required; None for types that are not bound at load.
fn target_form(program_type: ProgramType) -> Option<(&'static str, bool)> {
    let placeholder = match program_type.load_target()? {
        LoadTarget::Function => "KERNEL_FUNCTION",
        LoadTarget::LsmHook | LoadTarget::SocketHook => "HOOK",
        LoadTarget::Tracepoint => "TRACEPOINT",
        LoadTarget::Iterator => "OBJECTS",
        LoadTarget::StructMember => "STRUCTURE.MEMBER",
        LoadTarget::ProgramFunction => "PROGRAM_ID[:FUNCTION]",
    };
    let is_required = matches!(
        program_type,
        ProgramType::Fentry | ProgramType::Fexit | ProgramType::Lsm | ProgramType::Freplace
    );
    Some((placeholder, is_required))
}

impl From<&ProgramSpec> for LoadInfo {
    fn from(spec: &ProgramSpec) -> Self {
        let target = spec.target.clone();
        let info = target.map(|target| match BpfmanProgramType::try_from(spec.program_type) {
            Ok(BpfmanProgramType::Fexit) => Info::FexitLoadInfo(FexitLoadInfo { fn_name: target }),
            Ok(BpfmanProgramType::Lsm) => Info::LsmLoadInfo(LsmLoadInfo { hook_name: target }),
            // Types without a message of their own use this one.
            _ => Info::FentryLoadInfo(FentryLoadInfo { fn_name: target }),
        });
        Self {
            name: spec.function.clone(),
            program_type: spec.program_type,
            info: info.map(|info| ProgSpecificInfo { info: Some(info) }),
        }
    }
}

/// Returns an absolute path, because the daemon has another working folder. Symlinks are not resolved.
#[must_use]
pub fn absolute(path: &Path) -> String {
    // Fails only for an empty path or without a working folder: the daemon's message is the clearest then.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    absolute.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_split_at_the_first_equals_sign() {
        let pair: KeyValue = "owner=a=b".parse().unwrap();
        assert_eq!((pair.key.as_str(), pair.value.as_str()), ("owner", "a=b"));
        assert_eq!("owner=".parse::<KeyValue>().unwrap().value, "");
        assert!("owner".parse::<KeyValue>().unwrap_err().to_string().contains("no `=`"));
        assert!("=x".parse::<KeyValue>().unwrap_err().to_string().contains("key is missing"));
    }

    #[test]
    fn a_global_has_a_name_and_a_value() {
        for (text, name, value) in [
            ("size=0aFF", "size", "0aFF"),
            ("name=a=b", "name", "a=b"),
            (r#"at={"x":1}"#, "at", r#"{"x":1}"#),
            // Only the daemon knows whether a variable can be empty.
            ("size=", "size", ""),
        ] {
            let global: GlobalValue = text.parse().unwrap();
            assert_eq!((global.name.as_str(), global.text.as_str()), (name, value));
        }
        for bad in ["size", "=00", ""] {
            assert!(bad.parse::<GlobalValue>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_there_once() {
        let globals: Vec<GlobalValue> = ["a=1", "b=1", "a=2"].map(|text| text.parse().unwrap()).into();
        let sizes: Vec<MapSize> = ["m=1", "m=1"].map(|text| text.parse().unwrap()).into();
        assert_eq!(load_values(&[], &[]), Ok(None));
        assert_eq!(load_values(&globals[..2], &sizes[..1]).unwrap().unwrap().globals["a"], "1");
        let says = |values: Result<_, ValueError>| values.unwrap_err().to_string();
        assert_eq!(says(load_values(&globals, &[])), "global variable a is named twice: give it one value");
        assert_eq!(says(load_values(&[], &sizes)), "map m is named twice: give it one value");
    }

    #[test]
    fn a_map_has_at_least_one_entry() {
        let size: MapSize = "events=1048576".parse().unwrap();
        assert_eq!((size.map.as_str(), size.entries), ("events", 1_048_576));
        for bad in ["events", "events=", "=5", "events=0", "events=-1", "events=4294967296", "events=1k"] {
            assert!(bad.parse::<MapSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn programs_have_two_parts_and_three_where_bound_at_load() {
        let spec: ProgramSpec = "xdp:pass".parse().unwrap();
        assert_eq!(
            spec,
            ProgramSpec {
                program_type: BpfmanProgramType::Xdp.into(),
                actual_type: None,
                function: "pass".into(),
                target: None
            }
        );
        let spec: ProgramSpec = "lsm:check:file_open".parse().unwrap();
        assert_eq!(spec.target.as_deref(), Some("file_open"));
        for (bad, message) in [
            ("xdp", "\"xdp\" is not xdp:FUNCTION"),
            ("xdp:a:b", "\"xdp:a:b\" is not xdp:FUNCTION"),
            ("fentry:a", "\"fentry:a\" is not fentry:FUNCTION:KERNEL_FUNCTION"),
            ("fexit:a:b:c", "\"fexit:a:b:c\" is not fexit:FUNCTION:KERNEL_FUNCTION"),
            ("lsm:a", "\"lsm:a\" is not lsm:FUNCTION:HOOK"),
            ("cgroup_skb:a:b:c", "\"cgroup_skb:a:b:c\" is not cgroup_skb:FUNCTION[:HOOK]"),
            ("sock_ops:a:b", "\"sock_ops:a:b\" is not sock_ops:FUNCTION"),
            ("xdp:", "a part of \"xdp:\" is empty"),
        ] {
            assert_eq!(bad.parse::<ProgramSpec>().unwrap_err().to_string(), message);
        }
        assert!(
            "xpd:a"
                .parse::<ProgramSpec>()
                .unwrap_err()
                .to_string()
                .starts_with("unknown program type \"xpd\"")
        );
    }

    #[test]
    fn other_types_may_leave_their_target_to_the_section() {
        let spec: ProgramSpec = "cgroup-sock-addr:guard".parse().unwrap();
        assert_eq!((spec.program_type, spec.target.as_ref()), (1007, None));
        let info = LoadInfo::from(&"tp_btf:watch:sched_switch".parse::<ProgramSpec>().unwrap());
        let named = info.info.and_then(|info| info.info);
        let expected = Info::FentryLoadInfo(FentryLoadInfo { fn_name: "sched_switch".to_owned() });
        assert_eq!((info.program_type, named), (1002, Some(expected)));
    }

    #[test]
    fn targets_of_the_page_are_those_that_are_read() {
        let page = include_str!("../../../docs/types.md");
        let mut rows = 0;
        for row in page.lines().filter(|row| row.starts_with("| `")) {
            let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
            if cells.len() != 7 {
                continue;
            }
            let has_target = !cells[2].trim().is_empty();
            for name in cells[0].split('`').skip(1).step_by(2) {
                rows += 1;
                let spec = format!("{name}:function:target").parse::<ProgramSpec>();
                assert_eq!(spec.is_ok(), has_target, "{name}: {spec:?}");
                let always = cells[2].contains("always");
                let bare = format!("{name}:function").parse::<ProgramSpec>();
                assert_eq!(bare.is_err(), always, "{name}: {bare:?}");
                if let Ok(spec) = spec {
                    let info = LoadInfo::from(&spec).info.and_then(|info| info.info);
                    assert!(info.is_some(), "{name}: the target reaches the wire");
                }
            }
        }
        assert_eq!(rows, ProgramType::ALL.len(), "each type has its row");
    }

    #[test]
    fn return_probes_are_sent_as_entry_probes_with_their_own_name() {
        for (name, wire) in
            [("kretprobe:f", BpfmanProgramType::Kprobe), ("uretprobe:f", BpfmanProgramType::Uprobe)]
        {
            let spec = name.parse::<ProgramSpec>().unwrap();
            assert_eq!((spec.program_type, spec.actual_type), (wire.into(), name.split(':').next()));
        }
    }

    #[test]
    fn load_targets_reach_the_wire() {
        let info = LoadInfo::from(&"fexit:leave:vfs_read".parse::<ProgramSpec>().unwrap());
        let expected = Info::FexitLoadInfo(FexitLoadInfo { fn_name: "vfs_read".into() });
        assert_eq!(info.info.and_then(|info| info.info), Some(expected));
        assert_eq!(info.name, "leave");
    }

    #[test]
    fn relative_paths_become_absolute() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute(Path::new("a/b.o")), here.join("a/b.o"));
        assert_eq!(absolute(Path::new("/a/b.o")), "/a/b.o");
    }
}
