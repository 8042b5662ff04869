//! Requirements of an object that a kernel lacks.

use std::collections::BTreeSet;

use bpfman_model::{FunctionHints, ProgramType};
use bpfmand_object::{KernelBtf, ObjectFile, ProgramWants, TextOptions};

use crate::need::{KernelNeed, NeedKind, ObjectNeeds};
use crate::since::{LinuxVersion, rows};

/// Description of a kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelView<'a> {
    /// Types of the kernel, with those of known modules.
    pub types: Option<&'a KernelBtf>,
    /// Set if the types include all loaded modules: anything else is missing.
    pub has_modules: bool,
    /// All functions of the kernel and of loaded modules, as `/proc/kallsyms` names them, if known.
    pub functions: Option<&'a BTreeSet<String>>,
    /// Version, if known; it decides where types are not conclusive.
    pub version: Option<LinuxVersion>,
}

/// Missing requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Requirement, for example `helper bpf_loop`.
    pub what: String,
    /// Programs and maps that need it.
    pub wanted_by: Vec<String>,
    /// Evidence that it is missing.
    pub why: String,
    /// Set if it prevents a load. False if programs test for it, or neither types nor version are conclusive.
    pub is_certain: bool,
    /// Set for a requirement of attaching: programs load without it.
    pub is_for_attaching: bool,
}

enum Found {
    Yes,
    No(String),
    Doubt(String),
}

impl KernelView<'_> {
    /// Returns the missing requirements. Those that neither types nor version decide are assumed to be met.
    #[must_use]
    pub fn lacks(&self, object: &ObjectFile, needs: &ObjectNeeds) -> Vec<Lack> {
        let asks = |program: &String| needs.wants.get(program).is_some_and(|wants| wants.asks_first);
        let version = self.version.or_else(|| self.types.and_then(version_of));
        let mut lacks = Vec::new();
        for need in needs.needs.iter().filter(|need| !need.is_optional) {
            let (why, sure) = match self.look(need, version) {
                Found::Yes => continue,
                Found::No(why) => (why, true),
                Found::Doubt(why) => (why, false),
            };
            // Maps and program types are needed before a program can test anything.
            let unasked =
                matches!(need.kind, NeedKind::MapType | NeedKind::ProgramType | NeedKind::Attachment);
            lacks.push(Lack {
                what: format!("{} {}", need.kind.name(), need.name),
                wanted_by: need.wanted_by.iter().cloned().collect(),
                why,
                is_certain: sure && (unasked || !need.wanted_by.iter().all(asks)),
                is_for_attaching: matches!(need.kind, NeedKind::Attachment | NeedKind::ProbedFunction),
            });
        }
        if let Some(types) = self.types {
            self.unresolved(object, needs, types, &mut lacks);
        }
        lacks
    }

    fn look(&self, need: &KernelNeed, version: Option<LinuxVersion>) -> Found {
        if matches!(need.kind, NeedKind::Function | NeedKind::ProbedFunction) {
            return self.look_for_function(need.kind, &need.name);
        }
        let since = need.since.map(|since| format!("; Linux {} has it", since.version)).unwrap_or_default();
        match self.types.and_then(|types| find_in_types(types, need)) {
            Some(true) => return Found::Yes,
            Some(false) if !self.has_modules && may_be_of_a_module(need.kind) => {
                return Found::Doubt("the kernel itself has none; one of its modules may".to_owned());
            }
            Some(false) => return Found::No(format!("its types have no such {}{since}", need.kind.name())),
            None => {}
        }
        match (need.since, version) {
            (Some(since), Some(version)) if version < since.version => {
                let why = format!("Linux {} brought it, and this is Linux {version}", since.version);
                // Distributions backport features; types reveal them.
                if self.types.is_some() { Found::Doubt(why) } else { Found::No(why) }
            }
            _ if self.types.is_none() && need.kind == NeedKind::Type => {
                Found::No("the kernel has no types of itself (BTF)".to_owned())
            }
            _ => Found::Yes,
        }
    }

    /// Looks for a function: in the types for trampolines, for probes in the list of symbols, which has more.
    fn look_for_function(&self, kind: NeedKind, target: &str) -> Found {
        let target = target.split(['+', ' ']).next().unwrap_or(target);
        let (module, name) = match target.split_once(':') {
            Some((module, name)) => (Some(module), name),
            None => (None, target),
        };
        let in_types = self.types.map(|types| match module {
            Some(module) => types.function_of(module, name).is_some(),
            None => types.function(name).is_some(),
        });
        let hints = || match self.functions {
            Some(functions) => FunctionHints::of(name, functions.iter().map(String::as_str)),
            None => FunctionHints::of(name, self.types.into_iter().flat_map(KernelBtf::function_names)),
        };
        match (kind, in_types, self.functions) {
            (_, Some(true), _) | (NeedKind::Function, None, _) | (_, None, None) => Found::Yes,
            (NeedKind::Function, Some(false), _) => {
                let why = format!("its types have no such function{}", hints());
                if self.has_modules { Found::No(why) } else { Found::Doubt(why) }
            }
            (_, _, Some(functions)) if functions.contains(name) => Found::Yes,
            (_, _, Some(_)) => {
                Found::No(format!("the kernel and its loaded modules have no such function{}", hints()))
            }
            (_, Some(false), None) => {
                let why =
                    "its types have no such function, but may lack it or be without those of its module";
                Found::Doubt(format!("{why}{}", hints()))
            }
        }
    }

    /// Adds unresolved references, except types, fields and symbols that programs test for.
    fn unresolved(&self, object: &ObjectFile, needs: &ObjectNeeds, types: &KernelBtf, lacks: &mut Vec<Lack>) {
        let options = TextOptions { kernel_btf: Some(types), ..TextOptions::default() };
        for program in object.programs() {
            let Some(wants) = needs.wants.get(&program.name) else { continue };
            let wanted_by = vec![program.name.clone()];
            let in_doubt = !self.has_modules && object.needs_module_types(&program.name, types);
            let is_certain = !wants.asks_first && !in_doubt && !program.section.starts_with('?');
            match object.link(&program.name, &options) {
                Ok(linked) => {
                    let missing = linked.unresolved.into_iter().map(|unresolved| unresolved.what);
                    lacks.extend(missing.filter(|what| !is_tested_for(wants, what)).map(|what| Lack {
                        what,
                        wanted_by: wanted_by.clone(),
                        why: "the verifier refuses it where the program can reach it".to_owned(),
                        is_certain,
                        is_for_attaching: false,
                    }));
                }
                Err(_) if lacks.iter().any(|lack| lack.wanted_by.contains(&program.name)) => {}
                Err(error) => {
                    let (what, why) =
                        (format!("what program {} is linked with", program.name), error.to_string());
                    lacks.push(Lack { what, wanted_by, why, is_certain: !in_doubt, is_for_attaching: false });
                }
            }
        }
    }
}

const fn may_be_of_a_module(kind: NeedKind) -> bool {
    matches!(kind, NeedKind::Kfunc | NeedKind::Tracepoint | NeedKind::Iterator | NeedKind::StructOps)
}

/// Returns whether the types meet a requirement; `None` if they are not conclusive.
fn find_in_types(types: &KernelBtf, need: &KernelNeed) -> Option<bool> {
    let among = |enumeration: &str, name: &str| Some(types.enumerators(enumeration)?.contains(&name));
    let upper = || need.name.to_ascii_uppercase();
    match need.kind {
        NeedKind::ProgramType => among("bpf_prog_type", &format!("BPF_PROG_TYPE_{}", upper())),
        // A type unknown here has its number as name.
        NeedKind::MapType if need.name.parse::<u32>().is_ok() => None,
        NeedKind::MapType => among("bpf_map_type", &format!("BPF_MAP_TYPE_{}", upper())),
        NeedKind::Attachment => {
            let program_type = need.name.parse::<ProgramType>().ok()?;
            let (enumeration, name) = program_type.attached_by()?;
            among(enumeration, name)
        }
        NeedKind::Hook => among("bpf_attach_type", &format!("BPF_{}", upper())),
        NeedKind::Iterator => Some(types.iterator(&need.name).is_some()),
        NeedKind::StructOps => Some(types.struct_id(&format!("bpf_struct_ops_{}", need.name)).is_some()),
        NeedKind::Helper if need.since.is_none() => None,
        NeedKind::Helper => among("bpf_func_id", &need.name.replacen("bpf_", "BPF_FUNC_", 1)),
        NeedKind::Kfunc => Some(types.function(plain(&need.name)).is_some()),
        NeedKind::LsmHook => Some(types.lsm_hook_id(&need.name).is_some()),
        // Types contain only the last part of a tracepoint's name, and no system call tracepoints.
        NeedKind::Tracepoint => {
            let event = need.name.rsplit('/').next().unwrap_or_default();
            (!event.starts_with("sys_")).then(|| types.tracepoint(event).is_some())
        }
        NeedKind::Feature
        | NeedKind::Variable
        | NeedKind::Symbol
        | NeedKind::Function
        | NeedKind::ProbedFunction
        | NeedKind::Type => None,
    }
}

fn plain(name: &str) -> &str {
    name.split("___").next().unwrap_or(name)
}

/// Returns the version of the newest program, map or attach type, or kernel function.
fn version_of(types: &KernelBtf) -> Option<LinuxVersion> {
    const ENUMERATIONS: [(&str, &str, &str); 3] = [
        ("program_type", "bpf_prog_type", "BPF_PROG_TYPE_"),
        ("map_type", "bpf_map_type", "BPF_MAP_TYPE_"),
        ("attach_type", "bpf_attach_type", "BPF_"),
    ];
    let named = ENUMERATIONS.iter().flat_map(|(kind, enumeration, prefix)| {
        let names = types.enumerators(enumeration).unwrap_or_default();
        rows().filter(move |row| {
            row.kind == *kind
                && names.contains(&format!("{prefix}{}", row.name.to_ascii_uppercase()).as_str())
        })
    });
    let offered: std::collections::BTreeSet<&str> =
        types.offered_functions().into_iter().map(|function| function.name).collect();
    let functions = rows().filter(|row| row.kind == "kfunc" && offered.contains(row.name));
    named.chain(functions).map(|row| row.since.version).max()
}

/// Returns whether the program itself tests for what is missing: a type, or a weak symbol.
fn is_tested_for(wants: &ProgramWants, missing: &str) -> bool {
    let mut types = wants.types.iter().filter(|(_, asks)| **asks);
    let mut symbols = wants.functions.iter().chain(&wants.variables).filter(|(_, weak)| **weak);
    // A test for a type covers all of its fields.
    types.any(|(place, _)| {
        missing.strip_prefix(place.as_str()).is_some_and(|rest| rest.starts_with([' ', '.', '[']))
    }) || symbols.any(|(name, _)| missing.contains(&format!(" {name} (weak)")))
}
