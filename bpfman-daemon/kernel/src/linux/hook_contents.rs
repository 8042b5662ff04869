//! Everything that runs at a hook.

use std::path::Path;

use bpfmand_core::{HookContents, HookKey, HookKind, HookNetns, LinkFacts};

use super::{filters, netns, tcx, xdp};
use crate::KernelError;

/// The hook's name in messages.
pub fn describe(key: &HookKey) -> String {
    match key.kind.direction() {
        None => format!("XDP of interface {}", key.ifindex),
        Some(direction) => format!("{} {direction} of interface {}", key.kind.name(), key.ifindex),
    }
}

/// Asks the kernel, in the hook's namespace.
pub fn read(path: Option<&Path>, key: &HookKey) -> Result<HookContents, KernelError> {
    at(path, key, || match key.kind {
        HookKind::Xdp => xdp::contents(key),
        HookKind::Tcx(direction) => tcx::contents(key, direction),
        HookKind::Tc(direction) => {
            let mut contents = tcx::contents(key, direction)?;
            contents.entries.extend(filters::list(key, direction)?);
            Ok(contents)
        }
    })
}

/// True if a link is at a hook, without naming all links there: those of XDP are found among all links of the machine.
pub fn has_link(path: Option<&Path>, key: &HookKey, link: &LinkFacts) -> Result<bool, KernelError> {
    at(path, key, || match key.kind {
        HookKind::Xdp => xdp::runs(key, link.program),
        HookKind::Tc(direction) | HookKind::Tcx(direction) => {
            Ok(tcx::contents(key, direction)?.entries.iter().any(|entry| entry.may_be_link(link.id)))
        }
    })
}

/// Does something in the network namespace of a hook.
pub fn at<T: Send>(
    path: Option<&Path>,
    key: &HookKey,
    work: impl FnOnce() -> Result<T, KernelError> + Send,
) -> Result<T, KernelError> {
    netns::enter(path, || {
        // Another namespace may be at the path by now, with an interface of the same number.
        if key.netns != HookNetns::In(netns::here()?) {
            let reason = "its path is of another network namespace by now";
            return Err(KernelError::HookGone { hook: describe(key), reason });
        }
        work()
    })
}

/// What the kernel's answer means for a hook.
pub fn failed(key: &HookKey, source: std::io::Error) -> KernelError {
    match source.raw_os_error() {
        Some(libc::ENODEV) => {
            KernelError::HookGone { hook: describe(key), reason: "there is no such interface any more" }
        }
        _ => KernelError::call("list what runs at", describe(key), source),
    }
}
