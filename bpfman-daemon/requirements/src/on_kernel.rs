//! What of an object's needs a kernel lacks, by that kernel's types.

use bpfmand_object::{KernelBtf, ObjectFile, ProgramWants, TextOptions};

use crate::need::{KernelNeed, NeedKind, ObjectNeeds};
use crate::since::LinuxVersion;

/// A kernel, as its types and its release show it.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelView<'a> {
    /// Its types, with those of its modules as far as they are known.
    pub types: Option<&'a KernelBtf>,
    /// Its version, where it is known: it decides about what types do not tell.
    pub version: Option<LinuxVersion>,
}

/// Something that a kernel lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What is missing, for example `helper bpf_loop`.
    pub what: String,
    /// The programs and maps that ask for it.
    pub wanted_by: Vec<String>,
    /// Why it is known to be missing.
    pub why: String,
}

impl KernelView<'_> {
    /// What this kernel lacks of what an object needs. What can be seen neither by types nor by the version is taken to be
    /// there: only a load can tell.
    #[must_use]
    pub fn lacks(&self, object: &ObjectFile, needs: &ObjectNeeds) -> Vec<Lack> {
        let mut lacks: Vec<Lack> = needs
            .needs
            .iter()
            .filter(|need| !need.is_optional)
            .filter_map(|need| {
                let why = self.why_missing(need)?;
                let what = format!("{} {}", need.kind.name(), need.name);
                Some(Lack { what, wanted_by: need.wanted_by.iter().cloned().collect(), why })
            })
            .collect();
        if let Some(types) = self.types {
            unresolved(object, types, &mut lacks);
        }
        lacks
    }

    fn why_missing(&self, need: &KernelNeed) -> Option<String> {
        let known = self.types.and_then(|types| is_there(types, need));
        let too_old = need.since.zip(self.version).filter(|(since, version)| *version < since.version);
        match (known, too_old) {
            (Some(true), _) => None,
            (Some(false), _) => {
                let since = need.since.map(|since| format!("; Linux {} has it", since.version));
                Some(format!("its types have no such {}{}", need.kind.name(), since.unwrap_or_default()))
            }
            (None, Some((since, version))) => {
                Some(format!("Linux {} has it, and this is Linux {version}", since.version))
            }
            (None, None) if self.types.is_none() && matches!(need.kind, NeedKind::Type) => {
                Some("the kernel has no types of itself (BTF)".to_owned())
            }
            (None, None) => None,
        }
    }
}

/// Whether the kernel's types show it; none where they do not tell.
fn is_there(types: &KernelBtf, need: &KernelNeed) -> Option<bool> {
    let among =
        |enumeration: &str, name: String| Some(types.enumerators(enumeration)?.contains(&name.as_str()));
    let upper = || need.name.to_ascii_uppercase();
    match need.kind {
        NeedKind::ProgramType => among("bpf_prog_type", format!("BPF_PROG_TYPE_{}", upper())),
        NeedKind::MapType => among("bpf_map_type", format!("BPF_MAP_TYPE_{}", upper())),
        NeedKind::Helper => among("bpf_func_id", need.name.replacen("bpf_", "BPF_FUNC_", 1)),
        NeedKind::Kfunc => Some(types.function(plain(&need.name)).is_some()),
        NeedKind::LsmHook => Some(types.lsm_hook_id(&need.name).is_some()),
        // Names of functions that can be probed are more than types tell; of trace points they tell the last part alone.
        NeedKind::Tracepoint => {
            let event = need.name.rsplit('/').next().unwrap_or_default();
            (!event.starts_with("sys_")).then(|| types.tracepoint(event).is_some())
        }
        NeedKind::Attachment
        | NeedKind::Instructions
        | NeedKind::Variable
        | NeedKind::Function
        | NeedKind::Type => None,
    }
}

/// A name without its flavour.
fn plain(name: &str) -> &str {
    name.split("___").next().unwrap_or(name)
}

/// Adds types, fields and symbols that programs ask for in vain, as linking them says, but for what they can do without.
fn unresolved(object: &ObjectFile, types: &KernelBtf, lacks: &mut Vec<Lack>) {
    let options = TextOptions { kernel_btf: Some(types), ..TextOptions::default() };
    for program in object.programs().iter().filter(|program| program.family.program_type().is_some()) {
        let wanted_by = vec![program.name.clone()];
        let Ok(wants) = object.wants(&program.name) else { continue };
        match object.link(&program.name, &options) {
            Ok(linked) => {
                let missing = linked.unresolved.into_iter().map(|unresolved| unresolved.what);
                lacks.extend(missing.filter(|what| !can_do_without(&wants, what)).map(|what| Lack {
                    what,
                    wanted_by: wanted_by.clone(),
                    why: "the verifier refuses it where the program can reach it".to_owned(),
                }));
            }
            // What the program cannot be linked without is mostly named already.
            Err(_) if lacks.iter().any(|lack| lack.wanted_by.contains(&program.name)) => {}
            Err(error) => {
                let (what, why) =
                    (format!("what program {} is linked with", program.name), error.to_string());
                lacks.push(Lack { what, wanted_by, why });
            }
        }
    }
}

/// Whether a program asks first if something is there. What is missing is told in words that begin with its place, or name
/// the symbol.
fn can_do_without(wants: &ProgramWants, missing: &str) -> bool {
    let types = wants.types.iter().filter(|(_, asks)| **asks);
    let symbols = wants.functions.iter().chain(&wants.variables).filter(|(_, weak)| **weak);
    types
        .into_iter()
        .any(|(place, _)| missing.strip_prefix(place.as_str()).is_some_and(|rest| rest.starts_with(' ')))
        || symbols.into_iter().any(|(name, _)| missing.contains(&format!(" {name} (weak)")))
}
