use super::spec::Spec;
use super::value::RelocKind;
use crate::btf::Btf;

/// Example: "struct sock.sk_family (CO-RE byte_off, access path 0:1)".
pub(super) fn describe(btf: &Btf, spec: &Spec, kind: RelocKind, path: &str) -> String {
    format!("{} (CO-RE {}, access path {path})", place(btf, spec, kind), kind.name())
}

pub(super) fn place(btf: &Btf, spec: &Spec, kind: RelocKind) -> String {
    let mut place = btf.describe(spec.root);
    for (number, step) in spec.steps.iter().enumerate() {
        let ty = btf.get(step.type_id);
        let name = ty.and_then(|ty| {
            let member = ty.members().nth(step.index as usize).map(|member| member.name_off);
            let enumerator = || ty.enumerators().nth(step.index as usize).map(|(name, _)| name);
            Some(btf.string(member.or_else(enumerator)?))
        });
        match name.filter(|_| step.named) {
            Some(name) if kind.is_about_enumerators() => place.push_str(&format!(" {name}")),
            Some(name) => place.push_str(&format!(".{name}")),
            None if number == 0 && step.index == 0 => {}
            None => place.push_str(&format!("[{}]", step.index)),
        }
    }
    place
}
