use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use bpfmand_cage::seccomp::groups::CallGroup;
use bpfmand_cage::{CageMode, CallFilters};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    Killed,
    Unknown,
    Made,
}

/// Invalid descriptors, addresses and flags.
pub const NOTHING: [i64; 6] = [-1; 6];

/// `arguments` gets the process id.
pub fn call(mode: CageMode, mounting: bool, number: i64, arguments: impl Fn(u32) -> [i64; 6]) -> CallEnd {
    under(|own| CallFilters::compile(mode, own, mounting).unwrap(), number, arguments)
}

pub fn call_of_worker(groups: &[&CallGroup], number: i64, arguments: impl Fn(u32) -> [i64; 6]) -> CallEnd {
    let filters = |own| CallFilters::of_worker(CageMode::On, own, groups.iter().copied()).unwrap();
    under(filters, number, arguments)
}

fn under(
    filters: impl FnOnce(u32) -> Option<CallFilters>,
    number: i64,
    arguments: impl Fn(u32) -> [i64; 6],
) -> CallEnd {
    let mut process = Command::new(program()).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let filters = filters(process.id());
    let filters = filters.map(|filters| filters.programs()).unwrap_or_default();
    let mut said = filters.len().to_ne_bytes().to_vec();
    for filter in filters {
        said.extend(filter.len().to_ne_bytes());
        said.extend(filter);
    }
    said.extend(number.to_ne_bytes());
    said.extend(arguments(process.id()).iter().flat_map(|argument| argument.to_ne_bytes()));
    process.stdin.take().unwrap().write_all(&said).unwrap();
    end(process.wait().unwrap())
}

fn end(status: ExitStatus) -> CallEnd {
    match (status.signal(), status.code()) {
        (Some(libc::SIGSYS), _) => CallEnd::Killed,
        (_, Some(38)) => CallEnd::Unknown,
        (_, Some(code @ 3..=6)) => panic!("the filters were not put on: {code}"),
        _ => CallEnd::Made,
    }
}

fn program() -> PathBuf {
    use std::sync::LazyLock;
    static BUILT: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("call");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cage/calls/call.c");
        let status =
            Command::new("clang").args(["-O1", "-Wall", "-Werror", source, "-o"]).arg(&program).status();
        assert!(status.unwrap().success());
        (folder, program)
    });
    BUILT.1.clone()
}
