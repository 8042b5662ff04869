use std::path::Path;

use bpfman_model::{HookContents, HookKey, HookKind, LinkFacts};

use super::namespaces::NamespaceFinder;
use super::{filters, tcx, xdp};
use crate::KernelError;

pub fn describe(key: &HookKey) -> String {
    match key.kind.direction() {
        None => format!("XDP of interface {}", key.ifindex),
        Some(direction) => format!("{} {direction} of interface {}", key.kind.name(), key.ifindex),
    }
}

pub fn read(
    finder: &NamespaceFinder,
    path: Option<&Path>,
    key: &HookKey,
) -> Result<HookContents, KernelError> {
    at(finder, path, key, || match key.kind {
        HookKind::Xdp => xdp::contents(key),
        HookKind::Tcx(direction) => tcx::contents(key, direction),
        HookKind::Tc(direction) => {
            let mut contents = tcx::contents(key, direction)?;
            contents.entries.extend(filters::list(key, direction)?);
            Ok(contents)
        }
    })
}

/// Returns whether a link is at a hook. The kernel hides the namespace of an XDP link: compares programs instead.
pub fn has_link(
    finder: &NamespaceFinder,
    path: Option<&Path>,
    key: &HookKey,
    link: &LinkFacts,
) -> Result<bool, KernelError> {
    at(finder, path, key, || match key.kind {
        HookKind::Xdp => xdp::runs(key, link.program),
        HookKind::Tc(direction) | HookKind::Tcx(direction) => {
            Ok(tcx::contents(key, direction)?.entries.iter().any(|entry| entry.may_be_link(link.id)))
        }
    })
}

/// Runs work in the hook's namespace, which is searched if the path leads elsewhere by now.
pub fn at<T: Send>(
    finder: &NamespaceFinder,
    path: Option<&Path>,
    key: &HookKey,
    work: impl FnOnce() -> Result<T, KernelError> + Send,
) -> Result<T, KernelError> {
    let Some(home) = key.netns.id() else {
        let reason = "it waits for its interface, or went along with it";
        return Err(KernelError::HookGone { hook: describe(key), reason });
    };
    finder.enter(home, path, || describe(key), work)
}

pub fn failed(key: &HookKey, source: std::io::Error) -> KernelError {
    match source.raw_os_error() {
        Some(libc::ENODEV) => {
            KernelError::HookGone { hook: describe(key), reason: "there is no such interface any more" }
        }
        _ => KernelError::call("list what runs at", describe(key), source),
    }
}
