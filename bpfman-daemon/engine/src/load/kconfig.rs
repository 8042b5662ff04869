//! Values of the kernel configuration variables of an object (`extern … __kconfig`), under libbpf's names.

use std::collections::{BTreeMap, BTreeSet};

use bpfmand_kernel::{Kernel, KernelError, SYSCALL_WRAPPERS};
use bpfmand_object::{KconfigExtern, KconfigValue, ObjectFacts};

use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Returns the values, without unset options. Fails if the build configuration is needed and cannot be read.
    pub(crate) fn kconfig(
        &self,
        object: &ObjectFacts,
    ) -> Result<BTreeMap<String, KconfigValue>, EngineError> {
        let asked = object.kconfig.iter().flat_map(|(_, all)| all);
        let (options, told): (Vec<&KconfigExtern>, Vec<_>) =
            asked.partition(|one| one.name.starts_with("CONFIG_"));
        let mut values = BTreeMap::new();
        if !options.is_empty() {
            let names = options.iter().map(|one| one.name.as_str()).collect();
            values = read_options(&self.kernel.build_config()?, &names);
        }
        for one in told {
            if let Some(value) = self.told(&one.name)? {
                values.insert(one.name.clone(), KconfigValue::Number(value));
            }
        }
        Ok(values)
    }

    fn wraps_syscalls(&self) -> Result<bool, KernelError> {
        let Some(prefix) = SYSCALL_WRAPPERS else { return Ok(false) };
        let known = self.kernel.symbol_addresses(&BTreeSet::from([format!("{prefix}bpf").as_str()]))?;
        Ok(!known.is_empty())
    }

    fn told(&self, name: &str) -> Result<Option<u64>, KernelError> {
        let features = self.kernel.features();
        let (major, minor) = features.version;
        Ok(Some(match name {
            // `LINUX_VERSION_CODE`, whose last byte ends at 255.
            "LINUX_KERNEL_VERSION" => u64::from((major << 16) | (minor << 8) | features.patch.min(255)),
            "LINUX_HAS_BPF_COOKIE" => u64::from(features.perf_links),
            // As in libbpf: whether a kprobe can attach to a system call wrapper.
            "LINUX_HAS_SYSCALL_WRAPPER" => u64::from(features.kprobes && self.wraps_syscalls()?),
            _ => return Ok(None),
        }))
    }
}

fn read_options(text: &str, names: &BTreeSet<&str>) -> BTreeMap<String, KconfigValue> {
    let options = text.lines().filter_map(|line| line.split_once('='));
    options
        .filter(|(name, _)| names.contains(name))
        .filter_map(|(name, value)| Some((name.to_owned(), option_value(value)?)))
        .collect()
}

fn option_value(text: &str) -> Option<KconfigValue> {
    if let [letter @ (b'y' | b'm' | b'n')] = text.as_bytes() {
        return Some(KconfigValue::Letter(char::from(*letter)));
    }
    if let Some(quoted) = text.strip_prefix('"') {
        return Some(KconfigValue::Text(quoted.strip_suffix('"')?.to_owned()));
    }
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let number = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(KconfigValue::Number(if negative { number.wrapping_neg() } else { number }))
}

#[cfg(test)]
mod tests {
    use bpfmand_object::KconfigValue::{Letter, Number, Text};

    use super::*;

    #[test]
    fn options_are_read_as_the_build_writes_them() {
        let text = "#\n# Automatically generated file; DO NOT EDIT.\n#\nCONFIG_BPF=y\n# CONFIG_HZ_100 is not set\n\
                    CONFIG_HZ=250\nCONFIG_IPV6=m\nCONFIG_NAME=\"a=b\"\nCONFIG_START=0xffff800000000000\nCONFIG_LESS=-2\n\
                    CONFIG_OTHER=y\nCONFIG_ODD=\nCONFIG_ODD_TOO=\"\n";
        let names = ["BPF", "HZ", "HZ_100", "IPV6", "NAME", "START", "LESS", "ODD", "ODD_TOO"];
        let names: Vec<String> = names.iter().map(|name| format!("CONFIG_{name}")).collect();
        let found = read_options(text, &names.iter().map(String::as_str).collect());
        let found: Vec<(&str, &KconfigValue)> =
            found.iter().map(|(name, value)| (&name["CONFIG_".len()..], value)).collect();
        assert_eq!(
            found,
            [
                ("BPF", &Letter('y')),
                ("HZ", &Number(250)),
                ("IPV6", &Letter('m')),
                ("LESS", &Number((-2_i64).cast_unsigned())),
                ("NAME", &Text("a=b".to_owned())),
                ("START", &Number(0xffff_8000_0000_0000)),
            ]
        );
    }
}
