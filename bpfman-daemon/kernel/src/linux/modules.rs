use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bpfman_model::ModuleIdentity;

use super::kallsyms;

/// Folders of built-in modules lack `coresize`.
const FOLDER: &str = "/sys/module";

pub fn inode(name: &str) -> Option<u64> {
    if name.is_empty() || name.contains(['/', '.']) {
        return None;
    }
    let folder = Path::new(FOLDER).join(name);
    folder.join("coresize").symlink_metadata().ok()?;
    Some(folder.symlink_metadata().ok()?.ino())
}

pub fn loaded() -> BTreeSet<String> {
    names(&std::fs::read_to_string("/proc/modules").unwrap_or_default())
}

/// Format: `NAME SIZE USERS USED-BY STATE ADDRESS`. A module that is still loading has no functions.
fn names(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let live = lines.filter(|words| words.get(4) == Some(&"Live"));
    live.filter_map(|words| words.first().map(|name| (*name).to_owned())).collect()
}

/// Returns the module with a function (`FUNCTION`, or `MODULE:FUNCTION`). Must be called before the function is probed:
/// after a reload in between, a later check finds another identity, and probes again.
pub fn of_function(function: &str) -> Option<ModuleIdentity> {
    let name = match function.split_once(':') {
        Some((module, _)) => module.to_owned(),
        None => module_by_symbols(function)?,
    };
    inode(&name).map(|inode| ModuleIdentity { name, inode })
}

/// Cache, valid while the same modules are loaded: the kernel's list has 200,000 symbols.
struct FoundModules {
    loaded: String,
    of_function: HashMap<String, Option<String>>,
}

const MAX_FUNCTIONS: usize = 4096;

fn module_by_symbols(function: &str) -> Option<String> {
    static FOUND: Mutex<Option<FoundModules>> = Mutex::new(None);
    // Addresses and use counts change with each load.
    let loaded = std::fs::read_to_string("/proc/modules").ok().filter(|loaded| !loaded.is_empty())?;
    {
        let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        match &*found {
            Some(found) if found.loaded == loaded => {
                if let Some(module) = found.of_function.get(function) {
                    return module.clone();
                }
            }
            _ => *found = Some(FoundModules { loaded: loaded.clone(), of_function: HashMap::new() }),
        }
    }
    let module = kallsyms::module_of(function).ok()?;
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = found.as_mut().filter(|found| found.loaded == loaded) {
        if found.of_function.len() >= MAX_FUNCTIONS {
            found.of_function.clear();
        }
        found.of_function.insert(function.to_owned(), module.clone());
    }
    module
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loaded_modules_are_those_that_live() {
        let text = "dummy 16384 0 - Live 0xffffffffc0a00000\nfresh 16384 1 - Loading 0x0\nnf_nat 1 2 nft,ip Live 0x0\n\n";
        assert_eq!(names(text), BTreeSet::from(["dummy".to_owned(), "nf_nat".to_owned()]));
    }

    #[test]
    fn unknown_module_has_no_inode() {
        for name in ["", ".", "..", "no_such_module", "../module/kernel", "kernel"] {
            assert_eq!(inode(name), None, "{name}");
        }
        assert_eq!(of_function("no_such_function"), None);
    }
}
