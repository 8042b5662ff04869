//! Features of the running kernel: the answer of the call `Features`.

mod last_answer;
mod stored;

use std::path::Path;
use std::sync::OnceLock;

use bpfman_model::ProgramType;
use bpfman_proto::ext::v1::{self as wire, FeatureKind, FeatureState};
use bpfmand_kernel::{Inventory, Kernel, PROBES, ProbedBy, TriedType};
use bpfmand_object::KernelBtf;

pub use self::last_answer::LastAnswer;
use self::stored::Kept;
use crate::type_support::Support;

/// Enumerations of the kernel that list features, and the prefixes of their values.
const ENUMERATIONS: [(&str, &str, FeatureKind); 3] = [
    ("bpf_link_type", "BPF_LINK_TYPE_", FeatureKind::LinkType),
    ("bpf_attach_type", "BPF_", FeatureKind::AttachType),
    ("bpf_cmd", "BPF_", FeatureKind::Command),
];

const BY_TYPES: [FeatureKind; 4] =
    [FeatureKind::LinkType, FeatureKind::AttachType, FeatureKind::Command, FeatureKind::Kfunc];

/// Returns all known features. Slow probes run once per boot; the folder keeps their results.
pub fn all(
    kernel: &impl Kernel,
    support: &Support,
    memory: &OnceLock<Vec<wire::Feature>>,
    folder: &Path,
) -> wire::FeaturesResponse {
    let features = kernel.features();
    let mut found = probes(kernel);
    found.extend(ProgramType::ALL.into_iter().map(|program_type| {
        let lack = support.get(program_type.name()).cloned().flatten();
        let state = if lack.is_none() { FeatureState::There } else { FeatureState::Missing };
        feature(FeatureKind::Type, program_type.name(), state, lack.unwrap_or_default())
    }));
    found.extend(memory.get_or_init(|| tried_once(kernel, folder)).clone());
    match types(kernel) {
        Ok(types) => found.extend(by_types(&types)),
        Err(why) => {
            found.extend(BY_TYPES.map(|kind| feature(kind, "all", FeatureState::Unknown, why.clone())))
        }
    }
    let settings = kernel.settings().into_iter();
    found.extend(settings.map(|(name, value)| {
        feature(FeatureKind::Setting, name, FeatureState::There, value.trim().to_owned())
    }));
    wire::FeaturesResponse {
        kernel_release: features.release.clone(),
        architecture: std::env::consts::ARCH.to_owned(),
        features: found,
    }
}

/// Returns the results of slow probes of this boot. Stores only a complete result of an identified boot.
fn tried_once(kernel: &impl Kernel, folder: &Path) -> Vec<wire::Feature> {
    let kept = kernel.boot().ok().map(|boot| Kept::new(folder, &boot));
    if let Some(found) = kept.as_ref().and_then(Kept::read) {
        return found;
    }
    let inventory = kernel.inventory();
    let tried = tried(&inventory);
    if let Some(kept) = kept.filter(|_| inventory.is_complete) {
        kept.write(&tried);
    }
    tried
}

fn feature(kind: FeatureKind, name: &str, state: FeatureState, detail: String) -> wire::Feature {
    wire::Feature {
        kind: kind.into(),
        name: name.to_owned(),
        state: state.into(),
        detail,
        ..Default::default()
    }
}

fn probes(kernel: &impl Kernel) -> Vec<wire::Feature> {
    let features = kernel.features();
    let each = PROBES.iter().map(|probe| {
        let (state, detail) = match (features.has(probe), features.switched_off.contains(&probe.name)) {
            (true, _) => (FeatureState::There, String::new()),
            (_, true) => (FeatureState::SwitchedOff, probe.without.to_owned()),
            _ => (FeatureState::Missing, format!("{}; {}", probe.needs, probe.without)),
        };
        let told = match probe.found {
            ProbedBy::Version if detail.is_empty() => "by its version".to_owned(),
            _ => detail,
        };
        feature(FeatureKind::Probe, probe.name, state, told)
    });
    each.collect()
}

fn tried(inventory: &Inventory) -> Vec<wire::Feature> {
    let one = |kind: FeatureKind| {
        move |tried: &TriedType| {
            let (state, detail) = match &tried.there {
                Ok(true) => (FeatureState::There, String::new()),
                Ok(false) => (FeatureState::Missing, String::new()),
                Err(why) => (FeatureState::Unknown, why.clone()),
            };
            feature(kind, tried.name, state, detail)
        }
    };
    let programs = inventory.program_types.iter().map(one(FeatureKind::ProgramType));
    let maps = inventory.map_types.iter().map(one(FeatureKind::MapType));
    let helpers = inventory.helpers.iter().map(|helper| wire::Feature {
        program_types: helper.program_types.iter().map(|name| (*name).to_owned()).collect(),
        ..feature(FeatureKind::Helper, &helper.name, FeatureState::There, String::new())
    });
    programs.chain(maps).chain(helpers).collect()
}

fn types(kernel: &impl Kernel) -> Result<KernelBtf, String> {
    let bytes = kernel.btf().map_err(|error| error.to_string())?;
    let mut types = KernelBtf::parse(bytes).map_err(|error| error.to_string())?;
    // If the types of one module cannot be read, report those of the others.
    for (module, bytes) in kernel.module_btfs().unwrap_or_default() {
        if let Err(error) = types.add_module(&module, bytes) {
            tracing::debug!(%error, module, "the types of a module cannot be read");
        }
    }
    Ok(types)
}

fn by_types(types: &KernelBtf) -> Vec<wire::Feature> {
    let mut found = Vec::new();
    for (enumeration, prefix, kind) in ENUMERATIONS {
        let names = types.enumerators(enumeration).unwrap_or_default();
        let named = names.iter().filter_map(|name| name.strip_prefix(prefix));
        // `BPF_COMMON_ATTRS` is a flag among the commands, of Linux 7.x.
        let ends =
            |name: &&str| name.starts_with("MAX_") || name.contains("UNSPEC") || *name == "COMMON_ATTRS";
        let each = named.filter(|name| !ends(name)).map(str::to_ascii_lowercase);
        found.extend(each.map(|name| feature(kind, &name, FeatureState::There, String::new())));
    }
    let signed = types.union_has("bpf_attr", "signature");
    let state = if signed { FeatureState::There } else { FeatureState::Missing };
    found.push(feature(FeatureKind::Command, "prog_load with a signature", state, String::new()));
    let mut functions = types.offered_functions();
    functions.sort_unstable();
    functions.dedup();
    if functions.is_empty() {
        let why = "kernels tell their functions since Linux 6.10".to_owned();
        found.push(feature(FeatureKind::Kfunc, "all", FeatureState::Unknown, why));
    }
    found.extend(functions.into_iter().map(|function| wire::Feature {
        module: function.module.unwrap_or_default().to_owned(),
        ..feature(FeatureKind::Kfunc, function.name, FeatureState::There, String::new())
    }));
    found
}
