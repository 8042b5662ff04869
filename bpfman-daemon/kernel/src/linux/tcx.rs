use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use bpfman_model::uapi::attach_type;
use bpfman_model::{
    Direction, HookAttachment, HookContents, HookEntry, HookKey, IfIndex, KernelLinkId, ProgramId,
};

use super::attr::{self, Command};
use super::{features, hook_contents, sys, xdp};
use crate::{KernelError, ListAnchor};

const F_BEFORE: u32 = 1 << 3;
const F_AFTER: u32 = 1 << 4;
const F_ID: u32 = 1 << 5;
const F_LINK: u32 = 1 << 13;

/// `BPF_MPROG_MAX` minus the terminator of the list.
const MAX_PROGRAMS: usize = 63;

const fn attach_type_of(direction: Direction) -> u32 {
    match direction {
        Direction::Ingress => attach_type::TCX_INGRESS,
        Direction::Egress => attach_type::TCX_EGRESS,
    }
}

pub fn flags(anchor: ListAnchor) -> (u32, u32) {
    match anchor {
        ListAnchor::First => (F_BEFORE, 0),
        ListAnchor::Last => (F_AFTER, 0),
        ListAnchor::Before(link) => (F_BEFORE | F_LINK | F_ID, link.0),
        ListAnchor::After(link) => (F_AFTER | F_LINK | F_ID, link.0),
        ListAnchor::BeforeProgram(program) => (F_BEFORE | F_ID, program.0),
        ListAnchor::AfterProgram(program) => (F_AFTER | F_ID, program.0),
    }
}

pub fn attach(
    program: &OwnedFd,
    ifindex: IfIndex,
    direction: Direction,
    anchor: ListAnchor,
    expected_revision: Option<u64>,
) -> Result<OwnedFd, KernelError> {
    let (flags, relative) = flags(anchor);
    let mut request = attr::LinkCreate {
        prog_fd: program.as_raw_fd(),
        target: ifindex.0,
        attach_type: attach_type_of(direction),
        flags,
        relative,
        expected_revision: expected_revision.unwrap_or(0),
        ..Default::default()
    };
    let hook = || format!("tcx {direction} of interface {ifindex}");
    sys::bpf_fd(Command::LinkCreate, &mut request).map_err(|source| match source.raw_os_error() {
        Some(libc::ESTALE) => KernelError::HookChanged { hook: hook() },
        Some(libc::ERANGE) => KernelError::HookFull { hook: hook(), most: MAX_PROGRAMS },
        Some(libc::ENOENT) if anchor.name().is_some() => {
            KernelError::NoAnchor { anchor: anchor.name().unwrap_or_default(), hook: hook() }
        }
        _ => KernelError::call("attach", format!("a program to {}", hook()), source),
    })
}

/// Empty on kernels without tcx.
pub fn contents(key: &HookKey, direction: Direction) -> Result<HookContents, KernelError> {
    match query(key.ifindex, direction) {
        Ok(contents) => Ok(contents),
        // A kernel that does not know the request does not check the interface either.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) && !features::has_tcx() => {
            xdp::contents(key).map(|_interface_is_there| HookContents::default())
        }
        Err(source) => Err(hook_contents::failed(key, source)),
    }
}

fn query(ifindex: IfIndex, direction: Direction) -> io::Result<HookContents> {
    // The kernel has no longer list, so one call always fetches all.
    let mut programs = [0_u32; MAX_PROGRAMS];
    let mut links = [0_u32; MAX_PROGRAMS];
    let mut request = attr::Query {
        target: ifindex.0,
        attach_type: attach_type_of(direction),
        prog_ids: programs.as_mut_ptr() as u64,
        count: MAX_PROGRAMS as u32,
        link_ids: links.as_mut_ptr() as u64,
        ..Default::default()
    };
    sys::bpf(Command::ProgQuery, &mut request)?;
    let entries = programs.iter().zip(&links).take(request.count as usize).map(|(program, link)| HookEntry {
        program: Some(ProgramId(*program)),
        via: match *link {
            0 => HookAttachment::TcxProgram,
            link => HookAttachment::TcxLink { link: KernelLinkId(link) },
        },
    });
    Ok(HookContents { revision: Some(request.revision), entries: entries.collect() })
}
