use std::path::Path;

use bpfmand_core::{
    CgroupPath, FileReader, GroupContents, HookContents, HookKey, HookKind, Interface, KernelLinkId,
    LinkFacts, ProcessScope, ProgramId, XdpRunsIn,
};

use crate::{FilterPlace, FoundFile, KernelError, KernelObjects, LinkTarget, NewLink};

/// Hooks: their contents, and links and filters that attach programs.
pub trait KernelHooks: KernelObjects {
    /// Returns facts about an open link. Fails if the kernel refuses, or the handle is of another object.
    fn link_of(&self, handle: &Self::Handle) -> Result<LinkFacts, KernelError>;

    /// Finds the hook of an interface. Errors: [`KernelError::NoInterface`], [`KernelError::NoNamespace`].
    fn find_hook(&self, interface: &Interface, kind: HookKind) -> Result<HookKey, KernelError>;

    /// Returns everything that runs at a hook, including third-party programs, in execution order. XDP: one program, or
    /// one of the card and one of the driver or the stack. Tcx: the tcx programs. Tc: the tcx programs, then the
    /// filters.
    ///
    /// The hook's namespace is searched; `netns` is its last path. Errors: [`KernelError::HookGone`]: the interface is
    /// gone. [`KernelError::NamespaceNotFound`]: it may be gone or not.
    fn hook_contents(&self, netns: Option<&Path>, key: &HookKey) -> Result<HookContents, KernelError>;

    /// Returns the programs attached to a hook of the cgroup itself. Errors: [`KernelError::NoControlGroup`]; the
    /// kernel refuses.
    fn group_contents(&self, path: &CgroupPath, attach_type: u32) -> Result<GroupContents, KernelError>;

    /// Returns the ids of all links, ascending. Fails if the kernel refuses.
    fn link_ids(&self) -> Result<Vec<KernelLinkId>, KernelError>;

    /// Opens a link by id; `None` if it is gone, or not yet complete. Fails if the kernel refuses.
    fn open_link(&self, id: KernelLinkId) -> Result<Option<Self::Handle>, KernelError>;

    /// Attaches a program to a target. The program runs from now on, until the link is dropped without a pin. Errors:
    /// [`KernelError::HookHeld`] if a hook for one program is occupied; [`KernelError::HookChanged`] at another
    /// revision than expected; [`KernelError::NoAnchor`]; [`KernelError::HookFull`]; a missing target by name.
    fn attach(&self, program: &Self::Handle, target: &LinkTarget<'_>) -> Result<Self::Handle, KernelError> {
        Ok(self.attach_identified(program, target)?.link)
    }

    /// Attaches a program, and returns the identities of the attached file, processes and module. The file is the very
    /// one that was read for symbols and is probed, before the lookup; the processes existed before and after. Errors:
    /// See [`KernelHooks::attach`]; a process ended meanwhile.
    fn attach_identified(
        &self,
        program: &Self::Handle,
        target: &LinkTarget<'_>,
    ) -> Result<NewLink<Self::Handle>, KernelError>;

    /// Returns the file at the path of a user-space probe's target, as `reader` finds it there; none stands for root.
    /// Blocks as long as its file system does, possibly for ever.
    ///
    /// # Errors
    /// Fails if there is no file, or it cannot be opened: the same error for a file that is hidden from the reader and for one that
    /// is absent where the reader may not look.
    fn binary_identity(
        &self,
        target: &str,
        scope: &ProcessScope,
        reader: Option<&FileReader>,
    ) -> Result<FoundFile, KernelError>;

    /// Runs the program of an iterator link from the beginning. `each` gets its output in pieces and returns `false` to
    /// stop; before each step it is called with an empty piece. The link is closed meanwhile. Fails if the link is not
    /// of an iterator, or the program failed.
    fn read_iterator(
        &self,
        link: Self::Handle,
        each: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), KernelError>;

    /// Checks that the target of a probe or tracepoint exists, like [`KernelHooks::attach`], without a program. Other
    /// kinds of targets have lookups of their own. Fails with the missing target by name, or if the kernel lacks such
    /// targets.
    fn find_target(&self, target: &LinkTarget<'_>) -> Result<(), KernelError>;

    /// Replaces the program of a link, atomically for packets. Errors: [`KernelError::HookChanged`] if the link does
    /// not run `expected`.
    fn replace(
        &self,
        link: &Self::Handle,
        program: &Self::Handle,
        expected: &Self::Handle,
    ) -> Result<(), KernelError>;

    /// Replaces the map of a struct_ops link, atomically for its callers. Errors: [`KernelError::HookChanged`] if the
    /// link does not hold `expected`; the kernel refuses the map, for example with another name.
    fn replace_struct_ops(
        &self,
        link: &Self::Handle,
        map: &Self::Handle,
        expected: &Self::Handle,
    ) -> Result<(), KernelError>;

    /// Replaces a program at an XDP hook without a link, as libxdp does, atomically for packets, if the hook runs
    /// `expected` without a link; `None` stands for no program. Without `program`, removes the expected one. The
    /// program stays when this process ends. Errors: [`KernelError::HookChanged`] if the hook runs anything else, and
    /// is left unchanged. [`KernelError::HookGone`].
    fn replace_unlinked_xdp(
        &self,
        netns: Option<&Path>,
        key: &HookKey,
        mode: XdpRunsIn,
        program: Option<&Self::Handle>,
        expected: Option<&Self::Handle>,
    ) -> Result<(), KernelError>;

    /// Returns whether an XDP or tcx link is at a hook. An interface that moves to another network namespace keeps its
    /// links, and its index if that is free: the index alone does not identify the hook.
    ///
    /// The kernel does not report the namespace of an XDP link: one that runs the program of this hook counts as being
    /// here. Errors: As [`KernelHooks::hook_contents`].
    fn is_link_at(&self, netns: Option<&Path>, key: &HookKey, link: &LinkFacts) -> Result<bool, KernelError> {
        Ok(self.hook_contents(netns, key)?.entries.iter().any(|entry| entry.may_be_link(link.id)))
    }

    /// Ends the link that is pinned at `path`, or all links of a folder with the folder, and waits until the kernel has
    /// released them. A missing pin is no error. Fails if the kernel refuses.
    fn end_link(&self, path: &Path) -> Result<(), KernelError>;

    /// Adds a direct-action filter to an interface's clsact hook, which is created if it is missing. Its numbers must
    /// be free. Fails if there is another ingress qdisc, or the kernel refuses.
    fn add_filter(&self, at: &FilterPlace<'_>, program: &Self::Handle, name: &str)
    -> Result<(), KernelError>;

    /// Replaces the program of a filter, atomically for packets, if the filter still runs `expected`. Errors:
    /// [`KernelError::HookChanged`] if it runs another program or is gone.
    fn replace_filter(
        &self,
        at: &FilterPlace<'_>,
        program: &Self::Handle,
        expected: ProgramId,
        name: &str,
    ) -> Result<(), KernelError>;

    /// Removes a filter if it still runs `expected`; a missing filter or interface is no error. Errors:
    /// [`KernelError::NamespaceNotFound`]: the filter may still run. The kernel refuses.
    fn remove_filter(&self, at: &FilterPlace<'_>, expected: ProgramId) -> Result<(), KernelError>;

    /// Returns the program of a filter; `None` if there is no such BPF filter. Errors:
    /// [`KernelError::NamespaceNotFound`]: the filter may exist. The kernel refuses.
    fn filter_program(&self, at: &FilterPlace<'_>) -> Result<Option<ProgramId>, KernelError>;
}
