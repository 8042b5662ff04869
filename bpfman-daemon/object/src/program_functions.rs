use std::collections::BTreeSet;

use crate::ObjectError;
use crate::btf::{Btf, Kind, Type};

const STATIC: u32 = 0;

/// Functions in a program's BTF, which describes all functions of its object.
#[derive(Clone, Debug)]
pub struct ProgramFunctions(Btf);

/// Function described by BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionOfTypes {
    pub id: u32,
    /// Static: verified with its callers, so it cannot be replaced.
    pub is_static: bool,
}

impl ProgramFunctions {
    pub fn parse(types: &[u8]) -> Result<Self, ObjectError> {
        Ok(Self(Btf::parse(types)?))
    }

    #[must_use]
    pub fn named(&self, name: &str) -> Option<FunctionOfTypes> {
        let found = self.functions().find(|function| self.0.name(function) == name)?;
        Some(FunctionOfTypes { id: found.id, is_static: found.vlen() == STATIC })
    }

    /// Returns the names of replaceable functions, in order.
    #[must_use]
    pub fn global_names(&self) -> Vec<&str> {
        let global = self.functions().filter(|function| function.vlen() != STATIC);
        let names: BTreeSet<&str> = global.map(|function| self.0.name(&function)).collect();
        names.into_iter().collect()
    }

    fn functions(&self) -> impl Iterator<Item = Type<'_>> {
        self.0.types().filter(|ty| ty.kind == Kind::Func)
    }

    /// Returns the C prototype of a function; `None` if the id is not a function.
    #[must_use]
    pub fn prototype(&self, function: u32) -> Option<String> {
        let (name, proto) = self.proto(function)?;
        let takes: Vec<String> = proto.params().map(|(_, ty)| self.0.describe(ty)).collect();
        let takes = if takes.is_empty() { "void".to_owned() } else { takes.join(", ") };
        Some(format!("{} {name}({takes})", self.0.describe(proto.size_or_type)))
    }

    /// Returns why `btf_check_func_type_match` (Linux 5.10 to 7.2) would refuse a function of `other` as a replacement.
    #[must_use]
    pub fn difference(&self, function: u32, other: &Self, its: u32) -> Option<String> {
        let ((_, wanted), (_, found)) = (self.proto(function)?, other.proto(its)?);
        let (wanted_count, found_count) = (wanted.params().count(), found.params().count());
        if wanted_count != found_count {
            return Some(format!("it takes {found_count} arguments instead of {wanted_count}"));
        }
        let answers = (self.0.resolve(wanted.size_or_type), other.0.resolve(found.size_or_type));
        if !same_kind(answers.0, answers.1) {
            return Some("it answers another type".to_owned());
        }
        let pairs = wanted.params().zip(found.params()).enumerate();
        pairs.map(|(number, ((_, wanted), (_, found)))| (number, wanted, found)).find_map(
            |(number, wanted, found)| {
                let same = self.same_argument(wanted, &other.0, found);
                (!same).then(|| {
                    format!(
                        "its argument {} is {} instead of {}",
                        number + 1,
                        other.0.describe(found),
                        self.0.describe(wanted)
                    )
                })
            },
        )
    }

    fn same_argument(&self, wanted: u32, other: &Btf, found: u32) -> bool {
        let (wanted, found) = (self.0.resolve(wanted), other.resolve(found));
        if !same_kind(wanted, found) {
            return false;
        }
        let (Some(wanted), Some(found)) = (wanted, found) else { return true };
        if wanted.kind != Kind::Ptr {
            return wanted.size_or_type == found.size_or_type;
        }
        let (to, its) = (self.0.resolve(wanted.size_or_type), other.resolve(found.size_or_type));
        match (to, its) {
            // The kernel compares structs by name alone: they are the contexts of program types.
            (Some(to), Some(its)) if to.kind == Kind::Struct || its.kind == Kind::Struct => {
                to.kind == its.kind && self.0.name(&to) == other.name(&its)
            }
            _ => true,
        }
    }

    fn proto(&self, function: u32) -> Option<(&str, Type<'_>)> {
        let function = self.0.get(function).filter(|ty| ty.kind == Kind::Func)?;
        let proto = self.0.get(function.size_or_type).filter(|ty| ty.kind == Kind::FuncProto)?;
        Some((self.0.name(&function), proto))
    }
}

/// Compares kinds and numbers of members (`info`), as the kernel does; void has no kind.
fn same_kind(a: Option<Type<'_>>, b: Option<Type<'_>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.info == b.info,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT: u32 = 1;
    const POINTER: u32 = 2;
    const STRUCT: u32 = 4;
    const FUNC: u32 = 12;
    const FUNC_PROTO: u32 = 13;

    /// Type 1 is `int`, 2 `struct NAME`, 3 a pointer to it, 4 `long`; then the functions.
    fn types(context: &str, functions: &[(&str, &[u32], bool)]) -> ProgramFunctions {
        let mut strings = b"\0int\0long\0".to_vec();
        let mut string = |text: &str| {
            let at = strings.len() as u32;
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
            at
        };
        let kind = |kind: u32, vlen: u32| kind << 24 | vlen;
        let structure = string(context);
        let mut words = vec![1, kind(INT, 0), 4, 1 << 24 | 32];
        words.extend([structure, kind(STRUCT, 0), 4]);
        words.extend([0, kind(POINTER, 0), 2]);
        words.extend([5, kind(INT, 0), 8, 1 << 24 | 64]);
        let mut next = 5;
        for (name, takes, global) in functions {
            words.extend([0, kind(FUNC_PROTO, takes.len() as u32), 1]);
            takes.iter().for_each(|ty| words.extend([0, *ty]));
            words.extend([string(name), kind(FUNC, u32::from(*global)), next]);
            next += 2;
        }
        let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        let types = bytes(&words);
        let lengths = [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32];
        let mut blob = 0xeb9f_u16.to_ne_bytes().to_vec();
        blob.extend([1, 0]);
        blob.extend(bytes(&lengths));
        blob.extend(types);
        blob.extend(strings);
        ProgramFunctions::parse(&blob).unwrap()
    }

    #[test]
    fn functions_are_found_with_their_linkage() {
        let types = types("xdp_md", &[("pass", &[3], true), ("limit", &[3, 1], true), ("own", &[1], false)]);
        assert_eq!(types.named("limit"), Some(FunctionOfTypes { id: 8, is_static: false }));
        assert!(types.named("own").unwrap().is_static);
        assert_eq!(types.named("int"), None);
        assert_eq!(types.global_names(), ["limit", "pass"]);
        assert_eq!(types.prototype(8).unwrap(), "int limit(struct xdp_md*, int)");
        assert_eq!(types.prototype(1), None);
    }

    #[test]
    fn function_that_cannot_be_replaced_has_a_reason() {
        let wanted = types("xdp_md", &[("limit", &[3, 1], true)]);
        let differs = |other: &ProgramFunctions| {
            wanted.difference(6, other, other.named("mine").unwrap().id).unwrap_or_default()
        };
        assert_eq!(differs(&types("xdp_md", &[("mine", &[3, 1], true)])), "");
        let few = types("xdp_md", &[("mine", &[3], true)]);
        assert_eq!(differs(&few), "it takes 1 arguments instead of 2");
        let long = types("xdp_md", &[("mine", &[3, 4], true)]);
        assert_eq!(differs(&long), "its argument 2 is long instead of int");
        let context = types("__sk_buff", &[("mine", &[3, 1], true)]);
        assert_eq!(differs(&context), "its argument 1 is struct __sk_buff* instead of struct xdp_md*");
        let number = types("xdp_md", &[("mine", &[1, 1], true)]);
        assert_eq!(differs(&number), "its argument 1 is int instead of struct xdp_md*");
    }
}
