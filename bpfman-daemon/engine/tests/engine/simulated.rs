//! Bench on a simulated kernel.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpfman_model::{MapId, NetnsId, ProgramId};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::{SimKernel, SimOptions, SimSnapshot};

use crate::bench::{Bench, Testable, quick_folder};
use crate::struct_ops::kernel_types;

impl Testable for SimKernel {
    fn verdict(&self, program: ProgramId) -> u32 {
        let maps = self.program(program).unwrap().unwrap().map_ids;
        let is_rodata = |id: &&MapId| self.map(**id).unwrap().unwrap().name.contains("rodata");
        let contents = self.first_contents(*maps.iter().find(is_rodata).unwrap()).unwrap();
        u32::from_ne_bytes(contents[..4].try_into().unwrap())
    }

    fn add_interface(&self, netns: &Path, name: &str) {
        Self::add_interface(self, Some(netns), name).unwrap();
        assert!(Self::switch_interface(self, Some(netns), name, true));
    }

    fn remove_interface(&self, netns: &Path, name: &str) {
        Self::remove_interface(self, Some(netns), name);
    }

    fn rename_interface(&self, netns: &Path, name: &str, new: &str) {
        assert!(Self::rename_interface(self, Some(netns), name, new));
    }

    fn switch_interface(&self, netns: &Path, name: &str, up: bool) {
        assert!(Self::switch_interface(self, Some(netns), name, up));
    }

    fn add_other_name(&self, netns: &Path, name: &str, other: &str) {
        assert!(Self::add_other_name(self, Some(netns), name, other));
    }
}

pub fn bench() -> Bench<SimKernel> {
    bench_of(SimOptions { btf: Some(kernel_types()), ..SimOptions::default() })
}

pub fn bench_of(options: SimOptions) -> Bench<SimKernel> {
    let inode = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
    let kernel = SimKernel::new(SimOptions { own_namespace: NetnsId { inode, cookie: 1 }, ..options });
    let netns = PathBuf::from("/run/netns/simulated");
    kernel.add_namespace(&netns);
    for name in ["left", "right"] {
        kernel.add_interface(Some(&netns), name).unwrap();
        kernel.add_interface(None, name).unwrap();
    }
    let folder = quick_folder();
    Bench {
        kernel: Arc::new(kernel),
        folder,
        netns,
        tc_by_clsact: false,
        leftover_bytes: None,
        libxdp_pins: PathBuf::from("/sys/fs/bpf/xdp"),
        _machine: Box::new(()),
    }
}

/// Returns the kernel's state without ids that change when a chain is rebuilt or a program loaded again.
pub fn shape(snapshot: &SimSnapshot) -> BTreeMap<String, Vec<String>> {
    let program = |id: &ProgramId| {
        snapshot
            .programs
            .get(id)
            .map_or_else(|| "nothing".to_owned(), |p| format!("{} {:02x?}", p.name, p.tag))
    };
    let mut shape: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut put = |key: &str, mut values: Vec<String>| {
        values.sort();
        shape.insert(key.to_owned(), values);
    };
    put("programs", snapshot.programs.keys().map(program).collect());
    put("maps", snapshot.maps.values().map(|(name, slots)| format!("{name} {}", slots.len())).collect());
    put(
        "links",
        snapshot
            .links
            .values()
            .map(|link| {
                // The id of a dispatcher changes with every update.
                let place = link.place.split(" of program ").next().unwrap_or_default();
                format!("{place} {}", program(&link.program))
            })
            .collect(),
    );
    put(
        "tcx",
        snapshot
            .tcx
            .iter()
            .map(|(hook, all)| format!("{hook} {:?}", all.iter().map(program).collect::<Vec<_>>()))
            .collect(),
    );
    put(
        "filters",
        snapshot
            .filters
            .iter()
            .map(|(at, filter)| format!("{at} {} {}", filter.name, program(&filter.program)))
            .collect(),
    );
    let kind = |what: &String| what.split(' ').next().unwrap_or_default().to_owned();
    put(
        "pins",
        snapshot.pins.iter().map(|(path, what)| format!("{} {}", unnumbered(path), kind(what))).collect(),
    );
    put(
        "pending",
        snapshot
            .folders
            .iter()
            .filter(|path| path.starts_with("pending") && path.components().count() > 1)
            .map(|p| p.display().to_string())
            .collect(),
    );
    shape
}

fn unnumbered(path: &Path) -> String {
    let name = |part: std::path::Component<'_>| {
        let part = part.as_os_str().to_string_lossy().into_owned();
        if part.starts_with("dispatch-") { "dispatch".to_owned() } else { part }
    };
    path.components().map(name).collect::<Vec<_>>().join("/")
}
