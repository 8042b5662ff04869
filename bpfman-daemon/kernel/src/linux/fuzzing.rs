//! Entry points for fuzzers (feature `fuzzing`, tests/fuzz).

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use bpfman_model::{GroupPath, PodsRoot};
use bpfmand_calls::{CallAttr, FieldValue, PerfCall, layout};
use bpfmand_rejection::Rejection;
use rustix::fs::MemfdFlags;

use super::brokered::ProbeEvents;
use super::brokered::filled::{Filled, Passed};
use super::brokered::perf::FilledEvent;
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

/// Fills in an attribute as for a call of a session, with one descriptor; panics if an address stays in what is sent back.
pub fn session_call(command: u32, attr: &[u8], values: &[FieldValue], buffers: &[Vec<u8>]) {
    let Some(layout) = layout(command) else { return };
    let Ok(mut attr) = CallAttr::copy(attr, layout.known) else { return };
    let Ok(fields) = layout.fields(&mut attr) else { return };
    let descriptors = [File::open("/dev/null").unwrap_or_else(|error| panic!("{error}")).into()];
    let passed = Passed { buffers, descriptors: &descriptors };
    let Ok(filled) = Filled::new(layout, attr, values, &passed) else { return };
    let (attr, _outputs) = filled.into_written();
    for field in fields {
        let left = if field.kind.is_pointer() { attr.long(field.at) } else { attr.word(field.at).into() };
        assert_eq!(left, 0, "{field:?}");
    }
}

/// Fills in an event as for a call of a session, with one descriptor and probes of the types 8 and 9. Returns its attribute, and
/// the address of the daemon's text.
pub fn session_event(attribute: &[u8], event: &PerfCall) -> Option<(Vec<u8>, u64)> {
    let sources = ProbeEvents { kprobe: Some(8), uprobe: Some(9) };
    let descriptors = [File::open("/dev/null").unwrap_or_else(|error| panic!("{error}")).into()];
    let filled = FilledEvent::new(attribute, event, &descriptors, &sources).ok()?;
    let address = filled.address();
    Some((filled.attribute, address))
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
