//! Entry points for fuzzers (feature `fuzzing`, tests/fuzz).

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use bpfman_model::{GroupPath, PodsRoot};
use bpfmand_rejection::Rejection;
use rustix::fs::MemfdFlags;

use super::symbols::TargetFile;
use super::{
    addresses, elf_notes, elf_symbols, filters, hierarchies, interfaces, libraries, mapped, mount_table,
    netlink, probe_place, verifier_log,
};

/// Parses a datagram of route netlink with all parsers.
pub fn netlink(datagram: &[u8]) {
    for message in netlink::notices(datagram).unwrap_or_default() {
        let _other = interfaces::interface(&message);
        let _other = addresses::address(&message);
        let _cut = filters::entry(&message);
    }
}

/// Parses a file of /proc, or a verifier log.
pub fn text(text: &str) {
    let _mounts = mount_table::parse(text.as_bytes());
    let _folders = (hierarchies::Hierarchy::all(text, text), hierarchies::unified(text));
    let _unreadable = (verifier_log::stack_depths(text), Rejection::read(text).to_string());
    text.lines().for_each(|line| {
        let _other = (
            mapped::executable(line),
            GroupPath::new(line, usize::MAX, PodsRoot::of(line).as_ref()).container_group(),
        );
    });
}

/// Parses the dynamic loader's library cache.
pub fn library_cache(bytes: &[u8]) {
    let _paths = libraries::in_cache(bytes, "ssl");
}

/// Looks up a function, a USDT probe, and an instruction; panics if a location outside of the file is accepted.
pub fn binary(bytes: &[u8], function: &str, offset: u64) {
    let mut file =
        File::from(rustix::fs::memfd_create("binary", MemfdFlags::CLOEXEC).unwrap_or_else(|e| panic!("{e}")));
    file.write_all(bytes).unwrap_or_else(|error| panic!("{error}"));
    let target = TargetFile::new(file, PathBuf::from("binary"));
    let _unknown = elf_symbols::file_offset(&target, function);
    for site in elf_notes::sites(&target, "shop", function).unwrap_or_default() {
        let _unreadable = crate::usdt_spec::spec(crate::usdt_spec::SpecLayout::Wide, &site.arguments);
        assert!(site.offset < bytes.len() as u64, "a place at {} of {}", site.offset, bytes.len());
    }
    for on_return in [false, true] {
        let admitted = probe_place::check_all(&target, &[offset], on_return).iter().all(Result::is_ok);
        assert!(!admitted || offset < bytes.len() as u64, "{offset} of {}", bytes.len());
    }
}
