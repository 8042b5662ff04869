use std::path::Path;

use bpfman_model::{
    CgroupPath, FileReader, GroupContents, HookContents, HookKey, HookKind, Interface, KernelLinkId,
    LinkFacts, NetnsId, ProcessScope, ProgramId, XdpRunsIn,
};

use crate::{FilterPlace, FoundFile, KernelError, KernelObjects, LinkTarget, NewLink};

/// Hooks: their contents, and links and filters that attach programs.
pub trait KernelHooks: KernelObjects {
    /// Returns facts about an open link. Fails for a handle of another object.
    fn link_of(&self, handle: &Self::Handle) -> Result<LinkFacts, KernelError>;

    fn find_hook(&self, interface: &Interface, kind: HookKind) -> Result<HookKey, KernelError>;

    /// Returns everything that runs at a hook, in execution order. XDP: one program, or one on the card and one in the
    /// driver or the stack. Tc: the tcx programs, then the filters. The hook's namespace is searched, first at `netns`.
    /// [`KernelError::HookGone`]: the interface is gone; [`KernelError::NamespaceNotFound`]: the interface may be gone.
    fn hook_contents(&self, netns: Option<&Path>, key: &HookKey) -> Result<HookContents, KernelError>;

    /// Returns the programs attached to a hook of the cgroup itself.
    fn group_contents(&self, path: &CgroupPath, attach_type: u32) -> Result<GroupContents, KernelError>;

    /// Returns the ids of all links, ascending.
    fn link_ids(&self) -> Result<Vec<KernelLinkId>, KernelError>;

    /// Opens a link by id; `None` if it is gone, or not yet complete.
    fn open_link(&self, id: KernelLinkId) -> Result<Option<Self::Handle>, KernelError>;

    /// Attaches a program, which runs until the link is dropped without a pin. [`KernelError::HookHeld`] if a hook for
    /// one program is occupied; [`KernelError::HookChanged`] at another revision than expected;
    /// [`KernelError::NoAnchor`], [`KernelError::HookFull`], or an error that names a missing target.
    fn attach(&self, program: &Self::Handle, target: &LinkTarget<'_>) -> Result<Self::Handle, KernelError> {
        Ok(self.attach_identified(program, target)?.link)
    }

    /// Attaches as [`KernelHooks::attach`] does, and returns the identities of file, processes and module. Identity,
    /// symbols and probe are of the same open file. Fails if a process ended meanwhile.
    fn attach_identified(
        &self,
        program: &Self::Handle,
        target: &LinkTarget<'_>,
    ) -> Result<NewLink<Self::Handle>, KernelError>;

    /// Returns the file of a user-space probe, as `reader` (`None`: root) finds it. May block forever. A hidden file
    /// and an absent one give the same error.
    fn binary_identity(
        &self,
        target: &str,
        scope: &ProcessScope,
        reader: Option<&FileReader>,
    ) -> Result<FoundFile, KernelError>;

    /// Runs an iterator. `each` gets an empty piece before each read, then the output; it returns `false` to stop.
    fn read_iterator(
        &self,
        link: Self::Handle,
        each: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), KernelError>;

    /// Checks that the target of a probe or tracepoint exists; fails as [`KernelHooks::attach`].
    fn find_target(&self, target: &LinkTarget<'_>) -> Result<(), KernelError>;

    /// Replaces the program of a link, atomically. [`KernelError::HookChanged`]: it does not run `expected`.
    fn replace(
        &self,
        link: &Self::Handle,
        program: &Self::Handle,
        expected: &Self::Handle,
    ) -> Result<(), KernelError>;

    /// Replaces the map of a struct_ops link by one of the same name. [`KernelError::HookChanged`]: not `expected`.
    fn replace_struct_ops(
        &self,
        link: &Self::Handle,
        map: &Self::Handle,
        expected: &Self::Handle,
    ) -> Result<(), KernelError>;

    /// Replaces or removes a program at an XDP hook without a link, as libxdp does, atomically for packets, if the hook
    /// runs `expected` (`None`: nothing). The program outlives this process. [`KernelError::HookChanged`]: it does not.
    fn replace_unlinked_xdp(
        &self,
        netns: Option<&Path>,
        key: &HookKey,
        mode: XdpRunsIn,
        program: Option<&Self::Handle>,
        expected: Option<&Self::Handle>,
    ) -> Result<(), KernelError>;

    /// Returns whether an XDP or tcx link is at a hook: an interface moves with its links, and keeps its index if free.
    /// The kernel hides the namespace of an XDP link: the link counts as here if the hook runs its program.
    fn is_link_at(&self, netns: Option<&Path>, key: &HookKey, link: &LinkFacts) -> Result<bool, KernelError> {
        Ok(self.hook_contents(netns, key)?.entries.iter().any(|entry| entry.may_be_link(link.id)))
    }

    /// Returns the name of the device of a netkit link, if it is in this namespace, which is searched, first at `netns`.
    fn netkit_device(
        &self,
        home: NetnsId,
        netns: Option<&Path>,
        link: &Self::Handle,
        attach_type: u32,
    ) -> Result<Option<String>, KernelError>;

    /// Ends the link, or folder of links, pinned at `path`, and waits for their release. A missing pin is no error.
    fn end_link(&self, path: &Path) -> Result<(), KernelError>;

    /// Adds a direct-action filter with free numbers to clsact, created if missing. Fails if there is an ingress qdisc.
    fn add_filter(&self, at: &FilterPlace<'_>, program: &Self::Handle, name: &str)
    -> Result<(), KernelError>;

    /// Replaces the program of a filter, atomically. [`KernelError::HookChanged`]: it does not run `expected`.
    fn replace_filter(
        &self,
        at: &FilterPlace<'_>,
        program: &Self::Handle,
        expected: ProgramId,
        name: &str,
    ) -> Result<(), KernelError>;

    /// Removes a filter that runs `expected`, if any. [`KernelError::NamespaceNotFound`]: it may still run.
    fn remove_filter(&self, at: &FilterPlace<'_>, expected: ProgramId) -> Result<(), KernelError>;

    /// Returns the program of a filter. [`KernelError::NamespaceNotFound`]: the filter may exist.
    fn filter_program(&self, at: &FilterPlace<'_>) -> Result<Option<ProgramId>, KernelError>;
}
