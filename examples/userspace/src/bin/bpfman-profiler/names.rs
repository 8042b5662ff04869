use std::collections::{BTreeMap, BTreeSet};

use blazesym::symbolize::source::{Kernel, Process, Source};
use blazesym::symbolize::{Input, Symbolized, Symbolizer};
use blazesym::{MaybeDefault, Pid};

const KERNEL: &str = "_[k]";
const UNKNOWN: &str = "[unknown]";
const HIDDEN: &str = "[kernel]_[k]";
pub const LOST: &str = "[stack lost]";

pub struct Names {
    symbolizer: Symbolizer,
    kernel: BTreeMap<u64, String>,
    processes: BTreeMap<u32, BTreeMap<u64, String>>,
    pub kernel_hidden: bool,
    pub unreadable: BTreeSet<u32>,
}

impl Names {
    pub fn new(addresses: &BTreeSet<u64>) -> Self {
        let mut names = Self {
            symbolizer: Symbolizer::builder().enable_demangling(true).build(),
            kernel: BTreeMap::new(),
            processes: BTreeMap::new(),
            kernel_hidden: false,
            unreadable: BTreeSet::new(),
        };
        let kernel = Kernel { vmlinux: MaybeDefault::None, kaslr_offset: Some(0), ..Kernel::default() };
        let source = Source::Kernel(kernel);
        match names.find(&source, addresses) {
            Some(found) => names.kernel = found,
            None => names.kernel_hidden = !addresses.is_empty(),
        }
        names
    }

    pub fn add_process(&mut self, process: u32, addresses: &BTreeSet<u64>) {
        // Mapped files first: right for containers and replaced files, but they need rights over the process that its
        // own user does not have.
        for map_files in [true, false] {
            let mut source = Process::new(Pid::from(process));
            source.map_files = map_files;
            // Other users may write these files. They are used for names only.
            source.perf_map = true;
            let found = self.find(&Source::Process(source), addresses);
            if let Some(found) = found
                && !found.is_empty()
            {
                self.processes.insert(process, found);
                return;
            }
        }
        self.unreadable.insert(process);
    }

    pub fn add(&mut self, process: u32, found: BTreeMap<u64, String>) {
        if !found.is_empty() {
            self.unreadable.remove(&process);
            self.processes.entry(process).or_default().extend(found);
        }
    }

    /// Returns the addresses without a name: all for a stripped program, and for one that this process may not read.
    pub fn missing(&self, process: u32, addresses: &BTreeSet<u64>) -> BTreeSet<u64> {
        let known = self.processes.get(&process);
        let is_missing = |address: &u64| known.is_none_or(|known| !known.contains_key(address));
        addresses.iter().copied().filter(is_missing).collect()
    }

    fn find(&self, source: &Source<'_>, addresses: &BTreeSet<u64>) -> Option<BTreeMap<u64, String>> {
        let addresses: Vec<u64> = addresses.iter().copied().collect();
        let found = self.symbolizer.symbolize(source, Input::AbsAddr(&addresses)).ok()?;
        let names = addresses.into_iter().zip(found).filter_map(|(address, found)| match found {
            Symbolized::Sym(symbol) => Some((address, symbol.name.into_owned())),
            Symbolized::Unknown(_) => None,
        });
        Some(names.collect())
    }

    pub fn kernel_stack(&self, frames: &[u64]) -> Vec<String> {
        if self.kernel_hidden && !frames.is_empty() {
            return vec![HIDDEN.to_owned()];
        }
        let name = |address| self.kernel.get(&address).map_or(UNKNOWN, String::as_str);
        calls(frames).rev().map(|address| format!("{}{KERNEL}", name(address))).collect()
    }

    /// Returns the names, the outermost function first. A process without any names is one frame.
    pub fn user_stack(&self, process: u32, frames: &[u64]) -> Vec<String> {
        let Some(names) = self.processes.get(&process) else {
            return frames.first().map(|_| UNKNOWN.to_owned()).into_iter().collect();
        };
        let name = |address| names.get(&address).map_or(UNKNOWN, String::as_str);
        calls(frames).rev().map(|address| name(address).to_owned()).collect()
    }
}

/// Returns addresses inside the calls. The kernel reports return addresses: the call lies before them, and
/// may be the last instruction of its function. The innermost address is that of the current instruction.
pub fn calls(frames: &[u64]) -> impl DoubleEndedIterator<Item = u64> + '_ {
    frames.iter().enumerate().map(|(depth, address)| address.saturating_sub(u64::from(depth > 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn known_by_its_name() -> u64 {
        std::hint::black_box(7)
    }

    #[test]
    fn function_of_this_process_has_its_name_and_unmapped_one_none() {
        let here = std::process::id();
        let inside = known_by_its_name as fn() -> u64 as usize as u64 + 1;
        let mut names = Names::new(&BTreeSet::new());
        names.add_process(here, &BTreeSet::from([inside, 8]));
        let stack = names.user_stack(here, &[inside, 9]);
        assert_eq!(stack[0], UNKNOWN);
        assert!(stack[1].contains("known_by_its_name"), "{stack:?}");
        names.add_process(u32::MAX >> 1, &BTreeSet::from([inside]));
        assert_eq!(names.user_stack(u32::MAX >> 1, &[inside, inside]), [UNKNOWN]);
        assert_eq!(names.unreadable.len(), 1);
    }

    #[test]
    fn process_without_names_is_read_again_once_some_are_found() {
        let nobody = u32::MAX >> 1;
        let addresses = BTreeSet::from([16, 32]);
        let mut names = Names::new(&BTreeSet::new());
        names.add_process(nobody, &addresses);
        assert_eq!(names.missing(nobody, &addresses), addresses);
        names.add(nobody, BTreeMap::new());
        assert!(names.unreadable.contains(&nobody));
        names.add(nobody, BTreeMap::from([(16, "found".to_owned())]));
        assert!(names.unreadable.is_empty());
        assert_eq!(names.missing(nobody, &addresses), BTreeSet::from([32]));
        assert_eq!(names.user_stack(nobody, &[16, 33]), [UNKNOWN, "found"]);
    }
}
