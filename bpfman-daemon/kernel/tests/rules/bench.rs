use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bpfman_model::{Direction, HookKey, HookKind, IfIndex, Interface, NetnsId};
use bpfmand_kernel::{Kernel, LinkTarget, ListAnchor, XdpMode};

/// Timeout, which only failing tests reach. It is long because machines are busy, or emulated.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(150);

pub trait Machine<K: Kernel>: Send + Sync {
    fn add_interface(&self, netns: &Path, name: &str);
    fn remove_interface(&self, netns: &Path, name: &str);
    fn rename_interface(&self, netns: &Path, name: &str, new: &str);
    fn switch_interface(&self, netns: &Path, name: &str, up: bool);
    fn attach_xdp_by_netlink(&self, at: &At<'_>, program: &K::Handle, mode: XdpMode);
    fn detach_xdp_by_netlink(&self, at: &At<'_>);
    fn attach_tcx_program(&self, at: &At<'_>, direction: Direction, program: &K::Handle, anchor: ListAnchor);
    /// Interfaces `left` and `right` have the same numbers in all namespaces.
    fn add_namespace(&self) -> PathBuf;
    /// Removes the name of a namespace, which ends if it has no other holder.
    fn remove_namespace(&self, netns: &Path);
    fn enter(&self, netns: &Path) -> PathBuf;
    fn leave(&self, process: &Path);
    fn keep(&self, netns: &Path);
    fn remove_name(&self, netns: &Path);
    fn close(&self, netns: NetnsId);
}

pub struct At<'a> {
    pub home: NetnsId,
    pub netns: &'a Path,
    pub name: &'a str,
    pub ifindex: IfIndex,
}

impl At<'_> {
    pub fn xdp(&self, mode: XdpMode) -> LinkTarget<'_> {
        LinkTarget::Xdp { home: self.home, netns: Some(self.netns), ifindex: self.ifindex, mode }
    }

    pub fn tcx(
        &self,
        direction: Direction,
        anchor: ListAnchor,
        expected_revision: Option<u64>,
    ) -> LinkTarget<'_> {
        let (home, netns) = (self.home, Some(self.netns));
        LinkTarget::Tcx { home, netns, ifindex: self.ifindex, direction, anchor, expected_revision }
    }
}

pub struct Bench<K: Kernel> {
    /// First field, so that its objects are dropped before the kernel.
    pub machine: Box<dyn Machine<K>>,
    pub kernel: Arc<K>,
    pub netns: PathBuf,
}

impl<K: Kernel> Bench<K> {
    pub fn key(&self, name: &str, kind: HookKind) -> HookKey {
        self.key_in(&self.netns, name, kind)
    }

    pub fn key_in(&self, netns: &Path, name: &str, kind: HookKind) -> HookKey {
        let interface = Interface { name: name.to_owned(), netns: Some(netns.to_owned()) };
        self.kernel.find_hook(&interface, kind).unwrap()
    }

    pub fn left(&self) -> At<'_> {
        let HookKey { netns, ifindex, .. } = self.key("left", HookKind::Xdp);
        At { home: netns.into(), netns: &self.netns, name: "left", ifindex }
    }

    pub fn right(&self) -> At<'_> {
        At { name: "right", ifindex: self.key("right", HookKind::Xdp).ifindex, ..self.left() }
    }

    pub fn is_real(&self) -> bool {
        !self.kernel.features().release.ends_with("-sim")
    }

    pub fn has_tcx(&self) -> bool {
        let features = self.kernel.features();
        if features.tcx {
            return true;
        }
        assert!(features.version < (6, 6), "{features:?}");
        println!("skipped: no tcx before Linux 6.6");
        false
    }
}
