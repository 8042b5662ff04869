//! Requirements of hooks, options and maps that are newer than the type.

use bpfman_model::uapi::attach_type;
use bpfman_model::{LoadTarget, MapRole, MapSpec, ProgramType, SocketHook, map_type};
use bpfmand_object::ProgramEntry;

use crate::need::NeedKind;
use crate::since::{FirstLinux, LinuxVersion, since};

/// Names of map flags, by bit.
const MAP_FLAGS: [Option<&str>; 19] = [
    Some("BPF_F_NO_PREALLOC"),
    Some("BPF_F_NO_COMMON_LRU"),
    Some("BPF_F_NUMA_NODE"),
    Some("BPF_F_RDONLY"),
    Some("BPF_F_WRONLY"),
    Some("BPF_F_STACK_BUILD_ID"),
    Some("BPF_F_ZERO_SEED"),
    Some("BPF_F_RDONLY_PROG"),
    Some("BPF_F_WRONLY_PROG"),
    Some("BPF_F_CLONE"),
    Some("BPF_F_MMAPABLE"),
    Some("BPF_F_PRESERVE_ELEMS"),
    Some("BPF_F_INNER_MAP"),
    Some("BPF_F_LINK"),
    None,
    Some("BPF_F_VTYPE_BTF_OBJ_FD"),
    None,
    Some("BPF_F_SEGV_ON_FAULT"),
    Some("BPF_F_NO_USER_CONV"),
];

/// Returns the hook that a section selects, if its type has several.
pub(crate) fn hook(
    program_type: ProgramType,
    entry: &ProgramEntry,
) -> Option<(NeedKind, String, Option<FirstLinux>)> {
    let target = entry.attach_target.as_deref()?;
    match program_type.load_target()? {
        LoadTarget::SocketHook => {
            let name = attach_type::name(SocketHook::named(program_type, target)?.attach_type);
            let since = since("attach_type", &name);
            Some((NeedKind::Hook, name, since))
        }
        LoadTarget::Iterator => Some((NeedKind::Iterator, target.to_owned(), since("iterator", target))),
        _ => None,
    }
}

/// Returns the requirement of programs that may sleep; `None` for a type whose programs all may.
pub(crate) const fn sleep(program_type: ProgramType) -> Option<(&'static str, Option<LinuxVersion>)> {
    use ProgramType as T;
    Some(match program_type {
        T::Syscall => return None,
        T::Fentry | T::Fexit | T::FmodRet | T::Lsm => {
            ("programs that may sleep (.s)", Some(LinuxVersion(5, 10)))
        }
        T::Iter => ("iterators that may sleep (iter.s)", Some(LinuxVersion(5, 18))),
        T::Uprobe | T::Uretprobe | T::UprobeMulti | T::UretprobeMulti | T::UprobeSession | T::Usdt => {
            ("probes of processes that may sleep (uprobe.s)", Some(LinuxVersion(6, 0)))
        }
        T::StructOps => ("struct_ops that may sleep (struct_ops.s)", Some(LinuxVersion(6, 3))),
        _ => ("programs of other types that may sleep", None),
    })
}

/// Returns the type, flags and options of a map, and those of the maps in it.
pub(crate) fn of_map(map: &MapSpec) -> Vec<(NeedKind, String, Option<FirstLinux>)> {
    let name = map_type::name(map.map_type);
    let of_type = since("map_type", &name);
    let mut needs = vec![(NeedKind::MapType, name.clone(), of_type)];
    // Flags of global variables are the loader's own.
    if map.role == MapRole::Ordinary {
        for bit in (0..u32::BITS).filter(|bit| map.flags & (1 << bit) != 0) {
            let named = MAP_FLAGS.get(bit as usize).copied().flatten();
            let flag = named.map_or_else(|| format!("map flag {:#x}", 1_u32 << bit), str::to_owned);
            let first = since("map_flag", &flag);
            needs.push((NeedKind::Feature, flag, first));
        }
        if map.map_extra != 0 {
            // Only these two types read `map_extra`, each since its first version.
            let known = matches!(map.map_type, map_type::BLOOM_FILTER | map_type::ARENA);
            let first = if known { of_type } else { None };
            needs.push((NeedKind::Feature, format!("map_extra of a map of type {name}"), first));
        }
    }
    needs.extend(map.inner.iter().flat_map(|inner| of_map(inner)));
    needs
}
